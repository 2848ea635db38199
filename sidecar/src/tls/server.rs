//! TLS server: own certificate, and checks of client certificates.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::server::WebPkiClientVerifier;

use super::TlsError;
use super::identity::ChangingIdentity;
use super::trust;
use crate::config::HttpTls;

/// Certificates of clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClientCertificates {
    /// A client without one is refused in the handshake.
    Required,
    /// A client may show one.
    Accepted,
}

/// Returns the server's side of TLS. Client certificates are checked if `client_ca_file` is set.
///
/// # Errors
/// Fails if a file is missing or damaged.
pub(crate) fn server_config(tls: &HttpTls, clients: ClientCertificates) -> Result<ServerConfig, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let config =
        ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
    let config = match &tls.client_ca_file {
        None => config.with_no_client_auth(),
        Some(path) => {
            let roots = Arc::new(trust::roots_of(path)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
            let verifier = match clients {
                ClientCertificates::Required => verifier,
                ClientCertificates::Accepted => verifier.allow_unauthenticated(),
            };
            // The builder fails without roots, and there are some.
            let no_pem = |_| TlsError::NoPem { path: path.clone(), part: "certificate" };
            config.with_client_cert_verifier(verifier.build().map_err(no_pem)?)
        }
    };
    Ok(config.with_cert_resolver(Arc::new(ChangingIdentity::read(&tls.identity)?)))
}
