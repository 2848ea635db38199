//! `[daemon]`: the HTTP interface of a running posthouse, and its protection.

use std::path::{Path, PathBuf};

use super::credentials::CredentialKeys;
use super::reader::ConfigTable;
use super::{DEFAULT_LISTEN, HostPort, TlsIdentity, rules};
use crate::secret::Credential;

/// Environment variable of the token of the HTTP interface; it wins over `daemon.token_file`.
pub(crate) const HTTP_TOKEN_VARIABLE: &str = "POSTHOUSE_HTTP_TOKEN";

/// A shorter token could be guessed.
const MIN_TOKEN_BYTES: usize = 16;

/// Settings of `posthouse run`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Daemon {
    /// Address of the HTTP interface.
    pub(crate) listen: HostPort,
    /// The token that a request must bring.
    pub(crate) token: Option<Credential>,
    pub(crate) tls: Option<HttpTls>,
    /// Whether `/metrics` needs no token and no client certificate.
    pub(crate) metrics_open: bool,
    /// Whether `/live` and `/ready` need none.
    pub(crate) health_open: bool,
}

/// Encryption of the HTTP interface.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct HttpTls {
    pub(crate) identity: TlsIdentity,
    /// PEM file of the CAs of client certificates.
    pub(crate) client_ca_file: Option<PathBuf>,
}

impl Daemon {
    pub(super) fn read(table: &mut ConfigTable<'_>, base: &Path) -> Self {
        let default = HostPort { host: DEFAULT_LISTEN.0.to_owned(), port: DEFAULT_LISTEN.1 };
        let listen = table.or("listen", default, rules::host_port);
        let keys =
            CredentialKeys { file: "token_file", command: "token_command", variable: HTTP_TOKEN_VARIABLE };
        let token = keys.read(table, base);
        if token.as_ref().is_some_and(|token| token.secret().reveal().len() < MIN_TOKEN_BYTES) {
            let key = if table.holds(keys.command) { keys.command } else { keys.file };
            table
                .fault(key, format!("the token has less than {MIN_TOKEN_BYTES} bytes: openssl rand -hex 32"));
        }
        let tls = match table.holds("tls") {
            true => table.section("tls", |table| http_tls(table, base)),
            false => None,
        };
        let daemon = Self {
            listen,
            token,
            tls,
            metrics_open: table.or("metrics_open", false, rules::boolean),
            health_open: table.or("health_open", false, rules::boolean),
        };
        let names_token = keys.are_in(table);
        if !daemon.may_listen_at(&daemon.listen) && !names_token && !table.holds("tls") {
            table.fault("listen", UNPROTECTED);
        } else if !daemon.may_listen_at(&daemon.listen) && !names_token {
            let problem = "proves nothing about the client: add client_ca_file, or give daemon.token_file";
            table.fault("tls", problem);
        }
        if daemon.token.is_some() && daemon.tls.is_none() && !daemon.listen.is_loopback() {
            table.warn("listen", "clients send the token in the clear: add [daemon.tls]");
        }
        daemon
    }

    /// Whether a client must prove itself, or `listen` is reachable from this machine only.
    pub(crate) fn may_listen_at(&self, listen: &HostPort) -> bool {
        listen.is_loopback() || self.is_protected()
    }

    /// Whether a client must prove itself.
    pub(crate) fn is_protected(&self) -> bool {
        self.token.is_some() || self.tls.as_ref().is_some_and(|tls| tls.client_ca_file.is_some())
    }
}

/// The next steps for an address that other machines reach.
pub(crate) const UNPROTECTED: &str = "other machines reach this address, so clients must prove themselves: give \
    daemon.token_file or set POSTHOUSE_HTTP_TOKEN, or give [daemon.tls] with client_ca_file, or listen at 127.0.0.1";

fn http_tls(table: &mut ConfigTable<'_>, base: &Path) -> Option<HttpTls> {
    let certificate = table.required("certificate_file", r#""posthouse.crt""#, rules::path);
    let key = table.required("key_file", r#""posthouse.key""#, rules::path);
    let client_ca_file = table.optional("client_ca_file", rules::path).map(|path| base.join(path));
    let identity = TlsIdentity {
        certificate_file: base.join(certificate?),
        key_file: base.join(key?),
        key_password: None,
    };
    Some(HttpTls { identity, client_ca_file })
}
