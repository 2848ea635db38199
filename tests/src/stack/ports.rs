//! Reserved loopback ports below the ephemeral range.
//!
//! A locked file holds each for the stack's life.

use std::fs::{self, File, OpenOptions};
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

/// Below Linux's and macOS's ephemeral ranges (32768 and 49152 upwards), so that no outgoing
/// connection takes the port of a server that is briefly down. Above the registered ports of
/// well-known servers.
pub(crate) const RANGE: Range<u16> = 20_000..32_000;

/// A port reserved against every other stack of this user, even while no server listens on it.
#[derive(Debug)]
pub(crate) struct Port {
    number: u16,
    path: PathBuf,
    // The lock itself. The kernel releases it however this process ends.
    _lock: File,
}

impl Port {
    pub(crate) fn number(&self) -> u16 {
        self.number
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        // Still locked, so no other process holds this file. See `lock` for a process that opened
        // it just before.
        let _ = fs::remove_file(&self.path);
    }
}

/// Reserves one free loopback port.
///
/// # Errors
/// If the whole range is taken.
pub(crate) fn reserve() -> anyhow::Result<Port> {
    // One folder per user, because no user can lock a file that another one made.
    let folder = std::env::temp_dir().join(format!("posthouse-ports-{}", rustix::process::getuid().as_raw()));
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    reserve_in(&folder, RANGE)
}

/// Begins at a random port, so that two concurrent starts seldom collide.
fn reserve_in(folder: &Path, range: Range<u16>) -> anyhow::Result<Port> {
    let start = rand::random_range(range.clone());
    for number in (start..range.end).chain(range.start..start) {
        let path = folder.join(number.to_string());
        let Some(lock) = lock(&path) else { continue };
        let port = Port { number, path, _lock: lock };
        // A foreign server may listen there. Then dropping `port` releases the reservation.
        if TcpListener::bind((Ipv4Addr::LOCALHOST, number)).is_ok() {
            return Ok(port);
        }
    }
    bail!(
        "no free port on 127.0.0.1 in {}-{}: stop other stacks with `stack down --all`",
        range.start,
        range.end
    );
}

/// Returns the locked file, or None if another process holds it.
fn lock(path: &Path) -> Option<File> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(path).ok()?;
    file.try_lock().ok()?;
    // Its last holder may have removed it after the open. Then the lock is on a file without a
    // name.
    let found = fs::metadata(path).ok()?;
    (found.ino() == file.metadata().ok()?.ino()).then_some(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_held_until_dropped() {
        let folder = tempfile::tempdir().unwrap();
        // Three ports of this test above the stacks' range.
        let range = 32_100..32_103;
        let first = reserve_in(folder.path(), range.clone()).unwrap();
        let second = reserve_in(folder.path(), range.clone()).unwrap();
        assert_ne!(first.number(), second.number());
        let only = first.number()..first.number() + 1;
        assert!(reserve_in(folder.path(), only.clone()).is_err());
        drop(first);
        assert_eq!(reserve_in(folder.path(), only.clone()).unwrap().number(), only.start);
    }

    #[test]
    fn a_port_with_a_listener_is_not_given_out() {
        let folder = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let number = listener.local_addr().unwrap().port();
        assert!(reserve_in(folder.path(), number..number + 1).is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "no lock file is left");
    }
}
