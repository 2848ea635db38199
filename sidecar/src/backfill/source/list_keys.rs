//! Keys of a bucket that the client library refuses in listings.
//!
//! The library fails a whole page if one key has an empty part, such as `exports//x.parquet`, or a
//! part of dots. Listings therefore pass through [`EscapedKeys`], which rewrites these keys in the
//! answer, and [`key`] restores them.

use std::borrow::Cow;

use bytes::Bytes;
use memchr::memmem::find;
use object_store::ClientOptions;
use object_store::client::{HttpClient, HttpConnector, HttpError, HttpRequest, HttpResponse, HttpService};
use object_store::path::{Path, PathPart};
use url::form_urlencoded::{self, byte_serialize};

use super::bounded_answers::BoundedAnswers;

/// Marks an escaped key. A key that begins with it is escaped, too.
const ESCAPED: char = '\u{E000}';
/// Marks a listing, in the query of S3 and of GCS.
const LISTING: &str = "list-type=2";
const OPEN: &[u8] = b"<Key>";
const CLOSE: &[u8] = b"</Key>";

/// Returns the path for requests of a key. `None` if the library can't request it: a web address
/// can't have parts of dots, and the library would drop a leading slash.
pub(super) fn path(key: &str) -> Option<Path> {
    let mut parts = key.split('/');
    let first = parts.next().filter(|first| !first.is_empty() || key.is_empty())?;
    // Path::parse refuses empty parts, though paths and requests can have them.
    parts.try_fold(Path::parse(first).ok()?, |path, part| Some(path.join(PathPart::parse(part).ok()?)))
}

/// Returns the key of a listed object.
pub(super) fn key(listed: &Path) -> String {
    match listed.as_ref().strip_prefix(ESCAPED) {
        Some(escaped) => {
            let pair = format!("x={escaped}");
            let decoded = form_urlencoded::parse(pair.as_bytes()).next();
            decoded.map_or_else(String::new, |(_, key)| key.into_owned())
        }
        None => listed.as_ref().to_owned(),
    }
}

/// Connects clients whose listings have escaped keys.
#[derive(Debug, Default)]
pub(super) struct EscapedKeys(BoundedAnswers);

impl HttpConnector for EscapedKeys {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        self.0.connect(options).map(EscapingService).map(HttpClient::new)
    }
}

#[derive(Debug)]
struct EscapingService(HttpClient);

#[async_trait::async_trait]
impl HttpService for EscapingService {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let is_listing = request.uri().query().is_some_and(|query| query.contains(LISTING));
        let response = self.0.execute(request).await?;
        if !is_listing || !response.status().is_success() {
            return Ok(response);
        }
        let (head, body) = response.into_parts();
        // It is bounded already.
        let page = body.bytes().await?;
        Ok(HttpResponse::from_parts(head, escape_keys(page).into()))
    }
}

/// Escapes the keys of a page that the library would refuse or change.
fn escape_keys(page: Bytes) -> Bytes {
    let (mut escaped, mut rest) = (Vec::new(), page.as_ref());
    while let Some((before, text, after)) = next_key(rest) {
        rest = after;
        escaped.extend_from_slice(before);
        match std::str::from_utf8(text).ok().map(unescape_xml).as_deref().and_then(escape) {
            Some(key) => escaped.extend_from_slice(key.as_bytes()),
            None => escaped.extend_from_slice(text),
        }
    }
    if escaped.is_empty() {
        return page;
    }
    escaped.extend_from_slice(rest);
    escaped.into()
}

/// Splits a page into the bytes before the text of its first key, the text, and the rest.
fn next_key(page: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (before, rest) = page.split_at_checked(find(page, OPEN)? + OPEN.len())?;
    let (text, after) = rest.split_at_checked(find(rest, CLOSE)?)?;
    Some((before, text, after))
}

/// Returns the escaped key, unless the library keeps the key as it is.
fn escape(key: &str) -> Option<String> {
    let is_kept = !key.starts_with(ESCAPED) && Path::parse(key).is_ok_and(|path| path.as_ref() == key);
    // The escaped text has no character that is special in XML.
    (!is_kept).then(|| format!("{ESCAPED}{}", byte_serialize(key.as_bytes()).collect::<String>()))
}

/// Resolves the references of XML: `&amp;`, `&#47;`, `&#x2F;`.
fn unescape_xml(text: &str) -> Cow<'_, str> {
    if !text.contains('&') {
        return text.into();
    }
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        plain.push_str(before);
        let reference = after.split_once(';').and_then(|(name, end)| Some((character(name)?, end)));
        match reference {
            Some((character, end)) => {
                plain.push(character);
                rest = end;
            }
            None => {
                plain.push('&');
                rest = after;
            }
        }
    }
    plain.push_str(rest);
    plain.into()
}

fn character(name: &str) -> Option<char> {
    let code = |digits: &str, radix| char::from_u32(u32::from_str_radix(digits, radix).ok()?);
    match name {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => match name.strip_prefix('#')? {
            hexadecimal if hexadecimal.starts_with(['x', 'X']) => code(hexadecimal.get(1..)?, 16),
            decimal => code(decimal, 10),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The keys of a page as the library sees them, restored.
    fn listed(keys: &[&str]) -> Vec<String> {
        let page: String =
            keys.iter().map(|key| format!("<Contents><Key>{key}</Key><Size>1</Size></Contents>")).collect();
        let escaped = escape_keys(page.into());
        let (mut rest, mut listed) = (escaped.as_ref(), Vec::new());
        while let Some((_, text, after)) = next_key(rest) {
            let text = unescape_xml(std::str::from_utf8(text).expect("UTF-8")).into_owned();
            listed.push(key(&Path::parse(text).expect("a key that the library takes")));
            rest = after;
        }
        assert!(rest.ends_with(b"</Key><Size>1</Size></Contents>") || rest.ends_with(b"</Contents>"));
        listed
    }

    #[test]
    fn every_key_is_listed_as_it_is() {
        let keys = ["a.parquet", "exports//x.parquet", "/a", "a/", "a/./b", "..", "a b+%2F//ä", "\u{E000}a"];
        assert_eq!(listed(&keys), keys);
        assert_eq!(listed(&["a//b&amp;c&lt;&#47;&#x2e;&x;&"]), ["a//b&c</.&x;&"]);
        let page = Bytes::from_static(b"<Contents/>");
        assert_eq!(escape_keys(page.clone()), page);
    }

    #[test]
    fn a_key_with_empty_parts_can_be_requested() {
        for key in ["", "a", "exports//x.parquet", "a///b/", "a b/%2F"] {
            assert_eq!(path(key).expect(key).as_ref(), key);
        }
        for key in ["/a", "a/./b", "a/../b", ".", "a\u{1}"] {
            assert_eq!(path(key), None, "{key}");
        }
    }
}
