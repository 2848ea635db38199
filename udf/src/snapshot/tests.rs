//! Random histories against a map, and every kind of damage.

mod damage;

use std::collections::BTreeMap;
use std::path::Path;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use super::index::BATCH;
use super::*;
use crate::person::Version;

const IDENTITY: Identity = Identity { seed: 0x0123_4567_89ab_cdef_0f1e_2d3c_4b5a_6978, source: 7 };

fn random() -> StdRng {
    let seed = std::env::var("SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    println!("SEED={seed}");
    StdRng::seed_from_u64(seed)
}

/// Writes a file of these entries.
fn write(folder: &Path, name: u64, entries: &BTreeMap<Hashed, Version>) -> FileSummary {
    let versions = entries.values().map(|version| version.version);
    let range = versions.map(VersionRange::of).reduce(|range, next| range.with(next.min));
    let entries = entries.iter().map(|(id, version)| Ok(Entry { id: *id, version: *version }));
    let range = range.unwrap_or(VersionRange::of(0));
    write_file(&FileName(name).path(folder), IDENTITY, range, entries.len() as u64, entries).unwrap()
}

fn manifest(generation: u64, files: &[u64], shared_keys: Vec<u64>) -> Manifest {
    Manifest {
        identity: IDENTITY,
        generation,
        published_ms: 1,
        fresh_ms: 2,
        offsets: vec![3, 4],
        files: files.iter().map(|name| FileName(*name)).collect(),
        shared_keys,
    }
}

fn any_version(random: &mut StdRng) -> Version {
    let person_id = if random.random_ratio(1, 20) { 0 } else { random.random() };
    Version { version: random.random_range(-5..1 << 40), is_deleted: random.random_ratio(1, 5), person_id }
}

/// The answer that SQL gives for a version.
fn answer(version: Option<&Version>) -> u128 {
    version.filter(|version| !version.is_deleted).map_or(UNKNOWN, |version| version.person_id)
}

#[test]
fn every_id_has_its_newest_person_after_each_generation() {
    let mut random = random();
    for round in 0..20 {
        let folder = tempfile::tempdir().unwrap();
        let count = [0, 1, 50, 3_000][round % 4];
        let mut all: BTreeMap<Hashed, Version> = BTreeMap::new();
        let mut names = Vec::new();
        let mut index = None;
        for generation in 1..=random.random_range(1..5) {
            let mut changed = BTreeMap::new();
            for _ in 0..count / generation {
                let known = random.random_ratio(1, 3).then(|| all.keys().next().copied()).flatten();
                // Few distinct keys, so that some are shared by two ids. In some rounds all are in
                // one bucket.
                let key = if round % 8 == 3 {
                    random.random_range(0..1 << 16)
                } else {
                    random.random::<u64>() << 40
                };
                let new = Hashed { key, check: random.random() };
                changed.insert(known.unwrap_or(new), any_version(&mut random));
            }
            all.extend(&changed);
            names.push(generation);
            write(folder.path(), generation, &changed);
            let mut keys: Vec<u64> = all.keys().map(|id| id.key).collect();
            keys.sort_unstable();
            let mut shared: Vec<u64> =
                keys.windows(2).filter(|two| two[0] == two[1]).map(|two| two[0]).collect();
            shared.dedup();
            manifest(generation, &names, shared.clone()).publish(folder.path()).unwrap();

            let index = match &mut index {
                None => index.insert(PersonIndex::open(folder.path()).unwrap()),
                Some(index) => {
                    index.refresh().unwrap();
                    index
                }
            };
            assert_eq!(index.manifest().generation, generation);
            let mut asked: Vec<Hashed> = all.keys().copied().collect();
            asked.extend((0..100).map(|_| Hashed { key: random.random(), check: random.random() }));
            asked.extend(all.keys().map(|id| Hashed { check: id.check ^ 1, ..*id }).take(100));
            for ids in asked.chunks(BATCH) {
                let mut batch = [ids[0]; BATCH];
                batch[..ids.len()].copy_from_slice(ids);
                let (mut by_id, mut by_key) = ([7; BATCH], [7; BATCH]);
                index.find(&batch, &mut by_id).unwrap();
                index.find_keys(&batch.map(|id| id.key), &mut by_key).unwrap();
                for ((id, by_id), by_key) in batch.iter().zip(by_id).zip(by_key) {
                    assert_eq!(by_id, answer(all.get(id)), "{id:?}");
                    let same_key: Vec<_> =
                        all.range(Hashed { check: 0, ..*id }..=Hashed { check: u64::MAX, ..*id }).collect();
                    let wanted = match same_key[..] {
                        [(_, version)] => answer(Some(version)),
                        _ => UNKNOWN,
                    };
                    assert_eq!(by_key, wanted, "{id:?}");
                }
            }
            for id in asked.sample(&mut random, 50) {
                let entry = index.entry(*id).unwrap().map(|entry| entry.version);
                let stored = all.get(id).map(|version| {
                    let person_id = if version.is_deleted { 0 } else { version.person_id };
                    Version { person_id, ..*version }
                });
                assert_eq!(entry, stored);
            }
        }
    }
}

#[test]
fn hashes_are_those_of_the_engine() {
    // SELECT bitXor(sipHash64('user-1'), sipHash64(toInt64(2))), bitXor(sipHash64(''),
    // sipHash64(toInt64(-1)))
    assert_eq!(
        person_key(2, b"user-1"),
        crate::shard::shard_key(b"user-1") ^ crate::shard::shard_key(&2_i64.to_le_bytes())
    );
    let one = IDENTITY.hashed(2, b"user-1");
    for (team_id, distinct_id) in [(3, &b"user-1"[..]), (2, b"user-2"), (2, b"")] {
        let other = IDENTITY.hashed(team_id, distinct_id);
        assert!(one.key != other.key && one.check != other.check);
    }
    let elsewhere = Identity { seed: 1, ..IDENTITY }.hashed(2, b"user-1");
    assert!(elsewhere.key == one.key && elsewhere.check != one.check);
}

#[test]
fn an_entry_takes_at_most_forty_bytes() {
    let mut random = random();
    let folder = tempfile::tempdir().unwrap();
    // Versions of WAL positions up to 8 TiB, as 1.3 versions of each id were in the table.
    let version = |random: &mut StdRng| Version {
        version: random.random_range(0..1 << 54),
        is_deleted: false,
        person_id: random.random(),
    };
    let all: BTreeMap<_, _> = (0..50_000)
        .map(|_| (Hashed { key: random.random(), check: random.random() }, version(&mut random)))
        .collect();
    let range = VersionRange { min: 0, max: 1 << 54 };
    let entries = all.iter().map(|(id, version)| Ok(Entry { id: *id, version: *version }));
    let path = FileName(1).path(folder.path());
    let summary = write_file(&path, IDENTITY, range, all.len() as u64 * 13 / 10, entries).unwrap();
    let bytes = summary.length as f64 / summary.entries as f64;
    assert!(bytes <= 40.0, "{bytes} bytes");
}

#[test]
fn entries_out_of_order_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let entry = |key| {
        Ok(Entry {
            id: Hashed { key, check: 1 },
            version: Version { version: 1, is_deleted: false, person_id: 1 },
        })
    };
    for (number, keys) in [(1, [2, 1]), (2, [1, 1])] {
        let path = FileName(number).path(folder.path());
        assert!(write_file(&path, IDENTITY, VersionRange::of(1), 2, keys.map(entry)).is_err());
    }
    let path = FileName(3).path(folder.path());
    assert!(write_file(&path, IDENTITY, VersionRange::of(1), 1, [1, 2].map(entry)).is_err(), "too many");
    assert!(write_file(&path, IDENTITY, VersionRange::of(1), 1, []).is_err(), "the file exists");
}
