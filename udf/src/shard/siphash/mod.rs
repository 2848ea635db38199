//! SipHash-2-4 with a zero key (ClickHouse's `sipHash64`) of several strings at once.
//!
//! The rounds of one string depend on each other. Rounds of several strings are independent and run
//! side by side in wide registers: sixteen short strings with AVX-512, eight of any length with
//! AVX2, otherwise one by one.

#![allow(unsafe_code)]

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;

use std::array;

use crate::texts::{FixedLengthRun, StringRuns};

/// Number of strings in a group, whose words fit side by side into the widest registers.
const GROUP: usize = 8;

/// Rounds of hashing strings one by one before the next check for a run of equal length.
const ROUNDS: usize = 4;

/// Groups of strings, and their hashes.
type StringGroups<'a, const GROUPS: usize> = [[&'a [u8]; GROUP]; GROUPS];
type Keys<const GROUPS: usize> = [[u64; GROUP]; GROUPS];

/// Two groups of strings of equal length.
type TwoRuns<'a> = FixedLengthRun<'a, { 2 * GROUP }>;

/// Returns an iterator over the hashes of `ids`, in order.
pub(super) fn hashes<'a, T: StringRuns<'a>>(ids: T) -> Hashes<T> {
    Hashes { ids, ready: [[0; GROUP]; 2], next: 0, count: 0 }
}

/// Hashes of strings, in order, computed several at a time.
pub struct Hashes<T> {
    ids: T,
    ready: Keys<2>,
    /// Index in `ready` of the next hash to return, and the number of hashes there.
    next: usize,
    count: usize,
}

impl<'a, T: StringRuns<'a>> Hashes<T> {
    /// Calls `f` with all remaining hashes, in order, in slices as large as available. Returns the
    /// iterator over the strings, at its end.
    #[inline]
    pub fn for_each_slice(self, mut f: impl FnMut(&[u64])) -> T {
        f(self.ready.as_flattened().get(self.next..self.count).unwrap_or_default());
        #[cfg(target_arch = "x86_64")]
        if avx512::is_there() {
            return for_all(self.ids, hash_two_groups, f);
        }
        for_all(self.ids, |[strings]: &StringGroups<'_, 1>| [hash_group(strings)], f)
    }

    /// Hashes the next strings.
    fn refill(&mut self) {
        self.next = 0;
        if let Some(ids) = self.ids.next_run() {
            (self.ready, self.count) = (hash_alike(&ids), 2 * GROUP);
            return;
        }
        let mut strings: StringGroups<'_, 2> = [[&[]; GROUP]; 2];
        #[cfg(target_arch = "x86_64")]
        if avx512::is_there() {
            self.count = gather(&mut self.ids, strings.as_flattened_mut());
            self.ready = hash_two_groups(&strings);
            return;
        }
        let ([strings, _], [ready, _]) = (&mut strings, &mut self.ready);
        self.count = gather(&mut self.ids, strings);
        *ready = hash_group(strings);
    }
}

impl<'a, T: StringRuns<'a>> Iterator for Hashes<T> {
    type Item = u64;

    #[inline]
    fn next(&mut self) -> Option<u64> {
        if self.next == self.count {
            self.refill();
        }
        let hash = self.ready.as_flattened().get(..self.count)?.get(self.next).copied()?;
        self.next += 1;
        Some(hash)
    }
}

/// Hashes all strings: runs of equal length as found, other strings in groups. Returns the iterator
/// at its end.
#[inline(always)]
fn for_all<'a, const GROUPS: usize, T: StringRuns<'a>>(
    mut ids: T,
    hash: impl Fn(&StringGroups<'a, GROUPS>) -> Keys<GROUPS>,
    mut f: impl FnMut(&[u64]),
) -> T {
    let mut are_left = true;
    while are_left {
        while let Some(ids) = ids.next_run() {
            f(hash_alike(&ids).as_flattened());
        }
        are_left = for_some_groups(&mut ids, &hash, &mut f);
    }
    ids
}

/// Hashes strings for [`ROUNDS`] rounds, and returns whether strings may be left. Each step gathers
/// the next strings before it hashes the current ones. Both are independent, so the processor
/// overlaps them.
#[inline(always)]
fn for_some_groups<'a, const GROUPS: usize>(
    ids: &mut impl StringRuns<'a>,
    hash: impl Fn(&StringGroups<'a, GROUPS>) -> Keys<GROUPS>,
    mut f: impl FnMut(&[u64]),
) -> bool {
    let mut one: StringGroups<'_, GROUPS> = [[&[]; GROUP]; GROUPS];
    let mut other = one;
    let mut count = gather(ids, one.as_flattened_mut());
    // Two steps per round, so that strings needn't be moved between the buffers.
    for _ in 0..ROUNDS {
        let following = gather(ids, other.as_flattened_mut());
        f(hash(&one).as_flattened().get(..count).unwrap_or_default());
        count = gather(ids, one.as_flattened_mut());
        f(hash(&other).as_flattened().get(..following).unwrap_or_default());
        if count == 0 {
            return false;
        }
    }
    f(hash(&one).as_flattened().get(..count).unwrap_or_default());
    true
}

/// Copies the next strings into `strings`, and returns their number.
#[inline(always)]
fn gather<'a>(ids: &mut impl Iterator<Item = &'a [u8]>, strings: &mut [&'a [u8]]) -> usize {
    let mut count = 0;
    for (lane, id) in strings.iter_mut().zip(ids) {
        *lane = id;
        count += 1;
    }
    count
}

/// Hashes two groups, at once if the processor has AVX-512.
#[cfg(target_arch = "x86_64")]
fn hash_two_groups(strings: &StringGroups<'_, 2>) -> Keys<2> {
    if avx512::is_there()
        // SAFETY: `is_there` has checked the processor's features.
        && let Some(hashes) = unsafe { avx512::hash_all(strings) }
    {
        return hashes;
    }
    strings.map(|group| hash_group(&group))
}

/// Hashes two groups of equal length, at once if the processor has AVX-512 and the strings are
/// short.
#[inline]
fn hash_alike(ids: &TwoRuns<'_>) -> Keys<2> {
    #[cfg(target_arch = "x86_64")]
    if usize::from(ids.length()) <= avx512::MAX_BYTES && avx512::is_there() {
        // SAFETY: `is_there` has checked the processor's features, and the strings are short
        // enough.
        return unsafe { avx512::hash_alike(ids) };
    }
    [0, GROUP].map(|first| hash_group(&array::from_fn(|lane| ids.get(first + lane).unwrap_or_default())))
}

fn hash_group(ids: &[&[u8]; GROUP]) -> [u64; GROUP] {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: this processor has AVX2.
        return unsafe { avx2::hash_all(ids) };
    }
    ids.map(super::shard_key)
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{Rng, RngExt, SeedableRng};

    use super::*;
    use crate::shard::shard_key;
    use crate::texts::Scattered;

    #[test]
    fn many_at_once_are_hashed_as_one_by_one() {
        let seed = std::env::var("SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
        println!("SEED={seed}");
        #[cfg(target_arch = "x86_64")]
        if !avx512::is_there() {
            println!("NOT RUN: sixteen at once, since this processor has no AVX-512");
        }
        let mut random = StdRng::seed_from_u64(seed);
        for _ in 0..3000 {
            let (least, most) = [(0, 9), (0, 40), (40, 40), (32, 39), (64, 64), (64, 71), (0, 70), (0, 600)]
                [random.random_range(0..8)];
            let mut ids = Vec::new();
            // Runs of equal length, some long enough to be hashed together.
            for _ in 0..random.random_range(0..5) {
                let (one, is_run) = (random.random_range(least..=most), random.random());
                for _ in 0..random.random_range(0..40) {
                    let length = if is_run { one } else { random.random_range(least..=most) };
                    let mut id = vec![0; length];
                    random.fill_bytes(&mut id);
                    ids.push(id);
                }
            }
            let one_by_one: Vec<u64> = ids.iter().map(|id| shard_key(id)).collect();
            are_hashed(Scattered(ids.iter().map(Vec::as_slice)), &one_by_one);
            if let Some(bytes) = side_by_side(&ids) {
                are_hashed(SideBySide(&bytes), &one_by_one);
            }
        }
    }

    /// Checks both interfaces: one by one, and a first `next` followed by slices.
    fn are_hashed<'a>(ids: impl StringRuns<'a> + Clone, expected: &[u64]) {
        assert_eq!(hashes(ids.clone()).collect::<Vec<_>>(), expected);
        let mut rest = hashes(ids);
        let mut folded = Vec::from_iter(rest.next());
        rest.for_each_slice(|hashes| folded.extend_from_slice(hashes));
        assert_eq!(folded, expected);
    }

    /// Strings of less than 128 bytes in wire format.
    #[derive(Clone)]
    struct SideBySide<'a>(&'a [u8]);

    fn side_by_side(ids: &[Vec<u8>]) -> Option<Vec<u8>> {
        let text = |id: &Vec<u8>| {
            Some([&[u8::try_from(id.len()).ok().filter(u8::is_ascii)?], id.as_slice()].concat())
        };
        ids.iter().map(text).collect::<Option<Vec<_>>>().map(|texts| texts.concat())
    }

    impl<'a> Iterator for SideBySide<'a> {
        type Item = &'a [u8];

        fn next(&mut self) -> Option<&'a [u8]> {
            let (length, rest) = self.0.split_first()?;
            let (text, rest) = rest.split_at((*length).into());
            self.0 = rest;
            Some(text)
        }
    }

    impl<'a> StringRuns<'a> for SideBySide<'a> {
        fn next_run<const N: usize>(&mut self) -> Option<FixedLengthRun<'a, N>> {
            let (alike, rest) = FixedLengthRun::split(self.0)?;
            self.0 = rest;
            Some(alike)
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn eight_at_once_are_hashed_right_also_where_sixteen_would_be() {
        if !std::arch::is_x86_feature_detected!("avx2") {
            return println!("NOT RUN: this processor has no AVX2");
        }
        let text: [u8; 100] = std::array::from_fn(|place| place as u8);
        for length in 0..=90 {
            // Equal lengths, slightly different lengths, and the largest difference that is hashed
            // side by side.
            let equal = std::array::from_fn(|lane| &text[lane..lane + length]);
            let near = std::array::from_fn(|lane| &text[lane..lane + length.saturating_sub(7 * lane)]);
            let far = std::array::from_fn(|lane| &text[..length + lane % 2 * (100 - length).min(64)]);
            for ids in [equal, near, far] {
                // SAFETY: this processor has AVX2.
                assert_eq!(unsafe { avx2::hash_all(&ids) }, ids.map(shard_key), "{length}");
            }
        }
    }
}
