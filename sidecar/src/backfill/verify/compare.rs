//! Comparison of expected and observed blocks, by shard and month.

use std::collections::BTreeMap;

use serde::Serialize;

use super::BlockSum;
use crate::backfill::ledger::Job;

/// Result of the comparison for a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Proof {
    /// Rows of the job's files.
    pub(crate) source_rows: u64,
    /// Source rows that were rejected, and so are not expected.
    pub(crate) rejected: u64,
    /// Whether every row is accounted for. If not, the stored rows were not counted.
    pub(crate) complete: bool,
    /// Blocks in the ledger.
    pub(crate) blocks: u64,
    /// Rows that the ledger expects.
    pub(crate) rows: u64,
    /// Stored rows.
    pub(crate) found: u64,
    /// Expected rows that merges removed because they keep one row of an event. The kept row
    /// exists.
    pub(crate) merged: u64,
    /// Shards and months with a difference; empty if all rows are proven.
    pub(crate) differences: Vec<BlockDifference>,
    /// Blocks with missing rows and no other fault.
    #[serde(skip)]
    pub(super) short: Vec<ShortBlock>,
}

/// A block of which a shard stores fewer rows than expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ShortBlock {
    /// As expected.
    pub(super) block: BlockSum,
    /// Rows that were missing when they were counted.
    pub(super) missing: u64,
}

/// A shard's month with missing, extra, changed or misplaced rows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct BlockDifference {
    /// From 1.
    pub(crate) shard: u32,
    /// The partition.
    pub(crate) month: u32,
    /// Rows expected of the blocks that differ.
    pub(crate) rows: u64,
    /// Rows that are absent, counted block by block.
    pub(crate) missing: u64,
    /// Rows beyond the expected ones, counted block by block.
    pub(crate) extra: u64,
    /// Blocks with the expected number of rows but another checksum.
    pub(crate) changed_blocks: u64,
    /// Rows that the shard rule gives to another shard.
    pub(crate) wrong_shard: u64,
}

impl Proof {
    /// Counts the missing rows of a block as merged. Rows that were merged after the count are not
    /// among them.
    pub(super) fn forgive(&mut self, short: &ShortBlock) {
        let ShortBlock { block: BlockSum { shard, month, .. }, missing } = *short;
        let place =
            |difference: &&mut BlockDifference| (difference.shard, difference.month) == (shard, month);
        if let Some(difference) = self.differences.iter_mut().find(place) {
            difference.missing = difference.missing.saturating_sub(missing);
            self.merged += missing;
        }
        let differs = |difference: &BlockDifference| {
            difference.missing + difference.extra + difference.changed_blocks + difference.wrong_shard > 0
        };
        self.differences.retain(differs);
    }

    /// Whether all rows are as expected.
    pub(crate) fn is_proven(&self) -> bool {
        self.complete && self.differences.is_empty()
    }

    /// Returns the proof of a job that is not complete, without counts of stored rows.
    pub(super) fn incomplete(job: &Job) -> Self {
        let Job { rows, stored, rejected, blocks, .. } = *job;
        let (differences, short) = (Vec::new(), Vec::new());
        Self {
            source_rows: rows,
            rejected,
            complete: false,
            blocks,
            rows: stored,
            found: 0,
            merged: 0,
            differences,
            short,
        }
    }
}

pub(super) fn compare(job: &Job, expected: &[BlockSum], found: &[BlockSum]) -> Proof {
    let key = |block: &BlockSum| (block.shard, block.month, block.slice);
    let mut pairs: BTreeMap<_, (Option<&BlockSum>, Option<&BlockSum>)> = BTreeMap::new();
    for block in expected {
        pairs.entry(key(block)).or_default().0 = Some(block);
    }
    for block in found {
        pairs.entry(key(block)).or_default().1 = Some(block);
    }
    let mut differences: BTreeMap<(u32, u32), BlockDifference> = BTreeMap::new();
    let mut short = Vec::new();
    for ((shard, month, _), (expected, found)) in pairs {
        let rows = |block: Option<&BlockSum>| block.map_or(0, |block| block.rows);
        let sum = |block: Option<&BlockSum>| block.map_or(0, |block| block.checksum);
        let wrong_shard = found.map_or(0, |found| found.wrong_shard);
        if rows(expected) == rows(found) && sum(expected) == sum(found) && wrong_shard == 0 {
            continue;
        }
        if rows(found) < rows(expected) && wrong_shard == 0 {
            let missing = rows(expected) - rows(found);
            short.extend(expected.map(|block| ShortBlock { block: block.clone(), missing }));
        }
        let difference = differences.entry((shard, month)).or_insert_with(|| BlockDifference {
            shard,
            month,
            ..BlockDifference::default()
        });
        difference.rows += rows(expected);
        difference.missing += rows(expected).saturating_sub(rows(found));
        difference.extra += rows(found).saturating_sub(rows(expected));
        difference.changed_blocks += u64::from(rows(expected) == rows(found) && sum(expected) != sum(found));
        difference.wrong_shard += wrong_shard;
    }
    Proof {
        source_rows: job.rows,
        rejected: job.rejected,
        complete: true,
        blocks: expected.len() as u64,
        rows: expected.iter().map(|block| block.rows).sum(),
        found: found.iter().map(|block| block.rows).sum(),
        merged: 0,
        differences: differences.into_values().collect(),
        short,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(shard: u32, slice: u64, rows: u64, checksum: u64) -> BlockSum {
        BlockSum { shard, slice, month: 202_501, rows, checksum, ..BlockSum::default() }
    }

    fn job(rows: u64) -> Job {
        Job { rows, stored: rows, ..Job::default() }
    }

    #[test]
    fn a_job_that_is_not_complete_is_not_proven() {
        assert!(!Proof::incomplete(&Job { rows: 30, stored: 10, ..Job::default() }).is_proven());
        assert!(!Job { rows: 30, stored: 10, ..Job::default() }.is_complete());
        assert!(Job { rows: 30, stored: 20, rejected: 10, ..Job::default() }.is_complete());
    }

    #[test]
    fn equal_sums_are_proven() {
        let blocks = [block(1, 5, 10, 77), block(2, 5, 20, 78)];
        let proof = compare(&job(30), &blocks, &blocks);
        assert!(proof.is_proven());
        assert_eq!((proof.blocks, proof.rows, proof.found), (2, 30, 30));
    }

    #[test]
    fn a_merged_block_excuses_no_other_one() {
        let expected = [block(1, 5, 10, 77), block(1, 6, 10, 78)];
        let mut proof = compare(&job(20), &expected, &[block(1, 5, 5, 7), block(1, 6, 4, 8)]);
        let short = std::mem::take(&mut proof.short);
        proof.forgive(&short[0]);
        assert_eq!((proof.merged, proof.differences[0].missing), (5, 6));
        assert!(!proof.is_proven());
        proof.forgive(&short[1]);
        assert_eq!((proof.merged, proof.is_proven()), (11, true));
    }

    #[test]
    fn every_kind_of_difference_is_counted() {
        let expected = [block(1, 5, 10, 77), block(1, 6, 10, 1), block(1, 7, 3, 1), block(2, 5, 20, 78)];
        let wrong = BlockSum { wrong_shard: 4, ..block(2, 5, 20, 78) };
        let proof = compare(
            &job(43),
            &expected,
            &[block(1, 5, 8, 70), block(1, 6, 12, 9), block(1, 7, 3, 2), wrong, block(3, 5, 1, 1)],
        );
        let shard =
            |shard| proof.differences.iter().find(|difference| difference.shard == shard).expect("one");
        let BlockDifference { missing, extra, changed_blocks, rows, .. } = *shard(1);
        assert_eq!((missing, extra, changed_blocks, rows), (2, 2, 1, 23));
        assert_eq!(shard(2).wrong_shard, 4);
        assert_eq!((shard(3).extra, shard(3).rows), (1, 0));
    }
}
