//! The `kafka` section: brokers, login and encryption.

use std::path::{Path, PathBuf};

use toml::de::DeValue;

use super::credentials::{
    CredentialKeys, KAFKA_KEY_PASSWORD_VARIABLE, KAFKA_PASSWORD_VARIABLE, KAFKA_TOKEN_VARIABLE,
};
use super::reader::ConfigTable;
use super::{DEFAULT_TOPICS_FILE, HostPort, Tls, rules};
use crate::secret::Credential;

#[derive(Debug, Clone, PartialEq)]
pub struct Kafka {
    /// Bootstrap addresses: at least one broker.
    pub brokers: Vec<HostPort>,
    pub topics_file: PathBuf,
    /// The collection on the nodes that has the brokers of the Kafka tables, instead of `brokers`.
    pub named_collection: Option<String>,
    pub access: KafkaAccess,
}

/// Login and encryption of posthouse's own connections to the brokers.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct KafkaAccess {
    /// `None` if the brokers need no login.
    pub(crate) login: Option<Login>,
    /// `None` for connections that are not encrypted.
    pub(crate) tls: Option<Tls>,
}

/// A login by SASL.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Login {
    pub(crate) mechanism: Mechanism,
    /// Empty for [`Mechanism::OauthBearer`], where the token names the user.
    pub(crate) user: String,
    /// The password or the token.
    pub(crate) secret: Credential,
}

/// A SASL mechanism.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mechanism {
    Plain,
    ScramSha256,
    ScramSha512,
    OauthBearer,
}

const MECHANISMS: &[(&str, Mechanism)] = &[
    ("PLAIN", Mechanism::Plain),
    ("SCRAM-SHA-256", Mechanism::ScramSha256),
    ("SCRAM-SHA-512", Mechanism::ScramSha512),
    ("OAUTHBEARER", Mechanism::OauthBearer),
];

impl Mechanism {
    /// Its name among SASL mechanisms.
    pub(crate) fn name(self) -> &'static str {
        MECHANISMS.iter().find(|(_, mechanism)| *mechanism == self).map_or("", |(name, _)| name)
    }
}

impl KafkaAccess {
    /// Kafka's name of the protocol.
    pub(crate) fn protocol(&self) -> &'static str {
        match (&self.login, &self.tls) {
            (None, None) => "PLAINTEXT",
            (None, Some(_)) => "SSL",
            (Some(_), None) => "SASL_PLAINTEXT",
            (Some(_), Some(_)) => "SASL_SSL",
        }
    }
}

pub(super) fn kafka(table: &mut ConfigTable<'_>, base: &Path) -> Option<Kafka> {
    let brokers = table.required("brokers", r#"["127.0.0.1:9092"]"#, rules::list_of(rules::host_port));
    let topics = table.or("topics_file", DEFAULT_TOPICS_FILE, rules::path);
    let named_collection = table.optional("named_collection", rules::identifier);
    let login = login(table, base);
    let tls = table.holds("tls").then(|| table.section("tls", |table| tls(table, base)));
    if let (Some(login), None) = (&login, &tls) {
        warn_of_plain_connections(table, login, brokers.as_deref().unwrap_or_default());
    }
    let access = KafkaAccess { login, tls };
    Some(Kafka { brokers: brokers?, topics_file: base.join(topics), named_collection, access })
}

fn tls(table: &mut ConfigTable<'_>, base: &Path) -> Tls {
    let tls = Tls::read(table, base, KAFKA_KEY_PASSWORD_VARIABLE);
    if tls.server_name.is_some() {
        let problem =
            "each broker has its own name: leave it out, and connect by names in the brokers' certificates";
        table.fault("server_name", problem);
    }
    tls
}

/// A user and a password, or a token, or none of them.
fn login(table: &mut ConfigTable<'_>, base: &Path) -> Option<Login> {
    let mechanism = table.or("mechanism", Mechanism::Plain, rules::one_of(MECHANISMS));
    let user = table.optional("user", rules::text);
    let passwords = CredentialKeys::password(KAFKA_PASSWORD_VARIABLE);
    let tokens =
        CredentialKeys { file: "token_file", command: "token_command", variable: KAFKA_TOKEN_VARIABLE };
    let (own, other, wanted) = match mechanism {
        Mechanism::OauthBearer => (&tokens, &passwords, "token_file"),
        _ => (&passwords, &tokens, "password_file"),
    };
    for key in [other.file, other.command] {
        if table.optional(key, |_: &DeValue<'_>| Ok(())).is_some() {
            table.fault(key, format!("is not used with mechanism {}: give {wanted}", mechanism.name()));
        }
    }
    let secret = own.read(table, base);
    match (mechanism, user, secret) {
        (Mechanism::OauthBearer, Some(_), _) => {
            table.fault("user", "the token names the user: leave it out with mechanism OAUTHBEARER");
            None
        }
        (Mechanism::OauthBearer, None, Some(secret)) => {
            Some(Login { mechanism, user: String::new(), secret })
        }
        (Mechanism::OauthBearer, None, None) => {
            if !own.are_in(table) {
                let problem = format!("has no token: set {KAFKA_TOKEN_VARIABLE}, or give token_file");
                table.fault("mechanism", problem);
            }
            None
        }
        (_, Some(user), Some(secret)) => Some(Login { mechanism, user, secret }),
        (_, Some(_), None) => {
            if !own.are_in(table) {
                let problem =
                    format!("has no password: set {KAFKA_PASSWORD_VARIABLE}, or give password_file");
                table.fault("user", problem);
            }
            None
        }
        (_, None, _) => {
            // The variable may be set for other programs.
            if table.holds("mechanism") {
                table.fault("mechanism", "has no user: give user and its password");
            }
            None
        }
    }
}

/// Warns if the login crosses a network without encryption.
fn warn_of_plain_connections(table: &ConfigTable<'_>, login: &Login, brokers: &[HostPort]) {
    let Some(remote) = brokers.iter().find(|broker| !broker.is_loopback()) else { return };
    let (key, danger) = match login.mechanism {
        Mechanism::Plain => ("user", "the password of this user can be read"),
        Mechanism::OauthBearer => ("mechanism", "the token can be read"),
        _ => ("user", "all data can be read and changed, and the password guessed"),
    };
    let problem = format!(
        "{danger} by whoever is between posthouse and {}, because the connection is not encrypted: add [kafka.tls]",
        remote.host
    );
    table.warn(key, problem);
}
