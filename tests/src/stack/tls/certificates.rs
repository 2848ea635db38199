//! Certificates of authorities that only a test trusts.

use std::path::{Path, PathBuf};

use anyhow::Context;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};

/// A CA with its key.
pub struct CertificateAuthority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key in PEM form.
#[derive(Debug, Clone)]
pub struct PemPair {
    pub certificate: String,
    pub key: String,
}

impl CertificateAuthority {
    /// Creates an authority.
    ///
    /// # Errors
    /// Fails without random bytes for its key.
    pub fn new(name: &str) -> anyhow::Result<Self> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Ok(Self(CertifiedIssuer::self_signed(params, KeyPair::generate()?)?))
    }

    /// Its own certificate.
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// Issues a certificate for a host, an address or a user.
    ///
    /// # Errors
    /// Fails if `name` can't be in a certificate.
    pub fn issue(&self, name: &str) -> anyhow::Result<PemPair> {
        self.sign(CertificateParams::new(vec![name.to_owned()])?)
    }

    /// Issues a certificate that has expired.
    ///
    /// # Errors
    /// Fails if `name` can't be in a certificate.
    pub fn issue_expired(&self, name: &str) -> anyhow::Result<PemPair> {
        let mut params = CertificateParams::new(vec![name.to_owned()])?;
        params.not_after = date_time_ymd(2020, 1, 1);
        self.sign(params)
    }

    fn sign(&self, params: CertificateParams) -> anyhow::Result<PemPair> {
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.0)?;
        Ok(PemPair { certificate: certificate.pem(), key: key.serialize_pem() })
    }
}

impl PemPair {
    /// Writes both files into `folder`, and returns the paths of certificate and key.
    ///
    /// # Errors
    /// Fails if a file can't be written.
    pub fn write(&self, folder: &Path, name: &str) -> anyhow::Result<(PathBuf, PathBuf)> {
        let [certificate, key] = ["crt", "key"].map(|suffix| folder.join(format!("{name}.{suffix}")));
        std::fs::write(&certificate, &self.certificate)
            .and_then(|()| std::fs::write(&key, &self.key))
            .with_context(|| format!("cannot write {}", certificate.display()))?;
        Ok((certificate, key))
    }
}
