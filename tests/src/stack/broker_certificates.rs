//! Certificates of brokers and their clients, valid and invalid ones, as PEM files.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};

/// A folder of certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerCertificates {
    folder: PathBuf,
}

/// The certificate of one listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BrokerCertificate {
    /// For `localhost` and 127.0.0.1.
    Valid,
    Expired,
    /// For a host of another name.
    Stranger,
}

/// Common name of the client certificate, which is the user's name on the mutual listener.
pub const CERTIFIED_USER: &str = "certified";

type Issuer = CertifiedIssuer<'static, KeyPair>;

impl BrokerCertificates {
    /// Writes a CA and what it signs, and another CA.
    ///
    /// # Errors
    /// If the files can't be written.
    pub fn create(folder: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(folder)?;
        let made = Self { folder: folder.to_owned() };
        let authority = issuer("posthouse test CA")?;
        fs::write(made.authority(), authority.pem())?;
        fs::write(made.other_authority(), issuer("another CA")?.pem())?;
        for certificate in [BrokerCertificate::Valid, BrokerCertificate::Expired, BrokerCertificate::Stranger]
        {
            let names: &[&str] = match certificate {
                BrokerCertificate::Stranger => &["elsewhere.example"],
                _ => &["localhost", "127.0.0.1"],
            };
            let mut params = params("broker", names)?;
            if certificate == BrokerCertificate::Expired {
                params.not_before = date_time_ymd(2020, 1, 1);
                params.not_after = date_time_ymd(2021, 1, 1);
            }
            made.sign(&authority, params, certificate.name())?;
        }
        made.sign(&authority, params(CERTIFIED_USER, &[CERTIFIED_USER])?, "client")?;
        Ok(made)
    }

    /// The CA of all certificates.
    pub fn authority(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// A CA that has signed none.
    pub fn other_authority(&self) -> PathBuf {
        self.folder.join("other.pem")
    }

    /// The client's certificate and key.
    pub fn client(&self) -> [PathBuf; 2] {
        self.files("client")
    }

    /// Certificate and key of a listener.
    pub(crate) fn broker(&self, certificate: BrokerCertificate) -> [PathBuf; 2] {
        self.files(certificate.name())
    }

    fn files(&self, name: &str) -> [PathBuf; 2] {
        ["pem", "key"].map(|extension| self.folder.join(name).with_extension(extension))
    }

    fn sign(&self, authority: &Issuer, params: CertificateParams, name: &str) -> anyhow::Result<()> {
        let key = KeyPair::generate()?;
        let signed = params.signed_by(&key, authority)?;
        let [certificate, key_file] = self.files(name);
        fs::write(certificate, signed.pem())?;
        fs::write(key_file, key.serialize_pem()).context("can't write a key")
    }
}

impl BrokerCertificate {
    fn name(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Expired => "expired",
            Self::Stranger => "stranger",
        }
    }
}

fn issuer(name: &str) -> anyhow::Result<Issuer> {
    let mut params = params(name, &[])?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    Ok(CertifiedIssuer::self_signed(params, KeyPair::generate()?)?)
}

fn params(name: &str, hosts: &[&str]) -> anyhow::Result<CertificateParams> {
    let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
    let mut params = CertificateParams::new(hosts)?;
    params.distinguished_name.remove(DnType::CommonName);
    params.distinguished_name.push(DnType::CommonName, name);
    Ok(params)
}
