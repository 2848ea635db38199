//! Loopback ports that stay ours: chosen below the ephemeral range and held by a locked file for the stack's
//! life.

use std::fs::{self, File, OpenOptions};
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

/// Below Linux's and macOS's ephemeral ranges (32768 and 49152 upwards), so that no outgoing connection takes
/// the port of a server that is down for a moment; above the registered ports of well-known servers.
pub(crate) const RANGE: Range<u16> = 20_000..32_000;

/// A port reserved against every other stack of this user, also while no server listens on it.
#[derive(Debug)]
pub(crate) struct Port {
    number: u16,
    path: PathBuf,
    // The lock itself; released by the system however this process ends.
    _lock: File,
}

impl Port {
    pub(crate) fn number(&self) -> u16 {
        self.number
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        // Still locked, so nobody else holds this file; see `lock` for those who opened it a moment ago.
        let _ = fs::remove_file(&self.path);
    }
}

/// Reserves one free loopback port.
///
/// # Errors
/// When the whole range is taken.
pub(crate) fn reserve() -> anyhow::Result<Port> {
    // A folder of each user's own: nobody can lock a file that another user made.
    let folder = std::env::temp_dir().join(format!("posthouse-ports-{}", rustix::process::getuid().as_raw()));
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    reserve_in(&folder, RANGE)
}

/// Starts at a random port, so that two stacks starting at once seldom meet.
fn reserve_in(folder: &Path, range: Range<u16>) -> anyhow::Result<Port> {
    let start = rand::random_range(range.clone());
    for number in (start..range.end).chain(range.start..start) {
        let path = folder.join(number.to_string());
        let Some(lock) = lock(&path) else { continue };
        let port = Port { number, path, _lock: lock };
        // A foreign server may listen there; `port` then gives the reservation back.
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

/// The locked file, or nothing when it is another's.
fn lock(path: &Path) -> Option<File> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(path).ok()?;
    file.try_lock().ok()?;
    // Its last holder may have removed it after we opened it: then our lock is on a file nobody else will
    // find.
    let found = fs::metadata(path).ok()?;
    (found.ino() == file.metadata().ok()?.ino()).then_some(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_held_until_dropped() {
        let folder = tempfile::tempdir().unwrap();
        // Three ports of our own above the stacks' range.
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
    fn a_port_somebody_listens_on_is_not_given_out() {
        let folder = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let number = listener.local_addr().unwrap().port();
        assert!(reserve_in(folder.path(), number..number + 1).is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "no lock file is left");
    }
}
