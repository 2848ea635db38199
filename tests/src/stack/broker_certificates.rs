//! Certificates of brokers and their clients, valid and invalid ones, as PEM files.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::tls::{CertificateAuthority, PemPair};

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

/// Year at whose begin the certificates end, and that of the expired one.
const VALID_UNTIL: i32 = 2096;
const EXPIRED: i32 = 2021;

impl BrokerCertificates {
    /// Writes a CA and what it signs, and another CA.
    ///
    /// # Errors
    /// If the files can't be written.
    pub fn create(folder: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(folder)?;
        let made = Self { folder: folder.to_owned() };
        let authority = CertificateAuthority::new("posthouse test CA")?;
        fs::write(made.authority(), authority.pem())?;
        fs::write(made.other_authority(), CertificateAuthority::new("another CA")?.pem())?;
        let local = ["localhost", "127.0.0.1"];
        for (certificate, hosts, year) in [
            (BrokerCertificate::Valid, &local[..], VALID_UNTIL),
            (BrokerCertificate::Expired, &local, EXPIRED),
            (BrokerCertificate::Stranger, &["elsewhere.example"], VALID_UNTIL),
        ] {
            made.write(&authority.issue_until("broker", hosts, year)?, certificate.name())?;
        }
        made.write(&authority.issue(CERTIFIED_USER)?, "client")?;
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

    fn write(&self, pair: &PemPair, name: &str) -> anyhow::Result<()> {
        let [certificate, key] = self.files(name);
        fs::write(certificate, &pair.certificate)?;
        fs::write(key, &pair.key).context("can't write a key")
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
