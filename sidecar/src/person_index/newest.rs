//! The newest entry of each id in several files, in the order of the hashes.

use std::io;
use std::iter::Peekable;
use std::path::Path;

use posthouse_udf::snapshot::{Entry, FileName, Hashed, Identity, SnapshotFile};

type Entries = Box<dyn Iterator<Item = io::Result<Entry>> + Send>;

/// Entries of sources in which a later source replaces earlier ones. Each source has its ids in
/// order.
pub(super) struct NewestEntries {
    /// From old to new.
    sources: Vec<Peekable<Entries>>,
}

impl NewestEntries {
    /// Opens files, from old to new, and checks every byte of them.
    pub(super) fn open(folder: &Path, names: &[FileName], identity: &Identity) -> io::Result<Self> {
        let open = |name: &FileName| {
            let mut file = SnapshotFile::open(&name.path(folder), identity).map_err(io::Error::other)?;
            file.verify().map_err(io::Error::other)?;
            let entries: Entries = Box::new(file.into_entries().map(|entry| entry.map_err(io::Error::other)));
            Ok(entries.peekable())
        };
        Ok(Self { sources: names.iter().map(open).collect::<io::Result<_>>()? })
    }

    /// Adds entries that are newer than all others, in the order of their hashes.
    pub(super) fn and(mut self, changes: Vec<Entry>) -> Self {
        let changes: Entries = Box::new(changes.into_iter().map(Ok));
        self.sources.push(changes.peekable());
        self
    }
}

impl Iterator for NewestEntries {
    type Item = io::Result<Entry>;

    fn next(&mut self) -> Option<io::Result<Entry>> {
        let ids = self.sources.iter_mut().filter_map(|source| match source.peek()? {
            Ok(entry) => Some(entry.id),
            // It is returned before all others.
            Err(_) => Some(Hashed::default()),
        });
        let first = ids.min()?;
        let mut newest = None;
        for source in &mut self.sources {
            let is_first = |entry: &io::Result<Entry>| entry.as_ref().map_or(true, |entry| entry.id == first);
            match source.next_if(is_first) {
                Some(Err(error)) => return Some(Err(error)),
                Some(entry) => newest = Some(entry),
                None => {}
            }
        }
        newest
    }
}
