//! Connection of `[persons.postgres]`, with libpq's names and meanings.

use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};

use toml::de::DeValue;

use super::credentials::CredentialKeys;
use super::postgres_url::PostgresUrl;
use super::reader::ConfigTable;
use super::tls::{Tls, TlsIdentity, Verification};
use super::{HostPort, POSTGRES_KEY_PASSWORD_VARIABLE, POSTGRES_PASSWORD_VARIABLE, rules};
use crate::secret::{self, Credential, PassfileEntry, SecretSource};

/// Port of a host that names none.
const DEFAULT_PORT: u16 = 5432;
/// Each host may take ten seconds.
const MAX_HOSTS: usize = 8;
/// Environment variable of libpq for `passfile`.
const PASSFILE_VARIABLE: &str = "PGPASSFILE";

/// Where and how to log in.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PostgresConnection {
    /// At least one, tried in order.
    pub(crate) hosts: Vec<PostgresHost>,
    pub(crate) target: SessionTarget,
    /// A role with REPLICATION that may read both tables.
    pub(crate) user: String,
    pub(crate) password: Option<Credential>,
    pub(crate) tls: PostgresTls,
    pub(crate) channel_binding: BindingMode,
}

/// A server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PostgresHost {
    Tcp(HostPort),
    /// The folder of a Unix socket.
    Socket {
        folder: PathBuf,
        port: u16,
    },
}

/// Servers that are accepted (`target_session_attrs`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SessionTarget {
    Any,
    /// No standby.
    ReadWrite,
}

/// Use of TLS (`sslmode`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
pub(crate) enum SslMode {
    Disable,
    /// TLS if the server offers it.
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

/// Binding of the login to the server's certificate (`channel_binding`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BindingMode {
    Disable,
    /// Binding if the server offers it.
    Prefer,
    Require,
}

/// TLS of the connections.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PostgresTls {
    pub(crate) mode: SslMode,
    pub(crate) root: RootCertificates,
    pub(crate) identity: Option<TlsIdentity>,
}

/// Trusted CAs (`sslrootcert`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RootCertificates {
    None,
    File(PathBuf),
    System,
}

const MODES: &[(&str, SslMode)] = &[
    ("disable", SslMode::Disable),
    ("prefer", SslMode::Prefer),
    ("require", SslMode::Require),
    ("verify-ca", SslMode::VerifyCa),
    ("verify-full", SslMode::VerifyFull),
];
const BINDINGS: &[(&str, BindingMode)] =
    &[("disable", BindingMode::Disable), ("prefer", BindingMode::Prefer), ("require", BindingMode::Require)];
const TARGETS: &[(&str, SessionTarget)] =
    &[("any", SessionTarget::Any), ("read-write", SessionTarget::ReadWrite)];

impl PostgresConnection {
    /// All hosts, as `host:port` with commas between.
    pub(crate) fn address(&self) -> String {
        self.hosts.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
    }
}

impl fmt::Display for PostgresHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Socket { folder, port } => write!(f, "{}:{port}", folder.display()),
        }
    }
}

impl fmt::Display for SslMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MODES.iter().find(|(_, mode)| mode == self).map_or("", |(name, _)| name))
    }
}

impl PostgresTls {
    /// The checks of the server's certificate. As in libpq, a file of CAs is used in every mode.
    pub(crate) fn tls(&self) -> Tls {
        let verification = match (self.mode, &self.root) {
            (SslMode::VerifyFull, _) => Verification::Full,
            (SslMode::VerifyCa, _) | (_, RootCertificates::File(_)) => Verification::Authority,
            _ => Verification::None,
        };
        let ca_file = match &self.root {
            RootCertificates::File(path) => Some(path.clone()),
            RootCertificates::None | RootCertificates::System => None,
        };
        Tls { ca_file, identity: self.identity.clone(), server_name: None, verification }
    }
}

/// The connection, and the database.
pub(super) fn connection(table: &mut ConfigTable<'_>, base: &Path) -> Option<(PostgresConnection, String)> {
    let url = url(table);
    let hosts = hosts(table, &url);
    let database = named(table, &url, "database", r#""posthog""#);
    let user = named(table, &url, "user", r#""posthouse""#);
    let mut keys = Keys { table, url: &url };
    let target = keys.choice("target_session_attrs", TARGETS);
    let channel_binding = keys.choice("channel_binding", BINDINGS).unwrap_or(BindingMode::Prefer);
    let tls = tls(&mut keys, base);
    if channel_binding == BindingMode::Require && tls.mode == SslMode::Disable {
        keys.fault("channel_binding", "needs TLS: set sslmode = \"verify-full\"");
    }
    let passfile = keys.text("passfile");
    let own = own_password(table, base, passfile.is_some());
    let (hosts, database, user) = (hosts?, database?, user?);
    let login = PassfileLogin { hosts: &hosts, database: &database, user: &user };
    let password = match own {
        OwnPassword::Given(password) => password,
        OwnPassword::None => password_of_file(table, base, passfile, &login),
    };
    let default_target = if hosts.len() > 1 { SessionTarget::ReadWrite } else { SessionTarget::Any };
    let target = target.unwrap_or(default_target);
    Some((PostgresConnection { hosts, target, user, password, tls, channel_binding }, database))
}

/// The parts of `url`, all absent without one and after a fault.
fn url(table: &mut ConfigTable<'_>) -> PostgresUrl {
    let Some(text) = table.optional("url", rules::text) else {
        return PostgresUrl { is_faulty: table.holds("url"), ..PostgresUrl::default() };
    };
    PostgresUrl::parse(&text).unwrap_or_else(|faults| {
        faults.into_iter().for_each(|fault| table.fault_unseen("url", fault));
        PostgresUrl { is_faulty: true, ..PostgresUrl::default() }
    })
}

/// Reads `address`, `addresses` or the hosts of `url`.
fn hosts(table: &mut ConfigTable<'_>, url: &PostgresUrl) -> Option<Vec<PostgresHost>> {
    let one = table
        .optional("address", |value: &DeValue<'_>| host(value.as_str().ok_or("give host:port in quotes")?));
    let many = table.optional(
        "addresses",
        rules::list_of(|value: &DeValue<'_>| host(value.as_str().ok_or("give host:port in quotes")?)),
    );
    let given = ["address", "addresses"].into_iter().filter(|key| table.holds(key));
    let given: Vec<&str> = given.chain((!url.hosts.is_empty()).then_some("url")).collect();
    match &given[..] {
        [] if url.is_faulty => return None,
        [] => {
            table.missing("address", r#"address = "127.0.0.1:5432""#);
            return None;
        }
        [_] => {}
        [first, second, ..] => {
            table.fault_unseen(second, format!("names hosts, and so does {first}: remove one of them"));
            return None;
        }
    }
    let mut of_url = Vec::new();
    for text in &url.hosts {
        match host(text) {
            Ok(host) => of_url.push(host),
            Err(problem) => table.fault_unseen("url", format!("has a host that is none: {problem}")),
        }
    }
    let hosts: Vec<_> = one.into_iter().chain(many.into_iter().flatten()).chain(of_url).collect();
    if hosts.len() > MAX_HOSTS {
        table.fault_unseen(given[0], format!("names more than {MAX_HOSTS} hosts: remove some"));
    }
    (!hosts.is_empty()).then_some(hosts)
}

/// A host with or without a port, or the folder of a socket.
fn host(text: &str) -> Result<PostgresHost, String> {
    if !text.starts_with('/') {
        // `h`, `h:1`, `[::1]`, `[::1]:1`.
        let has_port = text.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'));
        let text = if has_port { text.to_owned() } else { format!("{text}:{DEFAULT_PORT}") };
        return rules::host_port(&DeValue::String(text.into())).map(PostgresHost::Tcp);
    }
    let (folder, port) = match text.rsplit_once(':') {
        None => (text, DEFAULT_PORT),
        Some((folder, port)) => {
            let port = port.parse().ok().filter(|port| *port > 0);
            (
                folder,
                port.ok_or("give the folder of a socket, such as /run/postgresql or /run/postgresql:5433")?,
            )
        }
    };
    Ok(PostgresHost::Socket { folder: folder.into(), port })
}

/// A key that is required unless the URL has it.
fn named(table: &mut ConfigTable<'_>, url: &PostgresUrl, key: &'static str, example: &str) -> Option<String> {
    let of_url = if key == "user" { &url.user } else { &url.database };
    match of_url {
        None if url.is_faulty => table.optional(key, rules::text),
        None => table.required(key, example, rules::text),
        Some(value) => {
            if table.optional(key, rules::text).is_some() {
                table.fault(key, "is in url too: remove one of them");
            }
            Some(value.clone())
        }
    }
}

/// Keys that may be in the table or in its URL.
struct Keys<'k, 's, 'u> {
    table: &'k mut ConfigTable<'s>,
    url: &'u PostgresUrl,
}

impl Keys<'_, '_, '_> {
    fn choice<T: Copy>(&mut self, key: &str, choices: &'static [(&'static str, T)]) -> Option<T> {
        let value = self.table.optional(key, rules::one_of(choices));
        let Some(text) = self.of_url(key) else { return value };
        let chosen = rules::one_of(choices)(&DeValue::String(text.into()));
        chosen.map_err(|problem| self.table.fault_unseen("url", format!("has a wrong {key}: {problem}"))).ok()
    }

    fn text(&mut self, key: &str) -> Option<String> {
        let value = self.table.optional(key, rules::path);
        let value = value.map(|path| path.to_string_lossy().into_owned());
        self.of_url(key).or(value)
    }

    fn of_url(&self, key: &str) -> Option<String> {
        let text = self.url.parameters.get(key)?;
        if self.table.holds(key) {
            self.table.fault(key, "is in url too: remove one of them");
        }
        Some(text.clone())
    }

    /// Reports a key where it is.
    fn fault(&self, key: &str, problem: &str) {
        match self.url.parameters.contains_key(key) {
            true => self.table.fault_unseen("url", format!("has a {key} that {problem}")),
            false => self.table.fault(key, problem),
        }
    }
}

fn tls(keys: &mut Keys<'_, '_, '_>, base: &Path) -> PostgresTls {
    let mode = keys.choice("sslmode", MODES);
    let root = match keys.text("sslrootcert").as_deref() {
        None => RootCertificates::None,
        Some("system") => RootCertificates::System,
        Some(path) => RootCertificates::File(readable(keys, "sslrootcert", base.join(path))),
    };
    let identity = identity(keys, base);
    let mode = match (mode, &root) {
        (Some(mode), RootCertificates::System) if mode < SslMode::VerifyFull => {
            // Public CAs sign a certificate for every owner of a name.
            keys.fault("sslmode", "is too weak for sslrootcert = \"system\": give \"verify-full\"");
            mode
        }
        (Some(mode), RootCertificates::None) if mode > SslMode::Require => {
            keys.fault("sslmode", "needs sslrootcert: the file of the server's CA, or \"system\"");
            mode
        }
        (Some(mode), _) => mode,
        (None, RootCertificates::System) => SslMode::VerifyFull,
        (None, _) => SslMode::Prefer,
    };
    PostgresTls { mode, root, identity }
}

/// Both files or neither.
fn identity(keys: &mut Keys<'_, '_, '_>, base: &Path) -> Option<TlsIdentity> {
    let (certificate, key) = (keys.text("sslcert"), keys.text("sslkey"));
    let passphrase = CredentialKeys {
        file: "sslpassword_file",
        command: "sslpassword_command",
        variable: POSTGRES_KEY_PASSWORD_VARIABLE,
    };
    let key_password = passphrase.read(keys.table, base);
    match (certificate, key) {
        (Some(certificate), Some(key)) => {
            let certificate_file = readable(keys, "sslcert", base.join(certificate));
            let key_file = readable(keys, "sslkey", base.join(key));
            if secret::is_readable_by_all(&key_file) {
                let path = key_file.display();
                let problem = format!("every user of this machine may read {path}: chmod o-rwx {path}");
                keys.table.warn("sslkey", problem);
            }
            Some(TlsIdentity { certificate_file, key_file, key_password })
        }
        (Some(_), None) => {
            keys.fault("sslcert", "needs sslkey, the certificate's private key");
            None
        }
        (None, Some(_)) => {
            keys.fault("sslkey", "needs sslcert, the certificate of this key");
            None
        }
        (None, None) => None,
    }
}

fn readable(keys: &Keys<'_, '_, '_>, key: &str, path: PathBuf) -> PathBuf {
    if let Err(error) = File::open(&path) {
        let problem = format!(
            "can't be read ({}: {error}): make it readable for the user of posthouse",
            path.display()
        );
        keys.fault(key, &problem);
    }
    path
}

/// What a line of a password file is looked up by.
struct PassfileLogin<'l> {
    hosts: &'l [PostgresHost],
    database: &'l str,
    user: &'l str,
}

impl PassfileLogin<'_> {
    fn entry(&self, path: PathBuf) -> PassfileEntry {
        let hosts = self.hosts.iter().map(|host| match host {
            PostgresHost::Tcp(address) => (address.host.clone(), address.port),
            PostgresHost::Socket { folder, port } => (folder.display().to_string(), *port),
        });
        let (database, user) = (self.database.to_owned(), self.user.to_owned());
        PassfileEntry { path, hosts: hosts.collect(), database, user }
    }
}

/// The password of keys that name its source.
enum OwnPassword {
    /// A key is there; its password is absent after a fault.
    Given(Option<Credential>),
    None,
}

fn own_password(table: &mut ConfigTable<'_>, base: &Path, has_passfile: bool) -> OwnPassword {
    let keys = CredentialKeys::password(POSTGRES_PASSWORD_VARIABLE);
    let password = keys.read(table, base);
    let is_given = keys.are_in(table);
    if is_given && has_passfile {
        table.fault_unseen("passfile", "gives the password, and so does another key: remove one of them");
    }
    match is_given || password.is_some() {
        true => OwnPassword::Given(password),
        false => OwnPassword::None,
    }
}

/// The password of `passfile`, else that of `PGPASSFILE`.
fn password_of_file(
    table: &ConfigTable<'_>,
    base: &Path,
    passfile: Option<String>,
    login: &PassfileLogin<'_>,
) -> Option<Credential> {
    let of_environment = || std::env::var(PASSFILE_VARIABLE).ok().filter(|path| !path.is_empty());
    let name = if passfile.is_some() { "the file" } else { PASSFILE_VARIABLE };
    let path = passfile.map(|path| base.join(path)).or_else(|| of_environment().map(PathBuf::from))?;
    // As in libpq, a file without a password for this login is ignored.
    let credential = Credential::read(SecretSource::Passfile(login.entry(path)));
    credential.map_err(|error| table.warn("passfile", format!("{name} gives no password: {error}"))).ok()
}
