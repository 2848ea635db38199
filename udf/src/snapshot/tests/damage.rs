//! Damaged, foreign and newer files: each is refused, and its error names it.

use std::collections::BTreeMap;
use std::fs;

use rand::RngExt;

use super::super::index::BATCH;
use super::super::*;
use super::{IDENTITY, any_version, manifest, random, write};

#[test]
fn damage_of_any_byte_is_an_error_or_changes_no_answer() {
    let mut random = random();
    let folder = tempfile::tempdir().unwrap();
    let all: BTreeMap<_, _> = (0..4_000)
        .map(|_| (Hashed { key: random.random(), check: random.random() }, any_version(&mut random)))
        .collect();
    write(folder.path(), 1, &all);
    let path = FileName(1).path(folder.path());
    let good = fs::read(&path).unwrap();
    let mut refused = 0;
    for round in 0..400 {
        let mut bytes = good.clone();
        match round % 4 {
            // A bit in the header, at the end, or anywhere; or the end is missing.
            0 => bytes[random.random_range(0..HEADER_BYTES)] ^= 1 << random.random_range(0..8),
            1 => *bytes.iter_mut().rev().nth(random.random_range(0..16)).unwrap() ^= 0x40,
            2 => bytes[random.random_range(0..good.len())] ^= 1 << random.random_range(0..8),
            _ => bytes.truncate(random.random_range(0..good.len())),
        }
        fs::write(&path, bytes).unwrap();
        let looked_up = SnapshotFile::open(&path, &IDENTITY)
            .and_then(|mut file| all.keys().map(|id| file.entry(*id)).collect::<Result<Vec<_>, _>>());
        match looked_up {
            Err(error) => {
                refused += 1;
                assert!(error.to_string().contains(&path.display().to_string()), "{error}");
            }
            Ok(found) => {
                for (entry, (id, version)) in found.into_iter().zip(&all) {
                    let entry = entry.unwrap_or_else(|| panic!("{id:?} is missing"));
                    assert_eq!((entry.id, entry.version.version), (*id, version.version));
                }
            }
        }
    }
    assert_eq!(refused, 400, "a damaged file was not refused");
}

#[test]
fn a_missing_or_foreign_file_or_one_of_another_format_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let open = || PersonIndex::open(folder.path()).unwrap_err();
    assert!(matches!(open(), SnapshotError::Missing { .. }));
    manifest(1, &[1], Vec::new()).publish(folder.path()).unwrap();
    assert!(matches!(open(), SnapshotError::Missing { .. }), "the base is missing");

    let path = FileName(1).path(folder.path());
    let other = Identity { source: 8, ..IDENTITY };
    write_file(&path, other, VersionRange::of(0), 0, []).unwrap();
    assert!(matches!(open(), SnapshotError::Foreign { .. }));
    fs::write(&path, "").unwrap();
    assert!(matches!(open(), SnapshotError::Length { .. }));
    fs::write(&path, vec![b'x'; 10_000]).unwrap();
    assert!(matches!(open(), SnapshotError::Format { found: 0, .. }));
    for format in [FORMAT - 1, FORMAT + 1] {
        let of = |magic: &[u8]| [magic, &format.to_le_bytes(), &[0; HEADER_BYTES]].concat();
        let is_named = || matches!(open(), SnapshotError::Format { found, .. } if found == format);
        fs::write(&path, of(b"phperson")).unwrap();
        assert!(is_named(), "a file of format {format}");
        let manifest_before = fs::read(Manifest::path(folder.path())).unwrap();
        fs::write(Manifest::path(folder.path()), of(b"phcurren")).unwrap();
        assert!(is_named(), "a manifest of format {format}");
        fs::write(Manifest::path(folder.path()), manifest_before).unwrap();
    }
    fs::write(Manifest::path(folder.path()), "no manifest").unwrap();
    assert!(matches!(open(), SnapshotError::Damaged { .. } | SnapshotError::Format { found: 0, .. }));
}

#[test]
fn random_bytes_are_no_panic() {
    let mut random = random();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    for _ in 0..500 {
        let mut bytes = vec![0; random.random_range(1..12_000)];
        rand::Rng::fill_bytes(&mut random, &mut bytes);
        bytes.splice(0..0, *b"phperson\x01\0\0\0");
        fs::write(&path, &bytes).unwrap();
        assert!(SnapshotFile::open(&path, &IDENTITY).is_err());
        let _ = Manifest::read(folder.path());
    }
}

#[test]
fn the_damaged_region_is_named() {
    let mut random = random();
    let folder = tempfile::tempdir().unwrap();
    let all: BTreeMap<_, _> = (0..20_000)
        .map(|_| (Hashed { key: random.random(), check: random.random() }, any_version(&mut random)))
        .collect();
    write(folder.path(), 1, &all);
    let path = FileName(1).path(folder.path());
    let good = fs::read(&path).unwrap();
    let records = all.len() * RECORD;
    let directory = records.next_multiple_of(LINE);
    let versions = directory + directory::bytes(all.len() / 2).unwrap();
    // A checksum is of a chunk. Records and versions share none with the directory there.
    let (last_record, first_version) = (records - CHUNK, versions.next_multiple_of(CHUNK));
    let sums = good.len() - 8 * (good.len() - HEADER_BYTES).div_ceil(CHUNK);
    for (part, region) in [
        ("header", 12..HEADER_BYTES),
        ("records", HEADER_BYTES..HEADER_BYTES + last_record),
        ("directory", HEADER_BYTES + directory..HEADER_BYTES + versions),
        ("versions", HEADER_BYTES + first_version..sums),
        ("checksums", sums..good.len()),
    ] {
        for _ in 0..20 {
            let mut bytes = good.clone();
            bytes[random.random_range(region.clone())] ^= 1 << random.random_range(0..8);
            fs::write(&path, bytes).unwrap();
            let looked_up = SnapshotFile::open(&path, &IDENTITY).and_then(|mut file| {
                all.keys().try_for_each(|id| file.range(id.key).map(drop))?;
                all.keys().try_for_each(|id| file.entry(*id).map(drop))
            });
            match looked_up {
                Err(SnapshotError::Damaged { path: named, part: found }) => {
                    assert_eq!((named, found), (path.clone(), part));
                }
                other => panic!("{part}: {other:?}"),
            }
        }
    }
}

#[test]
fn a_manifest_is_refused_after_any_damage() {
    let folder = tempfile::tempdir().unwrap();
    let path = Manifest::path(folder.path());
    manifest(1, &[1, 2], vec![3, 5]).publish(folder.path()).unwrap();
    let good = fs::read(&path).unwrap();
    assert!(Manifest::read(folder.path()).is_ok());
    for byte in 0..good.len() {
        for bit in 0..8 {
            let mut bytes = good.clone();
            bytes[byte] ^= 1 << bit;
            fs::write(&path, bytes).unwrap();
            let error = Manifest::read(folder.path()).unwrap_err().to_string();
            assert!(error.contains(&path.display().to_string()), "{error}");
        }
        fs::write(&path, &good[..byte]).unwrap();
        assert!(Manifest::read(folder.path()).is_err(), "cut after {byte} bytes");
    }
    for (files, keys) in [(vec![1, 2, 1], vec![]), (vec![1], vec![5, 3])] {
        manifest(1, &files, keys).publish(folder.path()).unwrap();
        assert!(matches!(Manifest::read(folder.path()), Err(SnapshotError::Damaged { .. })));
    }
}

#[test]
fn the_last_generation_remains_until_the_next_is_undamaged() {
    let mut random = random();
    let folder = tempfile::tempdir().unwrap();
    let id = Hashed { key: random.random(), check: random.random() };
    let file = |name: u64, person_id: u128| {
        let version = crate::person::Version { version: 1, is_deleted: false, person_id };
        write(folder.path(), name, &BTreeMap::from([(id, version)]));
    };
    let person = |index: &mut PersonIndex| {
        let mut persons = [UNKNOWN; BATCH];
        index.find(&[id; BATCH], &mut persons).unwrap();
        persons[BATCH - 1]
    };
    file(1, 7);
    manifest(1, &[1], Vec::new()).publish(folder.path()).unwrap();
    let mut index = PersonIndex::open(folder.path()).unwrap();
    // GIVEN a next generation with a damaged, a foreign and a missing file
    file(2, 8);
    let path = FileName(2).path(folder.path());
    let good = fs::read(&path).unwrap();
    let mut damaged = good.clone();
    *damaged.last_mut().unwrap() ^= 1;
    manifest(2, &[1, 2], Vec::new()).publish(folder.path()).unwrap();
    for bytes in [Some(&damaged), Some(&vec![0; 5_000]), None] {
        fs::remove_file(&path).unwrap();
        if let Some(bytes) = bytes {
            fs::write(&path, bytes).unwrap();
        }
        // THEN each refresh fails, and lookups see the last one
        for _ in 0..2 {
            assert!(index.refresh().is_err());
            assert_eq!((person(&mut index), index.manifest().generation), (7, 1));
        }
        fs::write(&path, &good).unwrap();
    }
    // WHEN its manifest belongs to another cluster THEN its files are refused
    let other = Identity { source: 8, ..IDENTITY };
    Manifest { identity: other, ..manifest(2, &[1, 2], Vec::new()) }.publish(folder.path()).unwrap();
    assert!(matches!(index.refresh(), Err(SnapshotError::Foreign { .. })));
    assert_eq!(person(&mut index), 7);
    // WHEN it is undamaged THEN lookups see it
    manifest(2, &[1, 2], Vec::new()).publish(folder.path()).unwrap();
    index.refresh().unwrap();
    assert_eq!((person(&mut index), index.manifest().generation), (8, 2));
}
