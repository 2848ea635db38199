//! Trusted CAs: those of a file, or those of the system.

use std::path::Path;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::TlsError;
use super::identity::read_file;
use crate::config::Tls;

/// Returns the CAs of `ca_file`, or those of the system.
pub(super) fn roots(tls: &Tls) -> Result<RootCertStore, TlsError> {
    if let Some(path) = &tls.ca_file {
        return roots_of(path);
    }
    let mut roots = RootCertStore::empty();
    // Damaged files of the system are skipped, as OpenSSL does.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() { Err(TlsError::NoAuthorities) } else { Ok(roots) }
}

/// Returns the CAs of a file.
pub(super) fn roots_of(path: &Path) -> Result<RootCertStore, TlsError> {
    let no_pem = || TlsError::NoPem { path: path.to_owned(), part: "certificate" };
    let mut roots = RootCertStore::empty();
    let text = read_file(path)?;
    for certificate in CertificateDer::pem_slice_iter(&text) {
        roots.add(certificate.map_err(|_| no_pem())?).map_err(|_| no_pem())?;
    }
    if roots.is_empty() { Err(no_pem()) } else { Ok(roots) }
}
