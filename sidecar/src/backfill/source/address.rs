//! Parsing and redaction of source arguments.
//!
//! A displayed address never has a password, a token or a signature.

use std::fmt;
use std::path::PathBuf;

use url::Url;

use super::error::SourceError;

/// Replaces an address that can't be shown, because the position of its secret is unknown.
const HIDDEN: &str = "…";

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Location {
    /// A file, a folder or a glob on this machine.
    Local(PathBuf),
    /// A key, a key prefix up to a slash, or a glob.
    Bucket {
        store: BucketStore,
        name: String,
        /// As in the store, without percent-encoding; may be empty.
        key: String,
    },
    /// One file on a web server.
    Web(Url),
}

/// Stores that hold objects in buckets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum BucketStore {
    S3,
    Gcs,
}

impl fmt::Display for BucketStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::S3 => "s3",
            Self::Gcs => "gs",
        })
    }
}

/// # Errors
/// [`SourceError::Argument`] for an invalid address, or for one with credentials for a bucket.
pub(super) fn parse(argument: &str) -> Result<Location, SourceError> {
    let wrong =
        |problem: &str| SourceError::Argument { argument: shown(argument), problem: problem.to_owned() };
    if argument.is_empty() {
        return Err(wrong("it is empty: name a file, a folder, a glob or an address"));
    }
    let Some((scheme, rest)) = argument.split_once("://") else {
        return Ok(Location::Local(PathBuf::from(argument)));
    };
    match scheme.to_ascii_lowercase().as_str() {
        "file" => match Url::parse(argument).map(|url| url.to_file_path()) {
            Ok(Ok(path)) => Ok(Location::Local(path)),
            _ => Err(wrong("write file:///path, or just the path")),
        },
        "s3" | "s3a" => bucket(BucketStore::S3, rest).map_err(wrong),
        "gs" => bucket(BucketStore::Gcs, rest).map_err(wrong),
        "http" | "https" => web(argument).map(Location::Web).map_err(wrong),
        _ => Err(wrong("use a local path, s3://, gs://, http:// or https://")),
    }
}

fn bucket(store: BucketStore, rest: &str) -> Result<Location, &'static str> {
    let (name, key) = rest.split_once('/').unwrap_or((rest, ""));
    if name.contains([':', '@']) {
        return Err("an address can't contain credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY \
                    (GOOGLE_APPLICATION_CREDENTIALS for gs://)");
    }
    let sound = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    if name.is_empty() || !name.chars().all(sound) {
        return Err(
            "a bucket's name has letters, digits, dots, dashes and underscores: write scheme://bucket/key",
        );
    }
    if query(key).is_some() {
        return Err("a bucket address can't have a query: for a signed address use its https:// form");
    }
    Ok(Location::Bucket { store, name: name.to_owned(), key: key.to_owned() })
}

fn web(argument: &str) -> Result<Url, &'static str> {
    let url =
        Url::parse(argument).map_err(|_| "it can't be parsed: percent-encode its special characters")?;
    if url.host_str().is_none_or(str::is_empty) {
        return Err("it has no host");
    }
    if url.path().ends_with('/') || url.path().contains('*') {
        return Err("a web server can't list its files: give the address of each file");
    }
    Ok(url)
}

/// Returns an argument or address for logs, errors and records: without user, password, query and
/// fragment.
pub(super) fn shown(argument: &str) -> String {
    let Some((scheme, rest)) = argument.split_once("://") else { return argument.to_owned() };
    match scheme.to_ascii_lowercase().as_str() {
        "s3" | "s3a" | "gs" => {
            let name = rest.split('/').next().unwrap_or_default();
            // A secret key may hold slashes and so extend beyond the apparent bucket name.
            if name.contains([':', '@']) {
                return format!("{scheme}://{HIDDEN}");
            }
            let end = query(rest).unwrap_or(rest.len());
            format!("{scheme}://{}", rest.get(..end).unwrap_or(HIDDEN))
        }
        "file" => argument.to_owned(),
        _ => match Url::parse(argument) {
            Ok(url) => shown_url(&url),
            Err(_) => format!("{scheme}://{HIDDEN}"),
        },
    }
}

/// As [`shown`], for a parsed address.
pub(super) fn shown_url(url: &Url) -> String {
    let mut shown = url.clone();
    // Neither call fails for an address with a host. An address without a host has no credentials.
    let _ = (shown.set_username(""), shown.set_password(None));
    shown.set_query(None);
    shown.set_fragment(None);
    shown.to_string()
}

/// Returns the byte offset at which a query begins, at `?name=`. The text may also be a key or a
/// glob with `?`.
fn query(text: &str) -> Option<usize> {
    text.match_indices('?').map(|(at, _)| at).find(|at| {
        let rest = text.get(at + 1..).unwrap_or_default();
        let name = rest.split('=').next().unwrap_or_default();
        name.len() < rest.len()
            && !name.is_empty()
            && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c))
    })
}

/// Kind of store, by the way its users configure it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StoreKind {
    Aws,
    Google,
    Web,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_told_apart() {
        let bucket =
            |store, name: &str, key: &str| Location::Bucket { store, name: name.into(), key: key.into() };
        for (argument, place) in [
            ("data/2024", Location::Local("data/2024".into())),
            ("/data/*.parquet", Location::Local("/data/*.parquet".into())),
            ("file:///data/a%20b.parquet", Location::Local("/data/a b.parquet".into())),
            ("s3://events", bucket(BucketStore::S3, "events", "")),
            ("s3a://events/team=1/a b.parquet", bucket(BucketStore::S3, "events", "team=1/a b.parquet")),
            ("s3://events/year=202?/month=*/", bucket(BucketStore::S3, "events", "year=202?/month=*/")),
            ("gs://events/a%20b", bucket(BucketStore::Gcs, "events", "a%20b")),
            ("http://host:80/a.parquet", Location::Web(Url::parse("http://host/a.parquet").expect("a URL"))),
        ] {
            assert_eq!(parse(argument).expect(argument), place, "{argument}");
        }
    }

    #[test]
    fn what_is_no_source_is_refused_with_the_next_step() {
        for (argument, hint) in [
            ("", "name a file"),
            ("ftp://host/a.parquet", "use a local path, s3://"),
            ("s3://", "write scheme://bucket/key"),
            ("s3://my bucket/a", "write scheme://bucket/key"),
            ("s3://*/a", "write scheme://bucket/key"),
            ("http://host/folder/", "give the address of each file"),
            ("https://host/*.parquet", "give the address of each file"),
            ("https:///a.parquet?b c", "give the address"),
        ] {
            match parse(argument) {
                Err(error) => assert!(error.to_string().contains(hint), "{argument}: {error}"),
                // `https:///a.parquet` has the host `a.parquet` and no file.
                Ok(place) => panic!("{argument} is {place:?}"),
            }
        }
    }

    #[test]
    fn secrets_are_never_shown() {
        for argument in [
            "https://me:s3cret@host/a.parquet",
            "https://me@host/s/a.parquet?X-Amz-Signature=s3cret&X-Amz-Date=1#s3cret",
            "https://me:s3c/s3cret@host/a.parquet",
            "s3://AKIA:s3cret@events/a.parquet",
            "s3://AKIA:a/s3cret@events/a.parquet",
            "s3://events/a.parquet?X-Amz-Signature=s3cret",
            "gs://me:s3cret@events/a",
            "ftp://me:s3cret@host/a",
            "https://me:s3cret@",
        ] {
            assert!(!shown(argument).contains("s3cret"), "{argument}: {}", shown(argument));
            if let Err(error) = parse(argument) {
                assert!(!format!("{error} {error:?}").contains("s3cret"), "{argument}: {error:?}");
            }
        }
        assert_eq!(shown("https://me:pw@host:9/a/b.parquet?q=1"), "https://host:9/a/b.parquet");
        assert_eq!(shown("s3://events/y=202?/m=*/"), "s3://events/y=202?/m=*/");
        assert_eq!(shown("data/a b?.parquet"), "data/a b?.parquet");
    }
}
