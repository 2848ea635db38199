//! `tls` tables: trust, certificates and verification for one kind of server.

use std::path::{Path, PathBuf};

use super::credentials::CredentialKeys;
use super::reader::ConfigTable;
use super::rules;
use crate::secret::Credential;

/// Encryption of the connections to one kind of server.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Tls {
    /// PEM file of the trusted CAs, instead of those of the system.
    pub(crate) ca_file: Option<PathBuf>,
    /// The certificate that posthouse shows.
    pub(crate) identity: Option<TlsIdentity>,
    /// Name that the server's certificate must have, instead of the host of its address.
    pub(crate) server_name: Option<String>,
    pub(crate) verification: Verification,
}

/// A certificate with its key, as PEM files. A changed file is read before the next connection.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TlsIdentity {
    /// The certificate, followed by its intermediate CAs.
    pub(crate) certificate_file: PathBuf,
    pub(crate) key_file: PathBuf,
    /// Passphrase of an encrypted key.
    pub(crate) key_password: Option<Credential>,
}

/// Checks of a server's certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Verification {
    /// A trusted CA has signed it, it is valid now, and it has the server's name.
    #[default]
    Full,
    /// As `Full`, with any name.
    Authority,
    /// None. A host between the two can read and change all data.
    None,
}

impl Tls {
    /// Reads a `tls` table. `variable` is the environment variable of the key's passphrase.
    pub(super) fn read(table: &mut ConfigTable<'_>, base: &Path, variable: &'static str) -> Self {
        let ca_file = table.optional("ca_file", rules::path).map(|path| base.join(path));
        let identity = identity(table, base, variable);
        let server_name = table.optional("server_name", rules::literal);
        let is_unverified = table.or("insecure_skip_verify", false, rules::boolean);
        if is_unverified {
            let problem = "the server's certificate is not checked, so that whoever is between can read and change \
                all data: set ca_file instead";
            table.warn("insecure_skip_verify", problem);
        }
        let verification = if is_unverified { Verification::None } else { Verification::Full };
        Self { ca_file, identity, server_name, verification }
    }
}

/// Both files or neither.
fn identity(table: &mut ConfigTable<'_>, base: &Path, variable: &'static str) -> Option<TlsIdentity> {
    let certificate = table.optional("certificate_file", rules::path);
    let key = table.optional("key_file", rules::path);
    let keys = CredentialKeys { file: "key_password_file", command: "key_password_command", variable };
    let key_password = keys.read(table, base);
    match (certificate, key) {
        (Some(certificate), Some(key)) => Some(TlsIdentity {
            certificate_file: base.join(certificate),
            key_file: base.join(key),
            key_password,
        }),
        (Some(_), None) => {
            table.fault("certificate_file", "give key_file too, the certificate's private key");
            None
        }
        (None, Some(_)) => {
            table.fault("key_file", "give certificate_file too, the certificate of this key");
            None
        }
        (None, None) => None,
    }
}
