//! Login and encryption that a node's consumers need for the brokers.
//!
//! Definitions of tables hold no login, because every user who may see a table would see it. SQL
//! does not show the `<kafka>` section of a node. So a note has what the node needs until one of
//! its consumers has reached the brokers.

use serde::Deserialize;

use super::super::objects::{Role, SchemaObject};
use super::{ACCESS_DENIED, SettingFinding, SettingSeverity};
use crate::config::{Config, KafkaAccess, Mechanism, Verification};
use crate::node::Node;
use crate::sql;

#[derive(Deserialize)]
struct ReachedBrokers {
    reading: u64,
}

/// Returns a note if the brokers demand more than a connection, and no consumer of the node has
/// reached them.
pub(super) async fn finding(config: &Config, node: &Node) -> anyhow::Result<Option<SettingFinding>> {
    let access = &config.kafka.access;
    let has_consumers = SchemaObject::wanted(config)
        .any(|object| object.role == Role::Consumer && object.is_desired(config, node));
    if *access == KafkaAccess::default() || config.kafka.named_collection.is_some() || !has_consumers {
        return Ok(None);
    }
    let query = node.query(sql::text("inspect/reading.sql").unwrap_or_default());
    let is_reading = match query.param("database", &config.database).rows::<ReachedBrokers>().await {
        Err(error) if error.code() == Some(ACCESS_DENIED) => false,
        found => found?.iter().any(|row| row.reading > 0),
    };
    Ok((!is_reading).then(|| SettingFinding {
        node: node.name.clone(),
        setting: "<kafka> of the node's config".to_owned(),
        value: None,
        desired: format!("the access of {}", access.protocol()),
        consequence: "the node's consumers have their own access to the brokers, and read nothing without it"
            .to_owned(),
        hint: format!(
            "unless it is there already: {}; or a named collection with the same keys (kafka.named_collection)",
            section(access)
        ),
        severity: SettingSeverity::Note,
    }))
}

/// The section with the access of posthouse itself, without secrets.
fn section(access: &KafkaAccess) -> String {
    let mut section = format!("<security_protocol>{}</security_protocol>", access.protocol().to_lowercase());
    let mut element =
        |name: &str, value: &str| section.push_str(&format!("<{name}>{}</{name}>", escaped(value)));
    if let Some(login) = &access.login {
        // A server can't run posthouse's command for tokens.
        let (mechanism, user) = match login.mechanism {
            Mechanism::OauthBearer => ("SCRAM-SHA-512", "clickhouse"),
            mechanism => (mechanism.name(), login.user.as_str()),
        };
        element("sasl_mechanism", mechanism);
        element("sasl_username", user);
        section.push_str(r#"<sasl_password from_env="KAFKA_PASSWORD"/>"#);
    }
    let mut element =
        |name: &str, value: &str| section.push_str(&format!("<{name}>{}</{name}>", escaped(value)));
    if let Some(tls) = &access.tls {
        let authority = tls.ca_file.as_ref().map(|path| path.display().to_string());
        element("ssl_ca_location", authority.as_deref().unwrap_or("/etc/ssl/certs/ca-certificates.crt"));
        if let Some(identity) = &tls.identity {
            element("ssl_certificate_location", &identity.certificate_file.display().to_string());
            element("ssl_key_location", &identity.key_file.display().to_string());
        }
        if tls.verification == Verification::None {
            element("enable_ssl_certificate_verification", "false");
        }
        let is_encrypted = tls.identity.as_ref().is_some_and(|identity| identity.key_password.is_some());
        if is_encrypted {
            section.push_str(r#"<ssl_key_password from_env="KAFKA_KEY_PASSWORD"/>"#);
        }
    }
    format!("<clickhouse><kafka>{section}</kafka></clickhouse>")
}

/// Escapes text for XML.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const CONFIG: &str = r#"
[[shards]]
[[shards.replicas]]
name = "ch1"
url = "http://127.0.0.1:8123"
address = "127.0.0.1:9000"
"#;

    #[test]
    fn the_section_has_everything_but_secrets() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("password"), "s3cret").expect("a file");
        let text = format!(
            "{CONFIG}[kafka]\nbrokers = [\"b:9094\"]\nuser = \"a<b&c\"\nmechanism = \"SCRAM-SHA-256\"\n\
             password_file = \"password\"\n[kafka.tls]\nca_file = \"/ca.pem\"\n"
        );
        let config = Config::parse(&text, folder.path()).expect("a config");
        assert_eq!(
            section(&config.kafka.access),
            "<clickhouse><kafka><security_protocol>sasl_ssl</security_protocol>\
             <sasl_mechanism>SCRAM-SHA-256</sasl_mechanism><sasl_username>a&lt;b&amp;c</sasl_username>\
             <sasl_password from_env=\"KAFKA_PASSWORD\"/><ssl_ca_location>/ca.pem</ssl_ca_location></kafka>\
             </clickhouse>"
        );
        let config =
            Config::parse(&format!("{CONFIG}[kafka]\nbrokers = [\"b:1\"]\n[kafka.tls]\n"), Path::new(""));
        let config = config.expect("a config");
        assert!(section(&config.kafka.access).contains("<security_protocol>ssl</security_protocol>"));
    }
}
