//! Keys that name the source of a secret.

use std::path::{Path, PathBuf};

use super::reader::ConfigTable;
use super::rules;
use crate::secret::{self, Credential, SecretError, SecretSource};

/// Environment variable of ClickHouse's password; it wins over `clickhouse.password_file`.
pub(crate) const PASSWORD_VARIABLE: &str = "POSTHOUSE_CLICKHOUSE_PASSWORD";
/// Environment variable of Kafka's password; it wins over `kafka.password_file`.
pub(crate) const KAFKA_PASSWORD_VARIABLE: &str = "POSTHOUSE_KAFKA_PASSWORD";
/// Environment variable of Kafka's OAuth token; it wins over `kafka.token_file`.
pub(crate) const KAFKA_TOKEN_VARIABLE: &str = "POSTHOUSE_KAFKA_TOKEN";
/// Environment variable of PostgreSQL's password; it wins over `persons.postgres.password_file`.
pub(crate) const POSTGRES_PASSWORD_VARIABLE: &str = "POSTHOUSE_POSTGRES_PASSWORD";
/// Environment variable of the passphrase of ClickHouse's client key; it wins over
/// `clickhouse.tls.key_password_file`.
pub(crate) const KEY_PASSWORD_VARIABLE: &str = "POSTHOUSE_CLICKHOUSE_KEY_PASSWORD";
/// Environment variable of the passphrase of Kafka's client key.
pub(crate) const KAFKA_KEY_PASSWORD_VARIABLE: &str = "POSTHOUSE_KAFKA_KEY_PASSWORD";
/// Environment variable of the passphrase of PostgreSQL's client key.
pub(crate) const POSTGRES_KEY_PASSWORD_VARIABLE: &str = "POSTHOUSE_POSTGRES_KEY_PASSWORD";

/// The keys of one secret: `…_file` and `…_command`, and an environment variable that wins over
/// them.
pub(super) struct CredentialKeys {
    pub(super) file: &'static str,
    pub(super) command: &'static str,
    pub(super) variable: &'static str,
}

impl CredentialKeys {
    /// The keys of a user's password.
    pub(super) const fn password(variable: &'static str) -> Self {
        Self { file: "password_file", command: "password_command", variable }
    }

    /// Reads the secret; `None` if no source is given, or after a fault.
    pub(super) fn read(&self, table: &mut ConfigTable<'_>, base: &Path) -> Option<Credential> {
        let file = table.optional(self.file, rules::path).map(|path| base.join(path));
        let command = table.optional(self.command, rules::command);
        if table.holds(self.file) && table.holds(self.command) {
            table.fault(self.command, format!("gives the secret of {} too: remove one of them", self.file));
            return None;
        }
        if secret::variable(self.variable).is_some() {
            return Credential::read(SecretSource::Variable(self.variable)).ok();
        }
        match (file, command) {
            (Some(file), _) => self.read_file(table, file),
            (None, Some(command)) => {
                let credential = Credential::read(SecretSource::Command(command));
                credential.map_err(|error| table.fault(self.command, chain(error))).ok()
            }
            (None, None) => None,
        }
    }

    fn read_file(&self, table: &ConfigTable<'_>, path: PathBuf) -> Option<Credential> {
        if secret::is_readable_by_all(&path) {
            let problem = format!(
                "every user of this machine may read {0}: chmod o-rwx {0} (in Kubernetes: defaultMode 0440 and fsGroup)",
                path.display()
            );
            table.warn(self.file, problem);
        }
        let credential = Credential::read(SecretSource::File(path));
        let hint = |error| format!("{}, or set {}", chain(error), self.variable);
        credential.map_err(|error| table.fault(self.file, hint(error))).ok()
    }

    /// Whether the table has one of the keys.
    pub(super) fn are_in(&self, table: &ConfigTable<'_>) -> bool {
        table.holds(self.file) || table.holds(self.command)
    }
}

/// The error with its cause before the next step.
fn chain(error: SecretError) -> String {
    let text = error.to_string();
    let cause = std::error::Error::source(&error).map(ToString::to_string);
    match (cause, text.split_once(": ")) {
        (Some(cause), Some((problem, step))) => format!("{problem}: {cause}: {step}"),
        (Some(cause), None) => format!("{text}: {cause}"),
        (None, _) => text,
    }
}
