//! Encrypted listeners of a broker, each with a certificate and a kind of login.

use std::fs;

use serde::Serialize;

use super::broker_certificates::{BrokerCertificate, BrokerCertificates};
use super::ports::{self, Port};
use super::spec::User;

/// A kind of encrypted listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EncryptedListener {
    /// Login by PLAIN, SCRAM or OAUTHBEARER.
    Sasl,
    /// A client certificate is the login.
    Mutual,
    /// No login, and an expired certificate.
    Expired,
    /// No login, and a certificate of another host.
    Stranger,
}

const LISTENERS: [EncryptedListener; 4] = [
    EncryptedListener::Sasl,
    EncryptedListener::Mutual,
    EncryptedListener::Expired,
    EncryptedListener::Stranger,
];

/// The encrypted listeners of one broker, with their ports.
#[derive(Debug)]
pub(crate) struct Listeners(Vec<(EncryptedListener, Port)>);

/// Values of a listener for the broker's template.
#[derive(Debug, Serialize)]
pub(crate) struct ListenerValues {
    name: &'static str,
    protocol: &'static str,
    port: u16,
    certificate: String,
    key: String,
    authority: String,
    logins: Option<String>,
    demands_certificate: bool,
}

impl Listeners {
    pub(crate) fn reserve() -> anyhow::Result<Self> {
        LISTENERS
            .iter()
            .map(|listener| Ok((*listener, ports::reserve()?)))
            .collect::<anyhow::Result<_>>()
            .map(Self)
    }

    pub(crate) fn port(&self, wanted: EncryptedListener) -> Option<u16> {
        self.0.iter().find(|(listener, _)| *listener == wanted).map(|(_, port)| port.number())
    }

    pub(crate) fn values(
        &self,
        certificates: &BrokerCertificates,
        users: &[User],
    ) -> anyhow::Result<Vec<ListenerValues>> {
        let logins: Vec<String> =
            users.iter().map(|user| format!("user_{}=\"{}\"", user.name, user.password)).collect();
        let values = self.0.iter().map(|(listener, port)| {
            let (name, certificate) = match listener {
                EncryptedListener::Sasl => ("SASL", BrokerCertificate::Valid),
                EncryptedListener::Mutual => ("MUTUAL", BrokerCertificate::Valid),
                EncryptedListener::Expired => ("EXPIRED", BrokerCertificate::Expired),
                EncryptedListener::Stranger => ("STRANGER", BrokerCertificate::Stranger),
            };
            let [certificate, key] = certificates.broker(certificate);
            let is_sasl = *listener == EncryptedListener::Sasl;
            // A value of a properties file is one line.
            let line = |path| {
                Ok::<_, anyhow::Error>(fs::read_to_string(path)?.replace('\r', "").replace('\n', "\\n"))
            };
            Ok(ListenerValues {
                name,
                protocol: if is_sasl { "SASL_SSL" } else { "SSL" },
                port: port.number(),
                certificate: line(certificate)?,
                key: line(key)?,
                authority: line(certificates.authority())?,
                logins: is_sasl.then(|| logins.join(" ")),
                demands_certificate: *listener == EncryptedListener::Mutual,
            })
        });
        values.collect()
    }
}
