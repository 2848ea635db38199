//! Certificates of authorities that only a test trusts.

use std::path::{Path, PathBuf};

use anyhow::Context;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};

/// Year at whose begin certificates end.
const VALID_UNTIL: i32 = 2096;
/// The same of certificates that have expired.
const EXPIRED: i32 = 2021;

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
        let mut params = params(name, &[])?;
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
        self.issue_until(name, &[name], VALID_UNTIL)
    }

    /// Issues a certificate that has expired.
    ///
    /// # Errors
    /// Fails if `name` can't be in a certificate.
    pub fn issue_expired(&self, name: &str) -> anyhow::Result<PemPair> {
        self.issue_until(name, &[name], EXPIRED)
    }

    /// Issues a certificate with a common name for some hosts, which is valid from 2020 to the
    /// begin of `year`.
    ///
    /// # Errors
    /// Fails if a name can't be in a certificate.
    pub fn issue_until(&self, common_name: &str, hosts: &[&str], year: i32) -> anyhow::Result<PemPair> {
        let mut params = params(common_name, hosts)?;
        (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(year, 1, 1));
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.0)?;
        Ok(PemPair { certificate: certificate.pem(), key: key.serialize_pem() })
    }
}

fn params(common_name: &str, hosts: &[&str]) -> anyhow::Result<CertificateParams> {
    let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
    let mut params = CertificateParams::new(hosts)?;
    params.distinguished_name.remove(DnType::CommonName);
    params.distinguished_name.push(DnType::CommonName, common_name);
    Ok(params)
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
