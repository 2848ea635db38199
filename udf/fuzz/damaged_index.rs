//! Person indexes with a damage that a fuzzer's bytes choose.

use std::fs;
use std::path::{Path, PathBuf};

use crate::person::Version;
use crate::snapshot::{
    BATCH, Entry, FileName, Hashed, Identity, Manifest, PersonIndex, SnapshotError, SnapshotFile, UNKNOWN,
    VerifyPlace, VersionRange, write_file,
};
use arbitrary::{Result as Drawn, Unstructured};
use xxhash_rust::xxh3::xxh3_64;

const IDENTITY: Identity = Identity { seed: 0x0123_4567_89ab_cdef_0f1e_2d3c_4b5a_6978, source: 7 };
const HEADER: usize = 4096;
const RECORD: usize = 32;
const LINE: usize = 64;
const CHUNK: usize = 1 << 16;
/// Bytes that are verified at once.
const PART: u64 = 40_000;
/// Offsets of a header's fields: format, reserved bytes, both halves of the seed, source, entries,
/// buckets, smallest and greatest version, bytes of a version, length, checksum of the checksums,
/// deletions, checksum of the header.
const FIELDS: [usize; 14] =
    [8, 12, 16, 24, 32, ENTRIES, BUCKETS, 56, 64, VERSION_BYTES, LENGTH, SUMS_SUM, 96, SUM];
const ENTRIES: usize = 40;
const BUCKETS: usize = 48;
const VERSION_BYTES: usize = 72;
const LENGTH: usize = 80;
const SUMS_SUM: usize = 88;
const SUM: usize = 104;
/// Longest file that a damaged header may ask for.
const MAX_BODY: usize = 2 * CHUNK;
/// Numbers at which a size, a count or an offset changes its meaning.
const EDGES: [u64; 16] = [
    0,
    1,
    2,
    9,
    10,
    27,
    0xffff,
    1 << 16,
    1 << 31,
    1 << 32,
    1 << 58,
    1 << 59,
    (1 << 63) - 1,
    1 << 63,
    u64::MAX - 63,
    u64::MAX,
];

/// The outcome of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Every lookup had an answer.
    Answered,
    /// The index or a lookup was refused.
    Refused,
}

/// The checksums that match the damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sealed {
    Nothing,
    Header,
    Everything,
}

const SEALED: [Sealed; 3] = [Sealed::Nothing, Sealed::Header, Sealed::Everything];

/// Indexes on disk that inputs damage one after the other.
pub(crate) struct DamagedIndex {
    samples: Vec<Sample>,
}

/// An undamaged index and its answers.
struct Sample {
    folder: PathBuf,
    manifest: Vec<u8>,
    files: Vec<SampleFile>,
    asked: [Hashed; BATCH],
    persons: [u128; BATCH],
    persons_by_key: [u128; BATCH],
}

struct SampleFile {
    path: PathBuf,
    bytes: Vec<u8>,
    entries: Vec<Entry>,
}

/// The entries of a sample.
#[derive(Clone, Copy)]
struct Shape {
    /// Entries of each file, from old to new.
    files: &'static [u64],
    /// Bits of keys that are zero: at the end, so that ids share keys, or at the begin, so that all
    /// are in one bucket.
    key_mask: u64,
    versions: VersionRange,
}

const DAYS: VersionRange = VersionRange { min: -5, max: 1 << 40 };
const SHAPES: [Shape; 8] = [
    Shape { files: &[0], key_mask: u64::MAX, versions: DAYS },
    Shape { files: &[1], key_mask: u64::MAX, versions: DAYS },
    Shape { files: &[40], key_mask: u64::MAX, versions: VersionRange { min: 0, max: 3 } },
    Shape { files: &[40, 3, 5], key_mask: u64::MAX, versions: DAYS },
    Shape { files: &[70, 70], key_mask: 0xfff, versions: DAYS },
    Shape { files: &[30, 30], key_mask: 0xf << 60, versions: DAYS },
    Shape { files: &[25], key_mask: u64::MAX, versions: VersionRange { min: i64::MIN, max: i64::MAX } },
    Shape { files: &[2_500, 20], key_mask: u64::MAX, versions: DAYS },
];

impl DamagedIndex {
    /// Writes the undamaged indexes into folders of `folder`.
    pub(crate) fn new(folder: &Path) -> Self {
        let sample = |(number, shape): (usize, &Shape)| {
            let folder = folder.join(number.to_string());
            fs::create_dir_all(&folder).unwrap();
            Sample::new(folder, *shape)
        };
        Self { samples: SHAPES.iter().enumerate().map(sample).collect() }
    }

    /// Draws an index. The large one is rare, because it takes the longest.
    fn sample(&self, number: u8) -> &Sample {
        let small = self.samples.len() - 1;
        &self.samples[if number < 4 { small } else { usize::from(number) % small }]
    }

    /// Damages an index as `data` says, and reads it in all ways.
    ///
    /// # Panics
    /// If a damage that checksums show has changed an answer, or was not found.
    pub(crate) fn check(&self, data: &[u8]) -> Verdict {
        let mut values = Unstructured::new(data);
        let sample = self.sample(values.arbitrary().unwrap_or(0));
        let target = values.choose_index(sample.files.len() + 1).unwrap_or(0);
        let sealed = *values.choose(&SEALED).unwrap_or(&Sealed::Nothing);
        match sample.files.get(target) {
            Some(file) => {
                let mut bytes = file.bytes.clone();
                // An error means that the input has no more bytes.
                let _ = damage_file(&mut bytes, &mut values);
                seal_file(&mut bytes, sealed);
                sample.check_file(target, &bytes, sealed != Sealed::Nothing || bytes == file.bytes)
            }
            None => {
                let mut bytes = sample.manifest.clone();
                let _ = damage_manifest(&mut bytes, &mut values);
                if sealed != Sealed::Nothing {
                    seal_manifest(&mut bytes);
                }
                sample.check_manifest(&bytes, sealed != Sealed::Nothing || bytes == sample.manifest)
            }
        }
    }
}

impl Sample {
    fn new(folder: PathBuf, shape: Shape) -> Self {
        let (mut files, mut newest) = (Vec::new(), std::collections::BTreeMap::new());
        for (number, count) in (0..).zip(shape.files) {
            let entries: Vec<Entry> = entries(shape, number, *count);
            newest.extend(entries.iter().map(|entry| (entry.id, entry.version)));
            let path = FileName(number).path(&folder);
            let _ = fs::remove_file(&path);
            write_file(&path, IDENTITY, shape.versions, *count, entries.iter().copied().map(Ok)).unwrap();
            files.push(SampleFile { bytes: fs::read(&path).unwrap(), path, entries });
        }
        let mut shared_keys: Vec<u64> = newest.keys().map(|id| id.key).collect();
        shared_keys = shared_keys.windows(2).filter(|two| two[0] == two[1]).map(|two| two[0]).collect();
        shared_keys.dedup();
        let names = (0..).zip(&files).map(|(number, _)| FileName(number)).collect();
        Manifest {
            identity: IDENTITY,
            generation: 1,
            published_ms: 2,
            fresh_ms: 3,
            offsets: vec![4, 5],
            files: names,
            shared_keys: shared_keys.clone(),
        }
        .publish(&folder)
        .unwrap();
        let known: Vec<Hashed> = newest.keys().copied().collect();
        let mut asked = [Hashed::default(); BATCH];
        for (number, asked) in (0..).zip(&mut asked) {
            let random = Hashed { key: hash(&[number, 1]), check: hash(&[number, 2]) };
            let one = known.get(random.key as usize % known.len().max(1)).copied();
            *asked = match number % 4 {
                0 => random,
                1 => one.map_or(random, |id| Hashed { check: id.check ^ 1, ..id }),
                _ => one.unwrap_or(random),
            };
        }
        let persons = asked.map(|id| newest.get(&id).map_or(UNKNOWN, person));
        let persons_by_key = asked.map(|id| {
            let mut same = newest.range(Hashed { check: 0, ..id }..=Hashed { check: u64::MAX, ..id });
            match same.next() {
                Some((_, version)) if !shared_keys.contains(&id.key) => person(version),
                _ => UNKNOWN,
            }
        });
        let manifest = fs::read(Manifest::path(&folder)).unwrap();
        Self { folder, manifest, files, asked, persons, persons_by_key }
    }

    /// Reads the index with other bytes in one file. `may_differ` if they have matching checksums.
    fn check_file(&self, target: usize, bytes: &[u8], may_differ: bool) -> Verdict {
        let file = &self.files[target];
        fs::write(&file.path, bytes).unwrap();
        let verdict = self.look_up(PersonIndex::open(&self.folder), may_differ);
        let opened = self.named(SnapshotFile::open(&file.path, &IDENTITY));
        if let Ok(mut opened) = opened {
            let _ = (opened.entries(), opened.deletions(), opened.length());
            for id in &self.asked[..8] {
                let found = self.named(opened.entry(*id)).ok().flatten();
                assert!(found.is_none_or(|entry| entry.id == *id), "{found:?} is the entry of {id:?}");
            }
            let verified = self.named(opened.verify());
            assert!(may_differ || verified.is_err(), "a damage was not found");
            // A damaged chunk is verified at each use, so the rest is only more of the same.
            let entries = opened.into_entries().map_while(|entry| self.named(entry).ok());
            for (number, entry) in entries.enumerate() {
                let right = file.entries.get(number).copied().map(stored);
                assert!(may_differ || right == Some(entry), "{entry:?} is an entry of a damaged file");
            }
        }
        fs::write(&file.path, &file.bytes).unwrap();
        verdict
    }

    /// Publishes another manifest beside an open index. `may_differ` if it has a matching checksum.
    fn check_manifest(&self, bytes: &[u8], may_differ: bool) -> Verdict {
        let mut open = PersonIndex::open(&self.folder).unwrap();
        self.publish(bytes);
        let _ = self.named(Manifest::read(&self.folder));
        let verdict = self.look_up(PersonIndex::open(&self.folder), may_differ);
        assert!(may_differ || verdict == Verdict::Refused, "a damage was not found");
        let refreshed = self.named(open.refresh());
        assert!(may_differ || refreshed.is_err(), "a damage was not found");
        if refreshed.is_err() {
            // The last generation remains until there is an undamaged one.
            assert_eq!(self.look_up(Ok(open), false), Verdict::Answered);
        } else {
            self.publish(&self.manifest);
            open.refresh().unwrap();
            assert_eq!(self.look_up(Ok(open), false), Verdict::Answered);
        }
        self.publish(&self.manifest);
        verdict
    }

    fn publish(&self, manifest: &[u8]) {
        let next = self.folder.join("next");
        fs::write(&next, manifest).unwrap();
        fs::rename(next, Manifest::path(&self.folder)).unwrap();
    }

    /// Looks up ids and keys. `may_differ` if another answer than that of the undamaged index is
    /// none of its faults.
    fn look_up(&self, opened: Result<PersonIndex, SnapshotError>, may_differ: bool) -> Verdict {
        let Ok(mut index) = self.named(opened) else { return Verdict::Refused };
        let _ = (index.entries(), index.bytes(), index.files().count());
        let (mut by_id, mut by_key) = ([UNKNOWN; BATCH], [UNKNOWN; BATCH]);
        let by_id = self.named(index.find(&self.asked, &mut by_id)).map(|()| by_id);
        let keys = self.asked.map(|id| id.key);
        let by_key = self.named(index.find_keys(&keys, &mut by_key)).map(|()| by_key);
        for (found, right) in [(&by_id, &self.persons), (&by_key, &self.persons_by_key)] {
            assert!(may_differ || found.as_ref().is_ok_and(|found| found == right) || found.is_err());
        }
        let mut is_refused = by_id.is_err() || by_key.is_err();
        for id in &self.asked[..4] {
            is_refused |= self.named(index.shares_key(*id)).is_err();
        }
        is_refused |= self.verify_in_parts(&mut index).is_err();
        for (id, right) in self.asked.iter().zip(&self.persons).take(8) {
            let entry = self.named(index.entry(*id));
            is_refused |= entry.is_err();
            let found = entry.map(|entry| entry.map_or(UNKNOWN, |entry| person(&entry.version)));
            assert!(may_differ || found.is_err() || found.is_ok_and(|found| found == *right), "{id:?}");
        }
        if is_refused { Verdict::Refused } else { Verdict::Answered }
    }

    /// Verifies each file in parts, as a daemon does over time.
    fn verify_in_parts(&self, index: &mut PersonIndex) -> Result<(), SnapshotError> {
        let (mut place, begin) = (VerifyPlace::default(), VerifyPlace::default());
        loop {
            place = self.named(index.verify_part(place, PART))?;
            if place == begin {
                return self.named(index.verify());
            }
        }
    }

    /// Checks that an error names a file of the index.
    fn named<T>(&self, result: Result<T, SnapshotError>) -> Result<T, SnapshotError> {
        if let Err(error) = &result {
            let text = error.to_string();
            assert!(text.contains(&*self.folder.to_string_lossy()), "{text}");
        }
        result
    }
}

/// Makes entries of a file in order.
fn entries(shape: Shape, file: u64, count: u64) -> Vec<Entry> {
    let entry = |number: u64| {
        // Files have ids in common: those of the same number.
        let id = Hashed { key: hash(&[number, 3]) & shape.key_mask, check: hash(&[number, 4]) };
        let random = hash(&[number, file, 5]);
        let span = i128::from(shape.versions.max) - i128::from(shape.versions.min) + 1;
        let version = i128::from(shape.versions.min) + i128::from(random).rem_euclid(span);
        let person_id = u128::from(hash(&[number, file, 6])) << 64 | u128::from(random);
        let version = Version {
            version: i64::try_from(version).unwrap(),
            is_deleted: random.is_multiple_of(7),
            person_id,
        };
        Entry { id, version }
    };
    let mut entries: Vec<Entry> = (0..count).map(entry).collect();
    entries.sort_unstable_by_key(|entry| entry.id);
    entries.dedup_by_key(|entry| entry.id);
    entries
}

/// The entry as a file keeps it: a deletion has no person.
fn stored(mut entry: Entry) -> Entry {
    if entry.version.is_deleted {
        entry.version.person_id = 0;
    }
    entry
}

fn person(version: &Version) -> u128 {
    if version.is_deleted { UNKNOWN } else { version.person_id }
}

fn hash(numbers: &[u64]) -> u64 {
    let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    xxh3_64(&bytes)
}

/// Draws a number near `known`, at an edge, or any.
fn number(known: u64, values: &mut Unstructured<'_>) -> Drawn<u64> {
    Ok(match values.int_in_range(0..=3)? {
        0 => known.wrapping_add_signed(i64::from(values.arbitrary::<i8>()?)),
        1 => *values.choose(&EDGES)?,
        2 => u64::from(values.arbitrary::<u16>()?),
        _ => values.arbitrary()?,
    })
}

fn damage_file(bytes: &mut Vec<u8>, values: &mut Unstructured<'_>) -> Drawn<()> {
    let (entries, buckets) = (get(bytes, ENTRIES), get(bytes, BUCKETS));
    let directory = HEADER + (entries as usize * RECORD).next_multiple_of(LINE);
    let versions = directory + directory_bytes(buckets as usize).unwrap_or_default();
    for _ in 0..values.int_in_range(1..=3)? {
        let all = bytes.len();
        match values.int_in_range(0..=9)? {
            0 | 1 => {
                let field = *values.choose(&FIELDS)?;
                let number = number(get(bytes, field), values)?;
                set(bytes, field, number);
            }
            2 | 3 => damage_part(bytes, HEADER..directory, values)?,
            4 | 5 => damage_part(bytes, directory..versions, values)?,
            6 => damage_part(bytes, versions..all, values)?,
            7 => damage_part(bytes, 0..all, values)?,
            8 => change_length(bytes, values)?,
            _ => {
                // The format of the file, and then any bytes.
                let length = values.int_in_range(0..=HEADER + 2_000)?;
                bytes.resize(length.max(16), 0);
                let rest = values.bytes(values.len().min(bytes.len() - 16))?;
                bytes[16..16 + rest.len()].copy_from_slice(rest);
            }
        }
    }
    Ok(())
}

/// Writes a number, flips a bit, or copies bytes within a part.
fn damage_part(bytes: &mut [u8], part: std::ops::Range<usize>, values: &mut Unstructured<'_>) -> Drawn<()> {
    let end = part.end.min(bytes.len());
    let Some(part) = bytes.get_mut(part.start..end).filter(|part| !part.is_empty()) else { return Ok(()) };
    let place = values.choose_index(part.len())?;
    match values.int_in_range(0..=3)? {
        0 => part[place] ^= 1 << values.int_in_range(0..=7)?,
        1 => {
            let place = place / 2 * 2;
            let number = number(get(part, place), values)?;
            set(part, place, number);
        }
        2 => {
            let place = place / 8 * 8;
            let number = number(get(part, place), values)?;
            set(part, place, number);
        }
        _ => {
            let from = values.choose_index(part.len())?;
            let length = values.int_in_range(1..=RECORD)?.min(part.len() - from).min(part.len() - place);
            part.copy_within(from..from + length, place);
        }
    }
    Ok(())
}

fn change_length(bytes: &mut Vec<u8>, values: &mut Unstructured<'_>) -> Drawn<()> {
    let place = values.int_in_range(0..=bytes.len())?;
    match values.int_in_range(0..=2)? {
        0 => bytes.truncate(place),
        1 => bytes.resize(bytes.len() + values.int_in_range(1..=100)?, values.arbitrary()?),
        _ => {
            let end = (place + values.int_in_range(1..=RECORD)?).min(bytes.len());
            bytes.drain(place..end);
        }
    }
    Ok(())
}

fn damage_manifest(bytes: &mut Vec<u8>, values: &mut Unstructured<'_>) -> Drawn<()> {
    for _ in 0..values.int_in_range(1..=3)? {
        let all = bytes.len();
        match values.int_in_range(0..=3)? {
            0 => damage_part(bytes, 0..all, values)?,
            1 => {
                // Numbers follow a format of 4 bytes.
                let place = 4 + 8 * values.int_in_range(0..=all / 8)?;
                let number = number(get(bytes, place), values)?;
                set(bytes, place, number);
            }
            2 => change_length(bytes, values)?,
            _ => damage_part(bytes, 36..all, values)?,
        }
    }
    Ok(())
}

/// Returns the bytes of a directory.
fn directory_bytes(buckets: usize) -> Option<usize> {
    buckets.div_ceil(27).checked_add(1)?.checked_mul(LINE)
}

/// Returns the bytes between header and checksums, by the header.
fn body_bytes(file: &[u8]) -> Option<usize> {
    let field = |at| usize::try_from(get(file, at)).ok();
    let records = field(ENTRIES)?.checked_mul(RECORD)?.checked_next_multiple_of(LINE)?;
    let versions = field(ENTRIES)?.checked_mul(field(VERSION_BYTES)?)?;
    let body = records.checked_add(directory_bytes(field(BUCKETS)?)?)?.checked_add(versions)?;
    body.checked_next_multiple_of(LINE).filter(|body| *body <= MAX_BODY)
}

/// Lets checksums match the bytes, so that the reader believes what they say.
fn seal_file(file: &mut Vec<u8>, sealed: Sealed) {
    if sealed == Sealed::Nothing {
        return;
    }
    file.resize(file.len().max(HEADER), 0);
    if sealed == Sealed::Everything
        && let Some(body) = body_bytes(file)
    {
        file.resize(HEADER + body, 0);
        let sums: Vec<u8> =
            file[HEADER..].chunks(CHUNK).flat_map(|chunk| xxh3_64(chunk).to_le_bytes()).collect();
        set(file, SUMS_SUM, xxh3_64(&sums));
        file.extend(sums);
        let length = file.len() as u64;
        set(file, LENGTH, length);
    }
    let sum = xxh3_64(&file[..SUM]);
    set(file, SUM, sum);
}

fn seal_manifest(bytes: &mut [u8]) {
    if let Some((fields, sum)) = bytes.split_last_chunk_mut::<8>() {
        *sum = xxh3_64(fields).to_le_bytes();
    }
}

fn get(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..).and_then(|bytes| bytes.first_chunk()).map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

fn set(bytes: &mut [u8], at: usize, number: u64) {
    if let Some(field) = bytes.get_mut(at..).and_then(|bytes| bytes.first_chunk_mut()) {
        *field = number.to_le_bytes();
    }
}
