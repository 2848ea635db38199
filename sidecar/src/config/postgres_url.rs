//! Connection URIs of libpq.
//!
//! <https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING-URIS>

use std::collections::BTreeMap;

use percent_encoding::percent_decode_str;

/// Parameters that posthouse reads, as libpq names them.
pub(super) const PARAMETERS: [&str; 7] =
    ["sslmode", "sslrootcert", "sslcert", "sslkey", "channel_binding", "target_session_attrs", "passfile"];
/// Parameters with a secret.
const SECRETS: [&str; 3] = ["password", "sslpassword", "oauth_client_secret"];

/// The parts of a URI; a part is absent if the URI does not have it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct PostgresUrl {
    /// Each `host:port`, `host`, or a folder with a socket.
    pub(super) hosts: Vec<String>,
    pub(super) user: Option<String>,
    pub(super) database: Option<String>,
    /// Those of [`PARAMETERS`].
    pub(super) parameters: BTreeMap<&'static str, String>,
    /// Whether there is a URI that can't be read.
    pub(super) is_faulty: bool,
}

impl PostgresUrl {
    /// Parses a URI. The faults have no part of it except names, because it may have a password.
    pub(super) fn parse(text: &str) -> Result<Self, Vec<String>> {
        let rest = text.strip_prefix("postgresql://").or_else(|| text.strip_prefix("postgres://"));
        let Some(rest) = rest else {
            return Err(vec!["give a URI such as postgresql://user@host:5432/database".to_owned()]);
        };
        let (mut url, mut faults) = (Self::default(), Vec::new());
        let (rest, parameters) = rest.split_once('?').unwrap_or((rest, ""));
        let (server, database) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, hosts) = server.rsplit_once('@').unwrap_or(("", server));
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        if !password.is_empty() {
            faults.push(
                "has a password, which does not belong in this file: set POSTHOUSE_POSTGRES_PASSWORD or password_file"
                    .to_owned(),
            );
        }
        url.user = decoded(user, &mut faults);
        url.database = decoded(database, &mut faults);
        url.hosts = hosts.split(',').filter_map(|host| decoded(host, &mut faults)).collect();
        let (mut host, mut port) = (Vec::new(), None);
        for parameter in parameters.split('&').filter(|parameter| !parameter.is_empty()) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let value = decoded(value, &mut faults).unwrap_or_default();
            match PARAMETERS.iter().find(|known| **known == name) {
                Some(known) => drop(url.parameters.insert(known, value)),
                None if name == "host" => host = value.split(',').map(str::to_owned).collect(),
                None if name == "port" => port = Some(value),
                None if name == "user" => url.user = Some(value),
                None if name == "dbname" => url.database = Some(value),
                None => faults.push(unknown(name)),
            }
        }
        url.take_hosts(host, port, &mut faults);
        if faults.is_empty() { Ok(url) } else { Err(faults) }
    }

    /// Takes the parameters `host` and `port`, which stand in for those before the path.
    fn take_hosts(&mut self, host: Vec<String>, port: Option<String>, faults: &mut Vec<String>) {
        if !host.is_empty() && !self.hosts.is_empty() {
            faults.push("has hosts and the parameter host: remove one of them".to_owned());
        }
        self.hosts.extend(host);
        let Some(port) = port else { return };
        let ports: Vec<&str> = port.split(',').collect();
        if ports.len() != 1 && ports.len() != self.hosts.len() {
            faults.push("has more or fewer ports than hosts: give one, or one for each host".to_owned());
            return;
        }
        for (host, port) in self.hosts.iter_mut().zip(ports.iter().cycle()) {
            host.push(':');
            host.push_str(port);
        }
    }
}

fn unknown(name: &str) -> String {
    if SECRETS.contains(&name) {
        let hint = "does not belong in this file: set POSTHOUSE_POSTGRES_PASSWORD or password_file";
        return format!("has the parameter {name}, which {hint}");
    }
    let name: String =
        name.chars().filter(|letter| letter.is_ascii_alphanumeric() || *letter == '_').collect();
    let known = PARAMETERS.iter().copied().chain(["host", "port", "user", "dbname"]);
    match super::reader::most_alike(&name, known.clone()) {
        Some(known) => format!("has the unknown parameter {name}, did you mean {known}?"),
        None => {
            let known: Vec<_> = known.collect();
            format!("has the unknown parameter {name}: remove it (known: {})", known.join(", "))
        }
    }
}

/// Returns `None` for an empty text.
fn decoded(text: &str, faults: &mut Vec<String>) -> Option<String> {
    let text = percent_decode_str(text).decode_utf8().map(std::borrow::Cow::into_owned);
    match text {
        Ok(text) if text.chars().any(char::is_control) => {
            faults.push("has control characters: remove them".to_owned());
            None
        }
        Ok(text) => Some(text).filter(|text| !text.is_empty()),
        Err(_) => {
            faults.push("has percent signs that encode no UTF-8: write % as %25".to_owned());
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_form_of_hosts() {
        for (text, hosts, user, database) in [
            ("postgresql://u@h1:5432,h2/db", &["h1:5432", "h2"][..], Some("u"), Some("db")),
            ("postgres://[::1]:5433/db", &["[::1]:5433"], None, Some("db")),
            ("postgresql://u@%2Frun%2Fpostgresql/db", &["/run/postgresql"], Some("u"), Some("db")),
            ("postgresql:///db?host=/run/a&port=5433&user=u", &["/run/a:5433"], Some("u"), Some("db")),
            ("postgresql://h1,h2?port=1,2&dbname=db", &["h1:1", "h2:2"], None, Some("db")),
            ("postgresql://a%40b@h/d%20b", &["h"], Some("a@b"), Some("d b")),
            ("postgresql://", &[], None, None),
        ] {
            let url = PostgresUrl::parse(text).expect(text);
            assert_eq!(url.hosts, hosts, "{text}");
            assert_eq!((url.user.as_deref(), url.database.as_deref()), (user, database), "{text}");
        }
        let url =
            PostgresUrl::parse("postgresql://h/db?sslmode=verify-full&sslrootcert=%2Fca.pem").expect("a URL");
        let parameters =
            BTreeMap::from([("sslmode", "verify-full".to_owned()), ("sslrootcert", "/ca.pem".to_owned())]);
        assert_eq!(url.parameters, parameters);
    }

    #[test]
    fn refuses_secrets_without_showing_them_and_unknown_parameters_with_a_hint() {
        for (text, words) in [
            ("postgresql://u:s3cret@h/db", "has a password"),
            ("postgresql://u:s3cret@x@h/db", "has a password"),
            ("postgresql://h/db?password=s3cret", "the parameter password"),
            ("postgresql://h/db?sslpassword=s3cret", "the parameter sslpassword"),
            ("postgresql://h/db?sslmod=s3cret", "did you mean sslmode?"),
            ("postgresql://h/db?connect_timeout=3", "unknown parameter connect_timeout"),
            ("postgresql://h/db?host=g", "remove one of them"),
            ("postgresql://h,g/db?port=1,2,3", "more or fewer ports"),
            ("postgresql://h/%ff", "percent"),
            ("mysql://u:s3cret@h/db", "postgresql://"),
        ] {
            let faults = PostgresUrl::parse(text).expect_err(text).join("; ");
            assert!(faults.contains(words) && !faults.contains("s3cret"), "{text}: {faults}");
        }
    }
}
