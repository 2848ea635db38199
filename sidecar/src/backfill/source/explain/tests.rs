//! Tests of the faults behind layered client errors.

use std::fmt;

use super::*;

/// One layer of an error: its text, and the error it wraps.
#[derive(Debug)]
struct Layer(String, Option<Box<Layer>>);

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Layer {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.1.as_deref().map(|layer| layer as _)
    }
}

fn variables() -> Variables {
    Variables::new([("AWS_SESSION_TOKEN".to_owned(), "t0ken".to_owned())])
}

/// The client's error for an answer: an outer layer holds the whole address.
fn explained(kind: StoreKind, inner: &str) -> SourceError {
    let address = "Error performing GET http://host/a.parquet?X-Amz-Signature=s1gnature in 1 s - ".to_owned();
    let source = Box::new(Layer(address + inner, Some(Box::new(Layer(inner.to_owned(), None)))));
    let error = object_store::Error::Generic { store: "S3", source };
    explain(&error, "s3://b/a.parquet", kind, "http://host/", &variables())
}

fn status(status: &str, code: &str) -> String {
    format!(
        "{STATUS}{status}: <?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>Said with t0ken.</Message>\
         <Token-0>t0ken</Token-0><StringToSign>s1gnature</StringToSign></Error>"
    )
}

#[test]
fn each_fault_is_named_with_its_next_step_and_without_secrets() {
    for (inner, words, step) in [
        (status("400 Bad Request", "ExpiredToken"), "the credentials have expired", "AWS_SESSION_TOKEN"),
        (status("403 Forbidden", "InvalidAccessKeyId"), "no valid credentials", "set AWS_ACCESS_KEY_ID"),
        (status("403 Forbidden", "SignatureDoesNotMatch"), "no valid credentials", "set AWS_ACCESS_KEY_ID"),
        (status("403 Forbidden", "RequestTimeTooSkewed"), "no valid credentials", "set the clock"),
        (status("403 Forbidden", "AccessDenied"), "access denied", "s3:GetObject"),
        (
            status("404 Not Found", "NoSuchBucket"),
            "the bucket of s3://b/a.parquet does not exist at http://host/",
            "name",
        ),
        (status("404 Not Found", "NoSuchKey"), "s3://b/a.parquet does not exist", "check bucket and key"),
        (status("301 Moved Permanently", "PermanentRedirect"), "another region", "set AWS_REGION"),
        (status("400 Bad Request", "AuthorizationHeaderMalformed"), "another region", "set AWS_REGION"),
        (format!("{BARE_REDIRECT}, this normally"), "another region", "set AWS_REGION"),
        (status("412 Precondition Failed", "PreconditionFailed"), "has changed", "plan again"),
        (
            status("503 Service Unavailable", "SlowDown"),
            "no complete answer from http://host/",
            "run the same command again",
        ),
        (status("418 Teapot", ""), "can't be used: Said with (hidden)", ""),
        (format!("{STATUS}500 Internal: "), "status 500", "check the network"),
        (format!("{STATUS}nonsense"), "can't be used: status 0", ""),
        (format!("{ERROR_BODY}<Code>InternalError</Code>"), "InternalError", "check the network"),
    ] {
        let error = explained(StoreKind::Aws, &inner);
        let text = error.to_string();
        assert!(text.contains(words) && text.contains(step), "{inner}: {text}");
        assert!(!format!("{text} {error:?}").contains("s1gnature") && !text.contains("t0ken"), "{text}");
    }
}

#[test]
fn a_machine_without_credentials_is_not_told_to_check_the_network() {
    let error = explained(StoreKind::Aws, "Error performing PUT http://169.254.169.254/latest/api/token");
    assert!(matches!(error, SourceError::Credentials { .. }), "{error}");
    let error = explained(StoreKind::Google, "GET http://metadata.google.internal/computeMetadata");
    assert!(error.to_string().contains("GOOGLE_APPLICATION_CREDENTIALS"), "{error}");
}

#[test]
fn a_signed_address_that_is_too_old_is_told_as_such() {
    let text = explained(StoreKind::Web, &status("403 Forbidden", "AccessDenied")).to_string();
    assert!(text.contains("get a new one"), "{text}");
}

#[test]
fn long_and_broken_bodies_are_cut() {
    let body =
        format!("{STATUS}403 Forbidden: <Code>x</Code><Message>{}\u{fffd}</Message>", "ä\n".repeat(10_000));
    assert!(explained(StoreKind::Aws, &body).to_string().len() < 1_500);
    let text = explained(StoreKind::Aws, &format!("{STATUS}403 Forbidden: <Code>x<Message>")).to_string();
    assert!(text.contains("status 403"), "{text}");
}
