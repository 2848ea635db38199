//! Bounded cache of person uuids by primary key.
//!
//! It has two maps of half the size each. When the young map is full, the old one is dropped and
//! replaced by it. A hit in the old map moves to the young one. So recent entries stay, at 29 bytes
//! per entry of a full map. A list in order of use would take four times as much.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;

use uuid::Uuid;
use xxhash_rust::xxh3::Xxh3Default;

type Generation = HashMap<i64, Uuid, BuildHasherDefault<Xxh3Default>>;

#[derive(Debug)]
pub(crate) struct PersonCache {
    young: Generation,
    old: Generation,
    /// Maximum number of entries in one generation.
    limit: usize,
}

impl PersonCache {
    /// Creates a cache of at most `limit` persons, and at least one.
    pub(crate) fn new(limit: usize) -> Self {
        let limit = full_map((limit / 2).max(1));
        Self { young: HashMap::default(), old: HashMap::default(), limit }
    }

    pub(crate) fn get(&mut self, id: i64) -> Option<Uuid> {
        if let Some(uuid) = self.young.get(&id) {
            return Some(*uuid);
        }
        let uuid = self.old.remove(&id)?;
        self.put(id, uuid);
        Some(uuid)
    }

    pub(crate) fn contains(&self, id: i64) -> bool {
        self.young.contains_key(&id) || self.old.contains_key(&id)
    }

    pub(crate) fn put(&mut self, id: i64, uuid: Uuid) {
        if self.young.len() >= self.limit && !self.young.contains_key(&id) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(id, uuid);
        self.old.remove(&id);
    }

    pub(crate) fn clear(&mut self) {
        self.young = Generation::default();
        self.old = Generation::default();
    }

    pub(crate) fn remove(&mut self, id: i64) {
        self.young.remove(&id);
        self.old.remove(&id);
    }
}

/// The most entries up to `limit` that fill a map. A map has a power of two of slots and grows
/// when 7/8 of them are used, so a few entries more would double its memory.
fn full_map(limit: usize) -> usize {
    let slots = (limit.saturating_mul(8) / 7 + 1).next_power_of_two() / 2;
    if slots < 8 { limit } else { slots / 8 * 7 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_map_does_not_grow() {
        for limit in [1, 6, 7, 8, 50, 500_000, 1 << 20] {
            let full = full_map(limit);
            let mut map = Generation::default();
            map.reserve(full);
            assert!(full <= limit && 2 * full >= limit.min(8), "{full} of {limit}");
            assert!(full < 14 || map.capacity() == full, "{} for {full}", map.capacity());
        }
        assert_eq!(full_map(500_000), 458_752);
    }

    #[test]
    fn remembers_the_newest_and_forgets_what_was_not_asked_for() {
        let uuid = |id: i64| Uuid::from_u128(id.unsigned_abs().into());
        let mut cache = PersonCache::new(100);
        for id in 0..1_000 {
            cache.put(id, uuid(id));
            assert_eq!(cache.get(0), Some(uuid(0)), "asked for all the time");
            assert!(cache.young.len() + cache.old.len() <= 100);
        }
        assert!((972..1_000).all(|id| cache.get(id) == Some(uuid(id))));
        assert_eq!(cache.get(500), None);
        cache.put(999, uuid(7));
        assert_eq!(cache.get(999), Some(uuid(7)), "the newest");
        cache.remove(999);
        assert_eq!(cache.get(999), None);
    }
}
