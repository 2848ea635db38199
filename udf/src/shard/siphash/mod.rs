//! SipHash-2-4 with a key of zeros, ClickHouse's `sipHash64`, of several strings at once.
//!
//! One string's rounds wait for each other; those of several strings do not, and run side by side in wide registers:
//! sixteen short strings where the processor has AVX-512, eight of any length where it has AVX2, else one after the other.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;

/// Strings in a group whose words fit side by side into the widest registers.
const GROUP: usize = 8;

/// Groups of strings, and their hashes.
type Strings<'a, const GROUPS: usize> = [[&'a [u8]; GROUP]; GROUPS];
type Keys<const GROUPS: usize> = [[u64; GROUP]; GROUPS];

/// The hashes of `ids`, one for each, in order.
pub(super) fn hashes<'a, I: Iterator<Item = &'a [u8]>>(ids: I) -> Hashes<I> {
    Hashes { ids, ready: [[0; GROUP]; 2], next: 0, count: 0 }
}

/// The hashes of strings, in order, some at once.
pub struct Hashes<I> {
    ids: I,
    ready: Keys<2>,
    /// The place in `ready` of the hash to give next, and how many of them there are.
    next: usize,
    count: usize,
}

impl<'a, I: Iterator<Item = &'a [u8]>> Hashes<I> {
    /// Hands out all hashes that are left, in order, as many at once as are there.
    #[inline]
    pub fn for_each_slice(self, mut f: impl FnMut(&[u64])) {
        f(self.ready.as_flattened().get(self.next..self.count).unwrap_or_default());
        #[cfg(target_arch = "x86_64")]
        if avx512::is_there() {
            return for_each_groups(self.ids, hash_two_groups, f);
        }
        for_each_groups(self.ids, |[strings]: &Strings<'_, 1>| [hash_group(strings)], f);
    }

    /// Hashes the next strings.
    fn refill(&mut self) {
        self.next = 0;
        let mut strings: Strings<'_, 2> = [[&[]; GROUP]; 2];
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

impl<'a, I: Iterator<Item = &'a [u8]>> Iterator for Hashes<I> {
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

/// Hashes some groups of strings after the other. The next are found before those at hand are hashed: neither needs the
/// other, so the processor does both at once.
#[inline(always)]
fn for_each_groups<'a, const GROUPS: usize>(
    mut ids: impl Iterator<Item = &'a [u8]>,
    hash: impl Fn(&Strings<'a, GROUPS>) -> Keys<GROUPS>,
    mut f: impl FnMut(&[u64]),
) {
    let mut one: Strings<'_, GROUPS> = [[&[]; GROUP]; GROUPS];
    let mut other = one;
    let mut count = gather(&mut ids, one.as_flattened_mut());
    // Two steps a round, so that strings stay where they were put.
    while count > 0 {
        let following = gather(&mut ids, other.as_flattened_mut());
        f(hash(&one).as_flattened().get(..count).unwrap_or_default());
        if following == 0 {
            return;
        }
        count = gather(&mut ids, one.as_flattened_mut());
        f(hash(&other).as_flattened().get(..following).unwrap_or_default());
    }
}

/// Puts the next strings where they are hashed from, and tells how many there are.
#[inline(always)]
fn gather<'a>(ids: &mut impl Iterator<Item = &'a [u8]>, strings: &mut [&'a [u8]]) -> usize {
    let mut count = 0;
    for (lane, id) in strings.iter_mut().zip(ids) {
        *lane = id;
        count += 1;
    }
    count
}

/// Best where the processor has AVX-512.
#[cfg(target_arch = "x86_64")]
fn hash_two_groups(strings: &Strings<'_, 2>) -> Keys<2> {
    if avx512::is_there()
        // SAFETY: this processor has what it needs.
        && let Some(hashes) = unsafe { avx512::hash_all(strings) }
    {
        return hashes;
    }
    strings.map(|group| hash_group(&group))
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
            let ids: Vec<Vec<u8>> = (0..random.random_range(0..50))
                .map(|_| {
                    let mut id = vec![0; random.random_range(least..=most)];
                    random.fill_bytes(&mut id);
                    id
                })
                .collect();
            let one_by_one: Vec<u64> = ids.iter().map(|id| shard_key(id)).collect();
            let at_once: Vec<u64> = hashes(ids.iter().map(Vec::as_slice)).collect();
            assert_eq!(at_once, one_by_one);
            // Begun one by one, then all that is left.
            let mut rest = hashes(ids.iter().map(Vec::as_slice));
            let mut folded = Vec::from_iter(rest.next());
            rest.for_each_slice(|hashes| folded.extend_from_slice(hashes));
            assert_eq!(folded, one_by_one);
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
            // As long as each other, somewhat shorter than each other, and as far apart as side by side pays.
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
