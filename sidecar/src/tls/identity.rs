//! Own certificate and key, which are read again after a renewal.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use openssl::pkey::{PKey, Private};
use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use zeroize::Zeroizing;

use super::TlsError;
use crate::config::TlsIdentity;
use crate::secret::Credential;

/// A certificate with its key. Each handshake uses the files as they are then.
#[derive(Debug)]
pub(super) struct ChangingIdentity {
    files: TlsIdentity,
    current: Mutex<(FileTimes, Arc<CertifiedKey>)>,
}

/// Modification times of certificate and key; `None` for a missing file.
type FileTimes = [Option<SystemTime>; 2];

impl ChangingIdentity {
    pub(super) fn read(files: &TlsIdentity) -> Result<Self, TlsError> {
        let times = times(files);
        let current = Mutex::new((times, Arc::new(certified_key(files)?)));
        Ok(Self { files: files.clone(), current })
    }

    /// The certificate of the files. While they can't be used, for example between the renewal of
    /// the one and of the other, it is the last one.
    pub(super) fn current(&self) -> Arc<CertifiedKey> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let times = times(&self.files);
        if current.0 != times {
            match certified_key(&self.files) {
                Ok(key) => *current = (times, Arc::new(key)),
                Err(error) => {
                    let error = anyhow::Error::from(error);
                    tracing::warn!(error = format!("{error:#}"), "changed certificate can't be used");
                }
            }
        }
        Arc::clone(&current.1)
    }
}

impl ResolvesClientCert for ChangingIdentity {
    fn resolve(&self, _issuers: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.current())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl ResolvesServerCert for ChangingIdentity {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current())
    }
}

fn times(files: &TlsIdentity) -> FileTimes {
    [&files.certificate_file, &files.key_file]
        .map(|path| path.metadata().and_then(|file| file.modified()).ok())
}

fn certified_key(files: &TlsIdentity) -> Result<CertifiedKey, TlsError> {
    let path = &files.certificate_file;
    let text = read_file(path)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let no_pem = || TlsError::NoPem { path: path.clone(), part: "certificate" };
    let chain = chain.ok().filter(|chain| !chain.is_empty()).ok_or_else(no_pem)?;
    let key = private_key(files)?;
    CertifiedKey::from_der(chain, key, &ring::default_provider()).map_err(|source| TlsError::Identity {
        certificate: path.clone(),
        key: files.key_file.clone(),
        source,
    })
}

fn private_key(files: &TlsIdentity) -> Result<PrivateKeyDer<'static>, TlsError> {
    let key = openssl_key(files)?;
    let no_pem = |_| TlsError::NoPem { path: files.key_file.clone(), part: "private key" };
    Ok(PrivatePkcs8KeyDer::from(key.private_key_to_pkcs8().map_err(no_pem)?).into())
}

/// Returns the key as PEM without its passphrase, for librdkafka.
pub(crate) fn decrypted_key(files: &TlsIdentity) -> Result<Zeroizing<String>, TlsError> {
    let no_pem = || TlsError::NoPem { path: files.key_file.clone(), part: "private key" };
    let pem = openssl_key(files)?.private_key_to_pem_pkcs8().map_err(|_| no_pem())?;
    String::from_utf8(pem).map(Zeroizing::new).map_err(|_| no_pem())
}

/// Reads the key with OpenSSL, because it knows every form of an encrypted key, and librdkafka uses
/// it as well.
fn openssl_key(files: &TlsIdentity) -> Result<PKey<Private>, TlsError> {
    let path = &files.key_file;
    let text = Zeroizing::new(read_file(path)?);
    let is_encrypted = memchr::memmem::find(&text, b"ENCRYPTED").is_some();
    let passphrase = files.key_password.as_ref().map(Credential::secret);
    match (is_encrypted, passphrase) {
        (true, None) => Err(TlsError::NoPassphrase { path: path.clone() }),
        (true, Some(passphrase)) => {
            let key = PKey::private_key_from_pem_passphrase(&text, passphrase.reveal().as_bytes());
            key.map_err(|_| TlsError::WrongPassphrase { path: path.clone() })
        }
        (false, _) => {
            // The callback is for encrypted keys. Without it, OpenSSL would ask at the terminal.
            let key = PKey::private_key_from_pem_callback(&text, |_| Ok(0));
            key.map_err(|_| TlsError::NoPem { path: path.clone(), part: "private key" })
        }
    }
}

pub(super) fn read_file(path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|source| TlsError::Unreadable { path: path.to_owned(), source })
}
