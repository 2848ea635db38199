//! TLS: trusted CAs, own certificate, and checks of the other side's certificate.

mod identity;
mod trust;
mod verifier;
mod server;

use std::path::PathBuf;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};

use self::identity::ChangingIdentity;
pub(crate) use self::identity::decrypted_key;
pub(crate) use self::server::{ClientCertificates, server_config};
use self::verifier::NamelessVerifier;
use crate::config::{Tls, Verification};

/// Why no TLS connection can be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("can't read {path}: make it readable for the user of posthouse")]
    Unreadable {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{path} has no {part} in PEM form: it begins with -----BEGIN")]
    NoPem { path: PathBuf, part: &'static str },
    #[error("{path} is an encrypted key, and its passphrase is missing: set key_password_file")]
    NoPassphrase { path: PathBuf },
    #[error("{path} can't be decrypted: check key_password_file")]
    WrongPassphrase { path: PathBuf },
    #[error("this machine has no CA certificates: install ca-certificates, or set ca_file")]
    NoAuthorities,
    #[error("certificate {certificate} and key {key} can't be used")]
    Identity {
        certificate: PathBuf,
        key: PathBuf,
        #[source]
        source: rustls::Error,
    },
    #[error("{0:?} is no name or address of a server: set server_name")]
    ServerName(String),
    #[error("TLS can't be set up")]
    Rustls(#[from] rustls::Error),
}

/// Returns the client's side of TLS.
///
/// # Errors
/// Fails if a file is missing or damaged, and if the system has no CAs and `ca_file` is not set.
pub(crate) fn client_config(tls: &Tls) -> Result<ClientConfig, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let config =
        ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
    let config = match tls.verification {
        Verification::Full => config.with_root_certificates(trust::roots(tls)?),
        Verification::Authority => accept_any_name(config, Some(trust::roots(tls)?), provider),
        Verification::None => accept_any_name(config, None, provider),
    };
    Ok(match &tls.identity {
        Some(identity) => config.with_client_cert_resolver(Arc::new(ChangingIdentity::read(identity)?)),
        None => config.with_no_client_auth(),
    })
}

type ConfigBuilder<State> = rustls::ConfigBuilder<ClientConfig, State>;

fn accept_any_name(
    config: ConfigBuilder<rustls::WantsVerifier>,
    authorities: Option<RootCertStore>,
    provider: Arc<CryptoProvider>,
) -> ConfigBuilder<rustls::client::WantsClientCert> {
    let verifier = NamelessVerifier { authorities, provider };
    config.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
}

/// Returns the name that the certificate of `host` must have.
///
/// # Errors
/// Fails if that is neither a name nor an address.
pub(crate) fn server_name(tls: &Tls, host: &str) -> Result<ServerName<'static>, TlsError> {
    let name = tls.server_name.as_deref().unwrap_or(host);
    ServerName::try_from(name.to_owned()).map_err(|_| TlsError::ServerName(name.to_owned()))
}

/// Makes ring the provider of libraries that ask the process for one.
pub(crate) fn install_provider() {
    // An error says that a provider is installed already.
    let _ = CryptoProvider::install_default(ring::default_provider());
}

/// Returns the next step for a failed handshake, from the error's text; empty if none is known.
pub(crate) fn hint(error: &str) -> &'static str {
    const HINTS: [(&str, &str); 12] = [
        ("BadSignature", ": set ca_file to the CA that signed the server's certificate"),
        ("UnknownIssuer", ": set ca_file to the CA that signed the server's certificate"),
        ("CaUsedAsEndEntity", ": set ca_file to the CA that signed the server's certificate"),
        ("Expired", ": the server's certificate has expired; renew it"),
        ("certificate expired", ": the server's certificate has expired; renew it"),
        ("not valid yet", ": the server's certificate is not valid yet; check both clocks"),
        ("NotValidYet", ": the server's certificate is not valid yet; check both clocks"),
        ("not valid for name", ": connect by a name in the certificate, or set server_name"),
        ("NotValidForName", ": connect by a name in the certificate, or set server_name"),
        (
            "CertificateRequired",
            ": the server demands a client certificate; set certificate_file and key_file",
        ),
        ("received fatal alert", ": the server rejected the connection; check certificate_file and key_file"),
        ("InvalidContentType", ": the server does not speak TLS at this port"),
    ];
    HINTS.iter().find(|(words, _)| error.contains(words)).map_or("", |(_, hint)| hint)
}

#[cfg(test)]
mod tests;
