//! Passwords: their sources, and a type that never prints one.

use std::fmt;
use std::path::{Path, PathBuf};

use super::reader::ConfigTable;
use super::rules;

/// Environment variable of ClickHouse's password; it wins over `clickhouse.password_file`.
pub(crate) const PASSWORD_VARIABLE: &str = "POSTHOUSE_CLICKHOUSE_PASSWORD";
/// Environment variable of Kafka's password; it wins over `kafka.password_file`.
pub(crate) const KAFKA_PASSWORD_VARIABLE: &str = "POSTHOUSE_KAFKA_PASSWORD";
/// Environment variable of PostgreSQL's password; it wins over `persons.postgres.password_file`.
pub(crate) const POSTGRES_PASSWORD_VARIABLE: &str = "POSTHOUSE_POSTGRES_PASSWORD";

/// A password; only [`Password::reveal`] shows it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Password(String);

impl Password {
    /// Returns the secret itself, for the one caller that sends it.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }

    /// Reads an environment variable; an empty one counts as unset.
    pub(super) fn from_environment(variable: &str) -> Option<Self> {
        std::env::var(variable).ok().filter(|text| !text.is_empty()).map(Self)
    }

    /// Reads the first line of a file. Editors and `echo` end it with a newline that does not
    /// belong to the password.
    pub(super) fn from_file(path: &Path, variable: &str) -> Result<Self, String> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            format!("can't read {}: {error}: make it readable, or set {variable}", path.display())
        })?;
        let line = text.strip_suffix('\n').unwrap_or(&text);
        Ok(Self(line.strip_suffix('\r').unwrap_or(line).to_owned()))
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(hidden)")
    }
}

/// Returns the path in `password_file`, and the password from the environment or that file.
pub(super) fn password(
    table: &mut ConfigTable<'_>,
    base: &Path,
    variable: &str,
) -> (Option<PathBuf>, Option<Password>) {
    let file = table.optional("password_file", rules::path).map(|path| base.join(path));
    let from_file = || {
        let read = Password::from_file(file.as_deref()?, variable);
        read.map_err(|problem| table.fault("password_file", problem)).ok()
    };
    let password = Password::from_environment(variable).or_else(from_file);
    (file, password)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newline_at_the_end_is_no_part_of_it_and_nothing_prints_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("password");
        for (content, password) in
            [("s3cret\n", "s3cret"), ("s3cret\r\n", "s3cret"), (" s3cret ", " s3cret ")]
        {
            std::fs::write(&file, content).expect("a file");
            let read = Password::from_file(&file, PASSWORD_VARIABLE).expect("a password");
            assert_eq!(read.reveal(), password);
            assert!(!format!("{read:?}").contains("s3cret"));
        }
    }
}
