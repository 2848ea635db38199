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

const NONE: [[&[u8]; GROUP]; 2] = [[&[]; GROUP]; 2];

/// The hashes of `ids`, one for each, in order.
pub(super) fn hashes<'a, I: Iterator<Item = &'a [u8]>>(ids: I) -> Hashes<I> {
    Hashes { ids, ready: [[0; GROUP]; 2], next: 0, count: 0 }
}

/// The hashes of strings, in order, some at once.
pub struct Hashes<I> {
    ids: I,
    ready: [[u64; GROUP]; 2],
    /// The place in `ready` of the hash to give next, and how many of them there are.
    next: usize,
    count: usize,
}

impl<'a, I: Iterator<Item = &'a [u8]>> Hashes<I> {
    /// Hands out all hashes that are left, in order, as many at once as are there.
    #[inline]
    pub fn for_each_slice(self, mut f: impl FnMut(&[u64])) {
        // Variables of their own stay in registers.
        let (mut ids, mut strings, mut ready) = (self.ids, NONE, self.ready);
        f(ready.as_flattened().get(self.next..self.count).unwrap_or_default());
        loop {
            match hash_next(&mut ids, &mut strings, &mut ready) {
                0 => return,
                count => f(ready.as_flattened().get(..count).unwrap_or_default()),
            }
        }
    }
}

/// Hashes the next of `ids`, as many as is best, in the memory of others, and tells how many these are.
#[inline(always)]
fn hash_next<'a>(
    ids: &mut impl Iterator<Item = &'a [u8]>,
    strings: &mut [[&'a [u8]; GROUP]; 2],
    hashes: &mut [[u64; GROUP]; 2],
) -> usize {
    let [these, those] = strings;
    let mut count = gather(ids, these);
    #[cfg(target_arch = "x86_64")]
    if avx512::is_there() {
        count += gather(ids, those);
        // SAFETY: this processor has what it needs.
        let found = unsafe { avx512::hash_all(strings) };
        *hashes = found.unwrap_or_else(|| strings.map(|group| hash_group(&group)));
        return count;
    }
    // More than a group would only put off the hashing.
    let [hashes, _] = hashes;
    *hashes = hash_group(these);
    count
}

/// Puts the next strings where they are hashed from, and tells how many there are.
#[inline(always)]
fn gather<'a>(ids: &mut impl Iterator<Item = &'a [u8]>, strings: &mut [&'a [u8]; GROUP]) -> usize {
    let mut count = 0;
    for (lane, id) in strings.iter_mut().zip(ids) {
        *lane = id;
        count += 1;
    }
    count
}

impl<'a, I: Iterator<Item = &'a [u8]>> Iterator for Hashes<I> {
    type Item = u64;

    #[inline]
    fn next(&mut self) -> Option<u64> {
        if self.next == self.count {
            (self.next, self.count) = (0, hash_next(&mut self.ids, &mut { NONE }, &mut self.ready));
        }
        let hash = self.ready.as_flattened().get(..self.count)?.get(self.next).copied()?;
        self.next += 1;
        Some(hash)
    }
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
        let mut random = StdRng::seed_from_u64(seed);
        for _ in 0..3000 {
            let (least, most) =
                [(0, 9), (0, 40), (40, 40), (32, 39), (0, 70), (0, 600)][random.random_range(0..6)];
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
            return;
        }
        let text = [7_u8; 100];
        for length in 0..=80 {
            let (half, third) = (length / 2, length / 3);
            let [a, b, c, d] = [&text[..length], &text[1..20], &text[length..], &text[..half]];
            let ids = [a, b, c, d, &text[half..length], &text[third..], &text[third..half], &text[..third]];
            // SAFETY: this processor has AVX2.
            assert_eq!(unsafe { avx2::hash_all(&ids) }, ids.map(shard_key), "{length}");
        }
    }
}
