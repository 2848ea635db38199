//! Translation of store client errors into faults with next steps.
//!
//! Addresses and keys in a client's error are left out.

use std::error::Error;

use object_store::client::HttpError;

use super::address::StoreKind;
use super::error::SourceError;
use super::variables::Variables;

/// Characters of a store's own message that are shown.
const MESSAGE_LIMIT: usize = 300;
/// The client's text before a status and the body that came with it.
const STATUS: &str = "Server returned non-2xx status code: ";
/// The client's text for an answer with status 200 that holds an error.
const ERROR_BODY: &str = "Server returned error response: ";
/// The client's text for a redirect without a target, which S3 sends for another region's bucket.
const BARE_REDIRECT: &str = "Received redirect without LOCATION";
/// Hosts that give credentials on the providers' own machines. The client asks them if the
/// environment has no credentials.
const METADATA: [&str; 3] = ["169.254.169.254", "169.254.170.2", "metadata.google.internal"];

/// The failed answer to a request.
#[derive(Debug, PartialEq, Eq)]
enum StoreAnswer {
    /// A status, with the store's own code and message if it sent them.
    Refused { status: u16, code: String, message: String },
    /// A redirect without an address.
    Redirect,
    /// No answer, or an incomplete one.
    Broken(String),
    /// A whole file instead of the requested range.
    NoRanges,
    /// No source of credentials had any.
    NoCredentials,
    /// An answer that the client could not use.
    Odd(String),
}

/// Returns the fault behind a client's error.
pub(super) fn explain(
    error: &object_store::Error,
    location: &str,
    kind: StoreKind,
    endpoint: &str,
    variables: &Variables,
) -> SourceError {
    let location = location.to_owned();
    match answer(error, kind) {
        StoreAnswer::NoRanges => SourceError::NoRanges { location },
        StoreAnswer::Refused { status, code, message } => {
            let said = match (code.as_str(), message.as_str()) {
                ("", "") => format!("status {status}"),
                ("", message) => message.to_owned(),
                (code, "") => code.to_owned(),
                (code, message) => format!("{code}: {message}"),
            };
            refused(location, kind, endpoint, status, &code, variables.hide(&said))
        }
        StoreAnswer::Redirect => SourceError::Region { location, hint: hints(kind).region },
        StoreAnswer::Broken(problem) => {
            let endpoint = endpoint.to_owned();
            SourceError::Unreachable { location, endpoint, problem: variables.hide(&problem) }
        }
        StoreAnswer::NoCredentials => {
            let said = "none in the environment or from this machine's provider".to_owned();
            SourceError::Credentials { location, said, hint: hints(kind).credentials }
        }
        StoreAnswer::Odd(said) => {
            let (endpoint, said) = (endpoint.to_owned(), variables.hide(&said));
            SourceError::Store { location, endpoint, said }
        }
    }
}

/// Returns the reason that no client can be made from the settings.
pub(super) fn unusable(error: &object_store::Error, location: &str, variables: &Variables) -> SourceError {
    let innermost = layers(error).last().map(ToString::to_string).unwrap_or_default();
    let said = variables.hide(&brief(&innermost));
    let problem = if said.contains("certificate") {
        format!("{said}: install the system's CA certificates, or name a file of them in SSL_CERT_FILE")
    } else {
        format!("{said}: check the variables AWS_… (s3://) or GOOGLE_… (gs://)")
    };
    SourceError::Settings { location: location.to_owned(), problem }
}

fn refused(
    location: String,
    kind: StoreKind,
    endpoint: &str,
    status: u16,
    code: &str,
    said: String,
) -> SourceError {
    let hints = hints(kind);
    match (status, code) {
        (_, "ExpiredToken" | "ExpiredTokenException" | "TokenRefreshRequired") => {
            SourceError::Expired { location, said, hint: hints.expired }
        }
        (_, "InvalidAccessKeyId" | "SignatureDoesNotMatch" | "InvalidToken" | "InvalidSecurity")
        | (401, _) => SourceError::Credentials { location, said, hint: hints.credentials },
        (_, "RequestTimeTooSkewed") => {
            SourceError::Credentials { location, said, hint: "set the clock of this machine" }
        }
        (_, "NoSuchBucket") => {
            SourceError::NoBucket { location, endpoint: endpoint.to_owned(), hint: hints.bucket }
        }
        (_, "PermanentRedirect" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException")
        | (301 | 307 | 308, _) => SourceError::Region { location, hint: hints.region },
        // An archived object: it must be restored first, as the store's message says.
        (_, "InvalidObjectState") => SourceError::Store { location, endpoint: endpoint.to_owned(), said },
        (403, _) => SourceError::Denied { location, said, hint: hints.denied },
        (404 | 410, _) => SourceError::Missing { location, hint: hints.missing },
        (412 | 416, _) => {
            let (recorded, found) = ("an earlier version".to_owned(), format!("another version ({said})"));
            SourceError::Changed { location, recorded, found }
        }
        (408 | 429 | 500.., _) => {
            SourceError::Unreachable { location, endpoint: endpoint.to_owned(), problem: said }
        }
        _ => SourceError::Store { location, endpoint: endpoint.to_owned(), said },
    }
}

struct Hints {
    expired: &'static str,
    credentials: &'static str,
    denied: &'static str,
    region: &'static str,
    bucket: &'static str,
    missing: &'static str,
}

const fn hints(kind: StoreKind) -> Hints {
    match kind {
        StoreKind::Aws => Hints {
            expired: "get new ones and set AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN",
            credentials: "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and AWS_SESSION_TOKEN for temporary ones; \
                          profiles in ~/.aws are not read), or AWS_SKIP_SIGNATURE=true for a public bucket",
            denied: "the credentials in AWS_ACCESS_KEY_ID need s3:GetObject, and s3:ListBucket for folders and globs",
            region: "set AWS_REGION to the bucket's region, and leave AWS_ENDPOINT_URL unset for Amazon S3",
            bucket: "check its name, and AWS_ENDPOINT_URL for a store that is not Amazon's",
            missing: "check bucket and key; a folder's name ends with a slash, and a glob names several keys",
        },
        StoreKind::Google => Hints {
            expired: "get a new token, or set GOOGLE_APPLICATION_CREDENTIALS to a service account's file",
            credentials: "set GOOGLE_APPLICATION_CREDENTIALS or GOOGLE_SERVICE_ACCOUNT to the file of credentials, or \
                          GOOGLE_SKIP_SIGNATURE=true for a public bucket",
            denied: "the account in GOOGLE_APPLICATION_CREDENTIALS needs storage.objects.get and storage.objects.list",
            region: "check GOOGLE_BASE_URL",
            bucket: "check its name, and GOOGLE_BASE_URL for a store that is not Google's",
            missing: "check bucket and key; a folder's name ends with a slash, and a glob names several keys",
        },
        StoreKind::Web => Hints {
            expired: "get a new address: its signature is valid for a limited time",
            credentials: "write the address as https://user:password@host/…",
            denied: "if the address is signed, get a new one: its signature is valid for a limited time",
            region: "use the address that the server redirects to",
            bucket: "check the address",
            missing: "check the address",
        },
    }
}

/// Extracts the failed answer from the layers of a client's error. Only the innermost layers are
/// shown, because the outer ones repeat the whole address, and it may be signed.
fn answer(error: &object_store::Error, kind: StoreKind) -> StoreAnswer {
    let layers = layers(error);
    let texts: Vec<String> = layers.iter().map(ToString::to_string).collect();
    let after = |words: &str| texts.iter().find_map(|text| text.strip_prefix(words));
    let asks_the_provider = |text: &String| METADATA.iter().any(|host| text.contains(host));
    if kind != StoreKind::Web && texts.iter().any(asks_the_provider) {
        return StoreAnswer::NoCredentials;
    }
    if let Some(text) = after(STATUS) {
        return refusal(text);
    }
    if let Some(body) = after(ERROR_BODY) {
        return refusal(&format!("500: {body}"));
    }
    if after(BARE_REDIRECT).is_some() {
        return StoreAnswer::Redirect;
    }
    let refused = |status| StoreAnswer::Refused { status, code: String::new(), message: String::new() };
    match error {
        object_store::Error::NotSupported { .. } => return StoreAnswer::NoRanges,
        object_store::Error::NotFound { .. } => return refused(404),
        object_store::Error::Precondition { .. } => return refused(412),
        _ => {}
    }
    let innermost = texts.last().map(|text| brief(text)).unwrap_or_default();
    if layers.iter().any(|error| error.is::<HttpError>()) {
        StoreAnswer::Broken(innermost)
    } else {
        StoreAnswer::Odd(innermost)
    }
}

/// An error and all errors that it wraps, outermost first.
fn layers(error: &object_store::Error) -> Vec<&(dyn Error + 'static)> {
    let mut layers = Vec::new();
    let mut next: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = next {
        layers.push(error);
        next = error.source();
    }
    layers
}

/// Parses `404 Not Found: <?xml …><Error><Code>NoSuchKey</Code><Message>…</Message>…`. Takes only
/// code and message, because stores repeat keys and tokens beside them.
fn refusal(text: &str) -> StoreAnswer {
    let status = text.get(..3).and_then(|digits| digits.parse().ok()).unwrap_or_default();
    let inside = |tag: &str| {
        let (_, rest) = text.split_once(&format!("<{tag}>"))?;
        Some(brief(rest.split_once("</")?.0))
    };
    StoreAnswer::Refused {
        status,
        code: inside("Code").unwrap_or_default(),
        message: inside("Message").unwrap_or_default().trim_end_matches('.').to_owned(),
    }
}

/// Returns the text as one short line.
fn brief(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().take(MESSAGE_LIMIT).collect()
}

#[cfg(test)]
mod tests;
