//! An index that takes changes, and publishes each batch of them as a generation.

use std::io;
use std::ops::Range;

use posthouse_udf::snapshot::{
    Entry, FileName, Manifest, PersonIndex, SnapshotError, VerifyPlace, VersionRange,
};

use super::clock::now_ms;
use super::folder::IndexFolder;
use super::merges::folded;
use super::newest::NewestEntries;

/// Bytes that are checked at once. An index of a billion ids is checked in some hours.
const CHECKED_BYTES: u64 = 64 << 20;

/// The published index of a folder, and the right to write it.
pub(super) struct LiveIndex {
    folder: IndexFolder,
    index: PersonIndex,
    /// The number of the oldest files that a merge beside publications reads.
    frozen: usize,
    checked: VerifyPlace,
}

/// A merge of several files, which runs beside publications.
pub(super) struct FileMerge {
    run: Range<usize>,
    names: Vec<FileName>,
    entries: u64,
    versions: VersionRange,
    into: FileName,
}

impl FileMerge {
    /// Whether it rewrites the base, and so needs as much room.
    pub(super) fn has_base(&self) -> bool {
        self.run.start == 0
    }
}

/// Up to where the topic is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ReadUpTo {
    /// The next offset of each partition.
    pub(super) offsets: Vec<u64>,
    /// Up to when changes are known, in milliseconds since 1970.
    pub(super) fresh_ms: u64,
}

impl LiveIndex {
    /// Opens the index of a folder, and checks every byte.
    pub(super) fn open(folder: IndexFolder) -> Result<Self, (IndexFolder, SnapshotError)> {
        let opened = PersonIndex::open(&folder.path).and_then(|mut index| index.verify().map(|()| index));
        match opened {
            Ok(index) => Ok(Self { folder, index, frozen: 0, checked: VerifyPlace::default() }),
            Err(error) => Err((folder, error)),
        }
    }

    pub(super) fn index(&self) -> &PersonIndex {
        &self.index
    }

    pub(super) fn into_folder(self) -> IndexFolder {
        self.folder
    }

    /// Publishes the changes among `versions`, and returns their number. Older versions than the
    /// known ones are no changes, so messages can be read twice.
    pub(super) fn publish(&mut self, versions: Vec<Entry>, up_to: ReadUpTo) -> anyhow::Result<usize> {
        let changes = self.changes(versions)?;
        let mut manifest = self.next_manifest(up_to);
        let count = changes.len();
        let mut replaced = Vec::new();
        if count > 0 {
            manifest.shared_keys = self.shared_keys(&changes)?;
            replaced = self.write_changes(&mut manifest, changes)?;
        }
        self.replace(&manifest, &replaced)?;
        Ok(count)
    }

    /// The versions that are greater than the known ones, one of each id, in the order of hashes.
    fn changes(&mut self, mut versions: Vec<Entry>) -> Result<Vec<Entry>, SnapshotError> {
        versions.sort_unstable_by(|a, b| a.id.cmp(&b.id).then(b.version.cmp(&a.version)));
        versions.dedup_by_key(|entry| entry.id);
        let mut changes = Vec::with_capacity(versions.len());
        for entry in versions {
            let known = self.index.entry(entry.id)?;
            if known.is_none_or(|known| is_newer(entry, known)) {
                changes.push(entry);
            }
        }
        Ok(changes)
    }

    /// The keys of more than one id, with those that `changes` add.
    fn shared_keys(&mut self, changes: &[Entry]) -> Result<Vec<u64>, SnapshotError> {
        let mut keys = self.index.manifest().shared_keys.clone();
        for entry in changes {
            if self.index.shares_key(entry.id)? {
                keys.push(entry.id.key);
            }
        }
        keys.extend(changes.windows(2).filter(|two| two[0].id.key == two[1].id.key).map(|two| two[0].id.key));
        keys.sort_unstable();
        keys.dedup();
        Ok(keys)
    }

    /// Writes changes, with the small files before them, as one file. Returns the names of the
    /// files that it replaces.
    fn write_changes(&self, manifest: &mut Manifest, changes: Vec<Entry>) -> io::Result<Vec<FileName>> {
        let files: Vec<_> = self.index.files().collect();
        // A base of another process may be empty, but there always is one.
        let first = self.frozen.max(1).min(files.len());
        let entries: Vec<u64> = files[first..].iter().map(|(_, entries, _)| *entries).collect();
        let fold = folded(&entries, changes.len() as u64);
        let folded = &files[files.len() - fold..];
        let versions = changes.iter().map(|entry| VersionRange::of(entry.version.version));
        let range = folded.iter().map(|(_, _, range)| *range).chain(versions).reduce(union);
        let most = folded.iter().map(|(_, entries, _)| entries).sum::<u64>() + changes.len() as u64;
        let names: Vec<FileName> = folded.iter().map(|(name, _, _)| *name).collect();
        let newest = NewestEntries::open(&self.folder.path, &names, &manifest.identity)?.and(changes);
        let into = self.folder.new_name();
        let range = range.unwrap_or(VersionRange::of(0));
        self.folder.writer().write(into, manifest.identity, range, most, newest)?;
        manifest.files.truncate(files.len() - fold);
        manifest.files.push(into);
        Ok(names)
    }

    /// Checks a part of the files as a process finds them that opens them now. A disk may lose what
    /// was written well.
    pub(super) fn check_part(&mut self) -> Result<(), SnapshotError> {
        let mut index = PersonIndex::open(&self.folder.path)?;
        self.checked = index.verify_part(self.checked, CHECKED_BYTES)?;
        Ok(())
    }

    /// Returns a merge that is due by a rule of [`merges`](super::merges), if no other one runs.
    pub(super) fn due_merge(&mut self, due: fn(&[u64]) -> Option<Range<usize>>) -> Option<FileMerge> {
        if self.frozen > 0 {
            return None;
        }
        let files: Vec<_> = self.index.files().collect();
        let entries: Vec<u64> = files.iter().map(|(_, entries, _)| *entries).collect();
        let run = due(&entries)?;
        let merged = &files[run.clone()];
        self.frozen = run.end;
        Some(FileMerge {
            names: merged.iter().map(|(name, _, _)| *name).collect(),
            entries: merged.iter().map(|(_, entries, _)| entries).sum(),
            versions: merged.iter().map(|(_, _, range)| *range).reduce(union).unwrap_or(VersionRange::of(0)),
            into: self.folder.new_name(),
            run,
        })
    }

    /// The writer of a merge's file.
    pub(super) fn merger(&self, merge: &FileMerge) -> impl FnOnce() -> io::Result<()> + Send + use<> {
        let (folder, identity) = (self.folder.writer(), self.index.manifest().identity);
        let FileMerge { names, entries, versions, into, .. } = merge;
        let (names, entries, versions, into) = (names.clone(), *entries, *versions, *into);
        move || {
            let newest = NewestEntries::open(&folder.folder, &names, &identity)?;
            folder.write(into, identity, versions, entries, newest).map(drop)
        }
    }

    /// Publishes the file of a merge in place of its sources.
    pub(super) fn adopt(&mut self, merge: FileMerge) -> anyhow::Result<()> {
        self.frozen = 0;
        let FileMerge { run, names, into, .. } = merge;
        let known = self.index.manifest();
        let up_to = ReadUpTo { offsets: known.offsets.clone(), fresh_ms: known.fresh_ms };
        let mut manifest = self.next_manifest(up_to);
        anyhow::ensure!(
            manifest.files.get(run.clone()) == Some(&names[..]),
            "the merged files are no longer those of the index"
        );
        manifest.files.splice(run, [into]);
        self.replace(&manifest, &names)
    }

    /// Forgets a merge that failed.
    pub(super) fn abandon(&mut self) {
        self.frozen = 0;
    }

    fn next_manifest(&self, up_to: ReadUpTo) -> Manifest {
        let known = self.index.manifest();
        Manifest {
            generation: known.generation + 1,
            published_ms: now_ms(),
            // A clock that was ahead must not make the index look fresh for as long as it was.
            fresh_ms: up_to.fresh_ms.max(known.fresh_ms.min(now_ms())),
            offsets: up_to.offsets,
            ..known.clone()
        }
    }

    fn replace(&mut self, manifest: &Manifest, replaced: &[FileName]) -> anyhow::Result<()> {
        self.folder.publish(manifest)?;
        self.index.refresh()?;
        self.folder.remove(replaced)
    }
}

/// Whether a version replaces the known one. The index does not keep the person of a deletion.
fn is_newer(entry: Entry, known: Entry) -> bool {
    let (new, old) = (entry.version, known.version);
    match new.is_deleted && old.is_deleted {
        true => new.version > old.version,
        false => new > old,
    }
}

fn union(one: VersionRange, other: VersionRange) -> VersionRange {
    one.with(other.min).with(other.max)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use posthouse_udf::person::Version;
    use posthouse_udf::snapshot::{Hashed, Identity};
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    use super::super::merges;
    use super::*;

    /// A random version of an id. Some ids have one key.
    fn entry(random: &mut StdRng, ids: u64) -> Entry {
        let id = random.random_range(0..ids);
        let key = (id - id % 200 % 2).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let version = Version {
            version: random.random_range(-20..200),
            is_deleted: random.random_ratio(1, 5),
            person_id: random.random_range(1..50),
        };
        Entry { id: Hashed { key, check: id }, version }
    }

    fn empty_index(folder: IndexFolder) -> LiveIndex {
        let (identity, name) = (Identity { seed: 7, source: 8 }, folder.new_name());
        folder.writer().write(name, identity, VersionRange::of(0), 0, []).expect("a base");
        let manifest = Manifest {
            identity,
            generation: 1,
            published_ms: 0,
            fresh_ms: 0,
            offsets: vec![0],
            files: vec![name],
            shared_keys: Vec::new(),
        };
        folder.publish(&manifest).expect("a generation");
        LiveIndex::open(folder).map_err(|(_, error)| error).expect("an index")
    }

    /// Checks the person of each id, the keys of several ids, and the files of the folder.
    fn check(live: &mut LiveIndex, wanted: &BTreeMap<Hashed, Version>) {
        for (id, version) in wanted {
            let found = live.index.entry(*id).expect("an undamaged file").expect("a known id").version;
            assert_eq!((found.version, found.is_deleted), (version.version, version.is_deleted));
            assert!(found.is_deleted || found.person_id == version.person_id);
        }
        let ids: Vec<&Hashed> = wanted.keys().collect();
        let mut shared: Vec<u64> =
            ids.windows(2).filter(|two| two[0].key == two[1].key).map(|two| two[0].key).collect();
        shared.dedup();
        assert_eq!(live.index.manifest().shared_keys, shared);
        let mut there: Vec<FileName> = std::fs::read_dir(&live.folder.path)
            .expect("a folder")
            .filter_map(|entry| FileName::parse(&entry.expect("an entry").file_name().to_string_lossy()))
            .collect();
        let mut named = live.index.manifest().files.clone();
        there.sort_unstable();
        named.sort_unstable();
        assert_eq!(there, named, "the folder has the files of the generation");
    }

    #[test]
    fn every_id_has_its_greatest_version_after_publications_merges_and_restarts() {
        let seed: u64 =
            std::env::var("SEED").map_or_else(|_| rand::random(), |seed| seed.parse().expect("a number"));
        println!("SEED={seed}");
        let mut random = StdRng::seed_from_u64(seed);
        let folder = tempfile::tempdir().expect("a folder");
        let lock = || IndexFolder::lock(folder.path().join("index")).expect("a lock");
        let mut live = empty_index(lock());
        let mut wanted: BTreeMap<Hashed, Version> = BTreeMap::new();
        let mut merge: Option<FileMerge> = None;
        let (mut round, mut merges) = (0_u64, 0);
        // A merge is due after some large publications, and which are large is random.
        while round < 60 || merges == 0 {
            round += 1;
            let count = [0, 3, 500, 30_000][random.random_range(0..4)];
            let ids = [20, 5_000, 200_000][random.random_range(0..3)];
            let versions: Vec<Entry> = (0..count).map(|_| entry(&mut random, ids)).collect();
            for Entry { id, version } in &versions {
                let known = wanted.entry(*id).or_insert(*version);
                *known = (*known).max(*version);
            }
            let up_to = ReadUpTo { offsets: vec![round], fresh_ms: round };
            live.publish(versions, up_to).expect("a publication");
            assert_eq!(live.index.manifest().offsets, [round]);
            // A merge that has begun ends after further publications.
            match merge.take() {
                Some(done) if random.random_ratio(1, 2) => {
                    live.merger(&done)().expect("a merged file");
                    live.adopt(done).expect("a publication");
                    merges += 1;
                }
                Some(running) => merge = Some(running),
                None => merge = live.due_merge(merges::due),
            }
            if merge.is_none() && random.random_ratio(1, 8) {
                drop(live);
                live = LiveIndex::open(lock()).map_err(|(_, error)| error).expect("an index");
            }
            assert!(live.index.manifest().files.len() <= 12, "{} files", live.index.manifest().files.len());
        }
        check(&mut live, &wanted);
    }
}
