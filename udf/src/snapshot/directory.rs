//! Directory of a file: the records of each bucket of the key space.
//!
//! A line of 64 bytes has the first record of 55 buckets. A last line has the number of records.

use std::io::{self, Write};

use super::LINE;

/// Buckets of a line: after the line's first record, a byte for the offset of each, and of the next
/// line's first one.
const BUCKETS: usize = LINE - 8 - 1;
/// Records of a bucket on average. Two records are a cache line.
const RECORDS_PER_BUCKET: u64 = 2;
/// Mark of a bucket whose record is too far from the line's first one for 8 bits. It is found by
/// the lines before and after. A line has 110 records on average, so one of random keys has none.
const FAR: u8 = u8::MAX;

/// Records from `start` to `end`, among which all records of a key are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct RecordRange {
    pub(super) start: u64,
    pub(super) end: u64,
}

/// Returns the number of buckets for `entries`.
pub(super) fn buckets(entries: u64) -> u64 {
    (entries / RECORDS_PER_BUCKET).max(1)
}

/// Returns the bytes of a directory; `None` if they are more than an address space has.
pub(super) fn bytes(buckets: usize) -> Option<usize> {
    buckets.div_ceil(BUCKETS).checked_add(1)?.checked_mul(LINE)
}

/// Returns the bucket of a key. Buckets divide the key space evenly, in its order.
#[inline(always)]
pub(super) fn bucket_of(key: u64, buckets: u64) -> u64 {
    // It fits, because a product of two 64-bit numbers has 128 bits.
    u64::try_from((u128::from(key) * u128::from(buckets)) >> 64).unwrap_or_default()
}

/// Returns the line and the place in it of a bucket.
#[inline(always)]
pub(super) fn place_of(bucket: u64) -> (usize, usize) {
    let bucket = usize::try_from(bucket).unwrap_or(usize::MAX);
    (bucket / BUCKETS, bucket % BUCKETS)
}

/// Reads the range of a bucket from its line and the one after it.
#[inline(always)]
pub(super) fn range(line: &[u8; LINE], next: &[u8; LINE], place: usize) -> RecordRange {
    let base = first_record(line);
    let offset = |place: usize| line.get(8 + place).copied().unwrap_or(FAR);
    let (start, end) = (offset(place), offset(place + 1));
    RecordRange {
        start: if start == FAR { base } else { base.saturating_add(u64::from(start)) },
        end: if end == FAR || start == FAR {
            first_record(next)
        } else {
            base.saturating_add(u64::from(end))
        },
    }
}

fn first_record(line: &[u8; LINE]) -> u64 {
    line.first_chunk().copied().map_or(0, u64::from_le_bytes)
}

/// Writes a directory while records are written in the order of their keys.
#[derive(Debug)]
pub(super) struct DirectoryWriter<W> {
    buckets: u64,
    /// The next bucket whose first record is not known yet.
    next: u64,
    line: Vec<u8>,
    base: u64,
    lines: W,
}

impl<W: Write> DirectoryWriter<W> {
    pub(super) fn new(buckets: u64, lines: W) -> Self {
        Self { buckets, next: 0, line: Vec::with_capacity(LINE), base: 0, lines }
    }

    /// Takes the key of the next record, whose number is `record`.
    pub(super) fn push(&mut self, key: u64, record: u64) -> io::Result<()> {
        let bucket = bucket_of(key, self.buckets);
        while self.next <= bucket {
            self.begin_bucket(record)?;
        }
        Ok(())
    }

    /// Writes the rest of the directory of `records` records.
    pub(super) fn finish(mut self, records: u64) -> io::Result<W> {
        while self.next < self.buckets {
            self.begin_bucket(records)?;
        }
        self.end_line(records)?;
        self.line.extend(records.to_le_bytes());
        self.line.resize(LINE, 0);
        self.lines.write_all(&self.line)?;
        Ok(self.lines)
    }

    fn begin_bucket(&mut self, record: u64) -> io::Result<()> {
        let (_, place) = place_of(self.next);
        if place == 0 {
            if self.next > 0 {
                self.end_line(record)?;
            }
            self.base = record;
            self.line.extend(record.to_le_bytes());
        }
        self.push_offset(record);
        self.next += 1;
        Ok(())
    }

    /// Adds the end of the last bucket, fills the line, and writes it.
    fn end_line(&mut self, record: u64) -> io::Result<()> {
        while self.line.len() < LINE {
            self.push_offset(record);
        }
        self.lines.write_all(&self.line)?;
        self.line.clear();
        Ok(())
    }

    fn push_offset(&mut self, record: u64) {
        self.line.push(u8::try_from(record.saturating_sub(self.base)).unwrap_or(FAR));
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    use super::*;

    #[test]
    fn every_record_is_in_the_range_of_its_bucket() {
        let seed: u64 = rand::random();
        println!("SEED={seed}");
        let mut random = StdRng::seed_from_u64(seed);
        for round in 0..200 {
            let count = random.random_range(0..2_000);
            // Some rounds have many keys in one bucket, as somebody can choose ids to have.
            let crowd = if round % 50 == 0 { 70_000 } else { 0 };
            let mut keys: Vec<u64> = (0..count).map(|_| random.random()).collect();
            keys.extend((0..crowd).map(|_| 1_u64 << 63 | random.random_range(0..1 << 20)));
            keys.sort_unstable();
            let usual = buckets(keys.len() as u64);
            let buckets = [1, 54, 55, 56, usual][random.random_range(0..5)];
            let mut writer = DirectoryWriter::new(buckets, Vec::new());
            for (record, key) in keys.iter().enumerate() {
                writer.push(*key, record as u64).expect("room");
            }
            let bytes = writer.finish(keys.len() as u64).expect("room");
            assert_eq!(Some(bytes.len()), super::bytes(buckets as usize), "{buckets} buckets");
            let (lines, _) = bytes.as_chunks::<LINE>();
            let mut ends = 0;
            for bucket in 0..buckets {
                let (line, place) = place_of(bucket);
                let found = range(&lines[line], &lines[line + 1], place);
                let first = keys.partition_point(|key| bucket_of(*key, buckets) < bucket) as u64;
                let last = keys.partition_point(|key| bucket_of(*key, buckets) <= bucket) as u64;
                assert!(
                    found.start <= first && last <= found.end,
                    "{bucket}: {found:?}, not {first}..{last}"
                );
                if crowd == 0 && buckets == usual {
                    assert_eq!((found.start, found.end), (first, last), "bucket {bucket} of {buckets}");
                }
                ends = last;
            }
            assert_eq!(ends, keys.len() as u64);
        }
    }
}
