//! Store settings from the environment, and redaction of their secrets.

use std::collections::BTreeMap;
use std::env;
use std::fmt;

use url::Url;

/// Prefixes of the names of store settings.
const PREFIXES: [&str; 3] = ["AWS_", "GOOGLE_", "SERVICE_ACCOUNT"];
/// Parts of a name that mark a secret.
const SECRET: [&str; 4] = ["KEY", "SECRET", "TOKEN", "PASSWORD"];
/// Replaces a secret in a text.
const HIDDEN: &str = "(hidden)";

/// Names and values of the settings.
#[derive(Default)]
pub(super) struct Variables(BTreeMap<String, String>);

impl Variables {
    pub(super) fn from_env() -> Self {
        Self::new(
            env::vars_os()
                .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))),
        )
    }

    /// Keeps the store settings among `all`.
    pub(super) fn new(all: impl IntoIterator<Item = (String, String)>) -> Self {
        let ours = |name: &str| PREFIXES.iter().any(|prefix| name.starts_with(prefix));
        Self(all.into_iter().filter(|(name, value)| ours(name) && !value.is_empty()).collect())
    }

    /// Returns the first of `names` that is set, with its value.
    pub(super) fn first<'n>(&self, names: &[&'n str]) -> Option<(&'n str, &str)> {
        names.iter().find_map(|name| Some((*name, self.0.get(*name)?.as_str())))
    }

    /// Returns all settings whose names begin with `prefix`, named as in `object_store`.
    pub(super) fn with_prefix(&self, prefix: &str) -> impl Iterator<Item = (String, &str)> {
        let ours = self.0.iter().filter(move |(name, _)| name.starts_with(prefix));
        ours.map(|(name, value)| (name.to_ascii_lowercase(), value.as_str()))
    }

    /// Returns the text without any of the secrets among the settings.
    pub(super) fn hide(&self, text: &str) -> String {
        let secret = |name: &str| SECRET.iter().any(|part| name.contains(part)) && !name.ends_with("_FILE");
        let secrets = self.0.iter().filter(|(name, _)| secret(name));
        secrets.fold(text.to_owned(), |text, (_, value)| text.replace(value.as_str(), HIDDEN))
    }

    /// Returns the address of a custom endpoint, if one is set.
    ///
    /// # Errors
    /// Fails, in words, if the value is no address, or if requests would be unencrypted without
    /// permission by the variable `allow`.
    pub(super) fn endpoint(&self, names: &[&str], allow: &str) -> Result<Option<Url>, String> {
        let Some((name, value)) = self.first(names) else { return Ok(None) };
        let url =
            Url::parse(value).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        let Some(url) = url else {
            return Err(format!("{name} is not an address: write http://host:port or https://host"));
        };
        if !url.username().is_empty() || url.password().is_some() || url.query().is_some() {
            return Err(format!(
                "{name} has a user, password or query: leave only scheme, host, port and path"
            ));
        }
        let allowed = self.first(&[allow]).map(|(_, value)| value.to_ascii_lowercase());
        let allowed =
            allowed.is_some_and(|value| ["true", "1", "on", "yes", "y", "t"].contains(&value.as_str()));
        if url.scheme() == "http" && !allowed {
            return Err(format!("{name} is {url}, which is not encrypted: use https, or set {allow}=true"));
        }
        Ok(Some(url))
    }
}

impl fmt::Debug for Variables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(all: &[(&str, &str)]) -> Variables {
        Variables::new(all.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
    }

    #[test]
    fn only_the_stores_own_are_kept_and_secrets_are_taken_out_of_any_text() {
        let variables = variables(&[
            ("AWS_SECRET_ACCESS_KEY", "s3cret"),
            ("AWS_SESSION_TOKEN", "t0ken"),
            ("AWS_REGION", "eu-west-1"),
            ("GOOGLE_SERVICE_ACCOUNT", ""),
            ("HOME", "/root"),
        ]);
        assert_eq!(variables.with_prefix("AWS_").count(), 3);
        assert_eq!(
            variables.first(&["HOME", "GOOGLE_SERVICE_ACCOUNT", "AWS_REGION"]),
            Some(("AWS_REGION", "eu-west-1"))
        );
        assert_eq!(variables.hide("s3cret and t0ken in eu-west-1"), "(hidden) and (hidden) in eu-west-1");
        assert!(!format!("{variables:?}").contains("s3cret"));
    }

    #[test]
    fn an_endpoint_is_a_whole_address_and_encrypted_unless_allowed() {
        let endpoint = |value: &str, allow: &str| {
            variables(&[("AWS_ENDPOINT_URL", value), ("AWS_ALLOW_HTTP", allow)])
                .endpoint(&["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"], "AWS_ALLOW_HTTP")
        };
        assert_eq!(endpoint("", ""), Ok(None));
        assert!(endpoint("https://host:9/path", "").is_ok_and(|url| url.is_some()));
        assert!(endpoint("http://host:9", "TRUE").is_ok_and(|url| url.is_some()));
        for (value, problem) in [
            ("http://host:9", "set AWS_ALLOW_HTTP=true"),
            ("host:9", "is not an address"),
            ("localhost", "is not an address"),
            ("https://me:s3cret@host", "has a user"),
        ] {
            let error = endpoint(value, "false").expect_err(value);
            assert!(error.contains(problem) && !error.contains("s3cret"), "{error}");
        }
    }
}
