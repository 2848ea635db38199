//! Access of clients to the brokers: settings of the library, login, and reasons of faults.

mod context;
mod denial;
mod diagnosis;
mod reasons;
mod token;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use rdkafka::config::ClientConfig;
use rustls::ClientConfig as TlsConfig;

use super::KafkaError;
use super::ends_aside::EndsAside;
use super::polled_producer::PolledProducer;
use crate::config::{HostPort, Kafka, KafkaAccess, Mechanism, Tls, Verification};
use crate::tls::{self, TlsError};

pub(crate) use self::context::LibraryContext;
pub(super) use self::denial::{Requested, denial, error_code};
pub(super) use self::diagnosis::diagnose;

/// Addresses, login and encryption of the brokers of one config.
#[derive(Debug, Clone)]
pub(crate) struct Brokers {
    pub(crate) addresses: Vec<HostPort>,
    pub(crate) access: KafkaAccess,
}

/// Connections that share the files of TLS as they were at one time.
pub(super) struct BrokerSession {
    /// The library's client for metadata and admin requests.
    pub(super) admin: EndsAside<PolledProducer<()>>,
    /// For connections of [`super::wire`].
    pub(super) tls: Option<Arc<TlsConfig>>,
    /// Modification times of the files of TLS; `None` for a missing file.
    file_times: Vec<Option<SystemTime>>,
}

impl Brokers {
    pub(super) fn new(kafka: &Kafka) -> Self {
        Self { addresses: kafka.brokers.clone(), access: kafka.access.clone() }
    }

    /// Comma-separated addresses for messages and librdkafka.
    pub(super) fn list(&self) -> String {
        self.addresses.iter().map(HostPort::to_string).collect::<Vec<_>>().join(",")
    }

    /// Sets up connections with the files and secrets as they are now.
    ///
    /// # Errors
    /// [`KafkaError::Tls`] if a file of TLS can't be used, or [`KafkaError::Failed`].
    pub(super) fn session(&self) -> Result<BrokerSession, KafkaError> {
        let file_times = self.file_times();
        let tls = self.access.tls.as_ref().map(tls::client_config).transpose()?.map(Arc::new);
        let context = self.context(());
        let admin = PolledProducer::new(&self.library_config()?, context)
            .map_err(|source| KafkaError::Failed { brokers: self.list(), task: "set up a client", source })?;
        Ok(BrokerSession { admin: EndsAside::new(admin), tls, file_times })
    }

    /// Settings of the library, with the files and secrets as they are now.
    ///
    /// # Errors
    /// [`KafkaError::Tls`] if a file of TLS can't be used.
    pub(super) fn library_config(&self) -> Result<ClientConfig, TlsError> {
        // This leaves out OpenSSL's cleanup at the end of the process. Threads of the library still
        // use OpenSSL then, and a command ended with a segmentation fault.
        openssl::init();
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", self.list())
            .set("client.id", "posthouse")
            .set("security.protocol", self.access.protocol());
        if let Some(login) = &self.access.login {
            config.set("sasl.mechanism", login.mechanism.name());
            if login.mechanism != Mechanism::OauthBearer {
                config.set("sasl.username", &login.user);
                config.set("sasl.password", login.secret.secret().reveal());
            }
        }
        if let Some(tls) = &self.access.tls {
            set_tls(&mut config, tls)?;
        }
        Ok(config)
    }

    /// The context of a client.
    pub(super) fn context<P>(&self, part: P) -> LibraryContext<P> {
        LibraryContext::new(self.access.login.clone(), part)
    }

    fn file_times(&self) -> Vec<Option<SystemTime>> {
        self.files().map(|path| path.metadata().and_then(|file| file.modified()).ok()).collect()
    }

    fn files(&self) -> impl Iterator<Item = &PathBuf> {
        let tls = self.access.tls.iter();
        tls.flat_map(|tls| {
            let identity = tls.identity.iter();
            tls.ca_file.iter().chain(identity.flat_map(|files| [&files.certificate_file, &files.key_file]))
        })
    }
}

impl BrokerSession {
    /// Whether a file of TLS has changed since.
    pub(super) fn is_outdated(&self, brokers: &Brokers) -> bool {
        self.file_times != brokers.file_times()
    }
}

fn set_tls(config: &mut ClientConfig, tls: &Tls) -> Result<(), TlsError> {
    match &tls.ca_file {
        Some(path) => config.set("ssl.ca.location", path.display().to_string()),
        None => config.set("ssl.ca.location", "probe"),
    };
    if let Some(files) = &tls.identity {
        let certificate = std::fs::read_to_string(&files.certificate_file)
            .map_err(|source| TlsError::Unreadable { path: files.certificate_file.clone(), source })?;
        config.set("ssl.certificate.pem", certificate);
        config.set("ssl.key.pem", tls::decrypted_key(files)?.as_str());
    }
    let (verification, identification) = match tls.verification {
        Verification::Full => ("true", "https"),
        Verification::Authority => ("true", "none"),
        Verification::None => ("false", "none"),
    };
    config.set("enable.ssl.certificate.verification", verification);
    config.set("ssl.endpoint.identification.algorithm", identification);
    Ok(())
}

#[cfg(test)]
mod tests;
