//! Passwords of a password file of libpq.
//!
//! <https://www.postgresql.org/docs/current/libpq-pgpass.html>

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use zeroize::Zeroizing;

use super::{Secret, SecretError};

/// Permissions of the group and of other users.
const OTHERS: u32 = 0o077;
/// Maximum size of the file in bytes.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// A line of a password file, by what it is looked up with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PassfileEntry {
    pub(crate) path: PathBuf,
    /// Host, or folder of a socket, and port. The first that has a line counts.
    pub(crate) hosts: Vec<(String, u16)>,
    pub(crate) database: String,
    pub(crate) user: String,
}

pub(super) fn read(entry: &PassfileEntry) -> Result<Secret, SecretError> {
    let unreadable = |source| SecretError::Unreadable { path: entry.path.clone(), source };
    let file = File::open(&entry.path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    if metadata.permissions().mode() & OTHERS != 0 {
        return Err(SecretError::Open { path: entry.path.clone() });
    }
    let mut text = Zeroizing::new(String::new());
    file.take(MAX_FILE_BYTES).read_to_string(&mut text).map_err(unreadable)?;
    let hosts = entry.hosts.iter();
    let found = hosts.flat_map(|host| text.lines().filter_map(|line| password(line, entry, host)));
    found.map(Secret::from).next().ok_or_else(|| SecretError::NoLine { path: entry.path.clone() })
}

/// The password of a line that matches.
fn password(line: &str, entry: &PassfileEntry, (host, port): &(String, u16)) -> Option<String> {
    if line.starts_with('#') {
        return None;
    }
    let mut fields = split(line.trim_end_matches('\r'));
    // The password may have colons, as libpq allows.
    let password = fields.get(4..)?.join(":");
    fields.truncate(4);
    let is = |field: &str, value: &str| field == "*" || field == value;
    let [of_host, of_port, database, user] = &fields[..] else { return None };
    let is_host = is(of_host, host) || (host.starts_with('/') && of_host == "localhost");
    let is_login = is(database, &entry.database) && is(user, &entry.user);
    (is_host && is(of_port, &port.to_string()) && is_login && !password.is_empty()).then_some(password)
}

/// Splits at colons; a backslash keeps the next character as it is.
fn split(line: &str) -> Vec<String> {
    let (mut fields, mut characters) = (vec![String::new()], line.chars());
    while let Some(character) = characters.next() {
        match character {
            ':' => fields.push(String::new()),
            '\\' => fields.last_mut().into_iter().for_each(|field| field.extend(characters.next())),
            _ => fields.last_mut().into_iter().for_each(|field| field.push(character)),
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str, mode: u32, hosts: &[&str]) -> Result<String, SecretError> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("pgpass");
        std::fs::write(&path, text).expect("a file");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).expect("a mode");
        let hosts = hosts.iter().map(|host| ((*host).to_owned(), 5432)).collect();
        let entry = PassfileEntry { path, hosts, database: "app".to_owned(), user: "me".to_owned() };
        read(&entry).map(|secret| secret.reveal().to_owned())
    }

    #[test]
    fn the_first_line_that_matches_has_the_password() {
        let text = "# h:5432:app:me:comment\nh:5433:app:me:port\nh:*:app:you:user\nh:5432:*:me:a\\:b\\\\c:d\n*:*:*:*:any\n";
        assert_eq!(found(text, 0o600, &["h"]).expect("a password"), "a:b\\c:d");
        assert_eq!(found(text, 0o600, &["g"]).expect("a password"), "any");
        assert_eq!(found("localhost:*:*:me:s\r\n", 0o600, &["/run"]).expect("a password"), "s");
        assert_eq!(found("h2:5432:app:me:two", 0o400, &["h1", "h2"]).expect("a password"), "two");
        assert!(matches!(found("h:5432:app", 0o600, &["h"]), Err(SecretError::NoLine { .. })));
    }

    #[test]
    fn a_file_that_others_may_read_is_refused() {
        for mode in [0o640, 0o604, 0o620] {
            let error = found("*:*:*:*:s3cret", mode, &["h"]).expect_err("an open file");
            assert!(matches!(error, SecretError::Open { .. }) && !error.to_string().contains("s3cret"));
        }
    }
}
