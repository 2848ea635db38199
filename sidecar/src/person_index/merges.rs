//! Which files of an index are merged, and when.
//!
//! A lookup reads every file, and a merge writes what it reads. With files that shrink by a factor
//! from old to new, their number grows with the logarithm of the changes, and so does the number of
//! times that a change is written.

use std::ops::Range;

/// A file is merged with the newer ones when it has at most as many times their entries.
const FACTOR: u64 = 7;
/// Most entries of a merge that a publication does itself, which are about 2.5 MB. Larger ones are
/// done beside further publications.
const MAX_FOLDED: u64 = 1 << 16;
/// The base is rewritten when the changes have this part of its entries.
const BASE_PART: u64 = 8;

/// Returns how many of the newest files a publication of `changes` entries merges with them.
/// `entries` are those of the files that may be merged, from old to new.
pub(super) fn folded(entries: &[u64], changes: u64) -> usize {
    let mut sum = changes;
    let fits = |older: &&u64| {
        let is_near = **older <= sum.saturating_mul(FACTOR) && sum.saturating_add(**older) <= MAX_FOLDED;
        sum = sum.saturating_add(**older);
        is_near
    };
    entries.iter().rev().take_while(fits).count()
}

/// Returns the files that should be merged beside publications, if there are any. `entries` are
/// those of all files, from old to new.
pub(super) fn due(entries: &[u64]) -> Option<Range<usize>> {
    let (base, deltas) = entries.split_first()?;
    let changes = deltas.iter().fold(0_u64, |sum, entries| sum.saturating_add(*entries));
    let has_many = changes.saturating_mul(BASE_PART) >= *base && changes.saturating_add(*base) > MAX_FOLDED;
    match has_many && !deltas.is_empty() {
        true => Some(0..entries.len()),
        false => due_without_base(entries),
    }
}

/// Like [`due`], as long as the base can't be rewritten, so that files stay few all the same.
pub(super) fn due_without_base(entries: &[u64]) -> Option<Range<usize>> {
    let (_, deltas) = entries.split_first()?;
    let (last, older) = deltas.split_last()?;
    let (mut sum, mut run) = (*last, 0);
    for older in older.iter().rev() {
        if *older > sum.saturating_mul(FACTOR) {
            break;
        }
        sum = sum.saturating_add(*older);
        run += 1;
    }
    (run > 0 && sum > MAX_FOLDED).then(|| entries.len() - 1 - run..entries.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_publication_merges_small_files_of_its_own_size() {
        assert_eq!(folded(&[], 10), 0);
        assert_eq!(folded(&[1_000_000, 10], 10), 1);
        assert_eq!(folded(&[560, 70], 10), 2, "70 are near, and then 560 are");
        assert_eq!(folded(&[600, 80], 10), 0);
        assert_eq!(folded(&[60_000], 10_000), 0, "too many for a publication");
    }

    #[test]
    fn large_merges_are_due_for_near_files_and_for_a_base_with_many_changes() {
        assert_eq!(due(&[]), None);
        assert_eq!(due(&[10]), None);
        assert_eq!(due(&[5_000, 40_000]), None, "a publication does it");
        assert_eq!(due(&[0, 70_000]), Some(0..2));
        assert_eq!(due(&[10_000_000, 60_000, 10_000]), Some(1..3));
        assert_eq!(due(&[10_000_000, 600_000, 70_000]), None);
        assert_eq!(due(&[10_000_000, 1_200_000, 60_000]), Some(0..3));
        assert_eq!(due_without_base(&[10_000_000, 1_200_000, 60_000]), None);
        assert_eq!(due_without_base(&[10_000_000, 1_200_000, 60_000, 50_000]), Some(2..4));
    }

    #[test]
    fn files_stay_few_while_the_base_can_not_be_rewritten() {
        let mut files = vec![1_000_000_u64];
        for _ in 0..2_000 {
            let fold = folded(&files[1..], 10_000);
            let folded: u64 = files.split_off(files.len() - fold).iter().sum();
            files.push(folded + 10_000);
            if let Some(run) = due_without_base(&files) {
                let merged: u64 = files[run.clone()].iter().sum();
                files.splice(run, [merged]);
            }
            assert!(files[0] == 1_000_000 && files.len() <= 9, "{files:?}");
        }
    }

    #[test]
    fn files_stay_few_and_writes_in_proportion_under_many_small_publications() {
        let (mut files, mut written) = (vec![10_000_000_u64], 0);
        for _ in 0..20_000 {
            let fold = folded(&files[1..], 100);
            let folded: u64 = files.split_off(files.len() - fold).iter().sum();
            files.push(folded + 100);
            written += folded + 100;
            if let Some(run) = due(&files) {
                let merged: u64 = files[run.clone()].iter().sum();
                files.splice(run, [merged]);
                written += merged;
            }
            assert!(files.len() <= 9, "{files:?}");
        }
        let times = written / (20_000 * 100);
        assert!(times <= 25, "each change is written {times} times");
    }
}
