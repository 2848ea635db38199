//! Lookups of a batch of ids or keys in one file, whose cache misses overlap.
//!
//! A step that begins fetches does little else, so that the processor has many of them under way at
//! once. The comparison of records has no branch that depends on where a record is, because a wrong
//! guess of the processor costs about as much as a fetch.

use super::directory::{self, RecordRange, bucket_of, place_of};
use super::file::{SnapshotFile, read};
use super::index::BATCH;
use super::prefetch::prefetch;
use super::{Hashed, LINE, RECORD, SnapshotError};

/// Records of a bucket that are compared. Of random keys, one in 300 has as many before it.
const COMPARED: usize = 6;

/// Lanes are bits of a `u64`.
const _: () = assert!(BATCH <= 64);

/// What a lookup asks for.
pub(super) trait Asked: Copy {
    /// The least hashes that its record can have.
    fn least(self) -> Hashed;
    /// Whether a record with these hashes is the one.
    fn is(self, found: Hashed) -> bool;
}

impl Asked for Hashed {
    #[inline(always)]
    fn least(self) -> Hashed {
        self
    }

    #[inline(always)]
    fn is(self, found: Hashed) -> bool {
        found == self
    }
}

/// A key, whatever the check.
impl Asked for u64 {
    #[inline(always)]
    fn least(self) -> Hashed {
        Hashed { key: self, check: 0 }
    }

    #[inline(always)]
    fn is(self, found: Hashed) -> bool {
        found.key == self
    }
}

/// The sections that lookups read, once all of their bytes are verified.
#[derive(Clone, Copy)]
pub(super) struct LookupSections<'a> {
    pub(super) records: &'a [[u8; RECORD]],
    pub(super) lines: &'a [[u8; LINE]],
    pub(super) buckets: u64,
}

/// The result of a comparison with the records of a bucket.
enum Compared {
    Found(u128),
    Missing,
    /// There are more records to compare.
    Crowded,
}

impl SnapshotFile {
    /// Replaces the person of each lane that the file has.
    ///
    /// # Errors
    /// Fails if a part of the file is damaged.
    #[inline(always)]
    pub(super) fn find_batch<T: Asked>(
        &mut self,
        batch: &[T; BATCH],
        persons: &mut [u128; BATCH],
    ) -> Result<(), SnapshotError> {
        let left = self.lookup_sections().map(|sections| sections.find_batch(batch, persons));
        match left {
            Some(0) => Ok(()),
            Some(crowded) => self.find_each(batch, persons, crowded),
            None => {
                self.verify_next();
                self.find_each(batch, persons, u64::MAX)
            }
        }
    }

    /// Looks up some lanes, a bit each, one by one. What they read is verified.
    #[inline(never)]
    fn find_each<T: Asked>(
        &mut self,
        batch: &[T; BATCH],
        persons: &mut [u128; BATCH],
        lanes: u64,
    ) -> Result<(), SnapshotError> {
        for (lane, (asked, person)) in batch.iter().zip(persons).enumerate() {
            if lanes >> lane & 1 == 1
                && let Some(record) = self.find(*asked)?
            {
                *person = record.person_id;
            }
        }
        Ok(())
    }
}

impl<'a> LookupSections<'a> {
    /// Replaces the person of each lane that the file has. Returns the lanes of crowded buckets, a
    /// bit each.
    #[inline(always)]
    fn find_batch<T: Asked>(self, batch: &[T; BATCH], persons: &mut [u128; BATCH]) -> u64 {
        let buckets = self.buckets(batch);
        for bucket in buckets {
            if let Some(first) = bucket.first() {
                prefetch(first);
            }
        }
        for bucket in buckets {
            prefetch_others(bucket);
        }
        let mut crowded = 0;
        for (lane, ((bucket, asked), person)) in buckets.iter().zip(batch).zip(persons).enumerate() {
            match compare(bucket, *asked) {
                Compared::Found(person_id) => *person = person_id,
                Compared::Missing => {}
                Compared::Crowded => crowded |= 1 << lane,
            }
        }
        crowded
    }

    /// Returns the records of each lane's bucket.
    #[inline(always)]
    fn buckets<T: Asked>(self, batch: &[T; BATCH]) -> [&'a [[u8; RECORD]]; BATCH] {
        let mut places = [(0, 0); BATCH];
        for (place, asked) in places.iter_mut().zip(batch) {
            *place = place_of(bucket_of(asked.least().key, self.buckets));
            if let Some(line) = self.lines.get(place.0) {
                prefetch(line);
            }
        }
        places.map(|(line, place)| match self.lines.get(line..) {
            Some([line, next, ..]) => self.bucket(directory::range(line, next, place)),
            _ => &[],
        })
    }

    #[inline(always)]
    fn bucket(self, range: RecordRange) -> &'a [[u8; RECORD]] {
        let number = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        self.records.get(number(range.start)..number(range.end)).unwrap_or_default()
    }
}

/// Begins to fetch the records that [`compare`] reads, after the first. Two are a cache line.
#[inline(always)]
fn prefetch_others(bucket: &[[u8; RECORD]]) {
    let Some(last) = bucket.len().checked_sub(1) else { return };
    for number in [2, 4, COMPARED - 1] {
        if let Some(record) = bucket.get(number.min(last)) {
            prefetch(record);
        }
    }
}

#[inline(always)]
fn compare<T: Asked>(bucket: &[[u8; RECORD]], asked: T) -> Compared {
    let Some(last) = bucket.len().checked_sub(1) else { return Compared::Missing };
    let mut before = 0;
    for number in 0..COMPARED {
        // The last record is compared again, because one after it would be a further fetch.
        let Some(record) = bucket.get(number.min(last)) else { break };
        before += usize::from(read(record).0 < asked.least());
    }
    match bucket.get(before).map(read) {
        Some(_) if before == COMPARED => Compared::Crowded,
        Some((id, person_id)) if asked.is(id) => Compared::Found(person_id),
        _ => Compared::Missing,
    }
}
