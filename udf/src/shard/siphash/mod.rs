//! SipHash-2-4 with a key of zeros, ClickHouse's `sipHash64`, of several strings at once.
//!
//! One string's rounds wait for each other; those of several strings do not, and run side by side in wide registers:
//! eight short strings where the processor has AVX-512, four of any length where it has AVX2, else one after the other.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;

/// Strings that are gathered before they are hashed.
const LANES: usize = 8;

/// The hashes of `ids`, one for each, in order.
pub(super) fn hashes<'a, I: Iterator<Item = &'a [u8]>>(ids: I) -> Hashes<I> {
    Hashes { ids, ready: [0; LANES], next: 0, count: 0 }
}

/// See [`hashes`].
pub(super) struct Hashes<I> {
    ids: I,
    ready: [u64; LANES],
    /// The place in `ready` of the hash to give next, and how many of them there are.
    next: usize,
    count: usize,
}

impl<'a, I: Iterator<Item = &'a [u8]>> Hashes<I> {
    /// Hashes the next strings and tells whether there were any.
    #[inline]
    fn refill(&mut self) -> bool {
        let mut strings: [&[u8]; LANES] = [&[]; LANES];
        self.count = 0;
        for (lane, id) in strings.iter_mut().zip(self.ids.by_ref()) {
            *lane = id;
            self.count += 1;
        }
        if self.count > 0 {
            (self.ready, self.next) = (hash_all(&strings), 0);
        }
        self.count > 0
    }
}

impl<'a, I: Iterator<Item = &'a [u8]>> Iterator for Hashes<I> {
    type Item = u64;

    #[inline]
    fn next(&mut self) -> Option<u64> {
        if self.next == self.count && !self.refill() {
            return None;
        }
        let hash = self.ready.get(self.next).copied();
        self.next += 1;
        hash
    }

    /// What `for_each` runs on: a batch at a time, without asking for each hash whether there is one.
    #[inline]
    fn fold<B, F: FnMut(B, u64) -> B>(mut self, init: B, mut f: F) -> B {
        let mut folded = init;
        loop {
            let ready = self.ready.get(self.next..self.count).unwrap_or_default();
            folded = ready.iter().copied().fold(folded, &mut f);
            if !self.refill() {
                return folded;
            }
        }
    }
}

fn hash_all(ids: &[&[u8]; LANES]) -> [u64; LANES] {
    #[cfg(target_arch = "x86_64")]
    if is_short(ids) && std::arch::is_x86_feature_detected!("avx512bw") {
        // SAFETY: this processor has AVX-512 with bytes and words, which includes its foundation.
        return unsafe { avx512::hash_all(ids) };
    }
    #[cfg(target_arch = "x86_64")]
    if let ([first, second], []) = ids.as_chunks()
        && std::arch::is_x86_feature_detected!("avx2")
    {
        // SAFETY: this processor has AVX2.
        let (first, second) = unsafe { (avx2::hash_all(*first), avx2::hash_all(*second)) };
        let mut hashes = [0; LANES];
        hashes.iter_mut().zip(first.into_iter().chain(second)).for_each(|(to, hash)| *to = hash);
        return hashes;
    }
    ids.map(super::shard_key)
}

#[cfg(target_arch = "x86_64")]
fn is_short(ids: &[&[u8]; LANES]) -> bool {
    ids.iter().all(|id| id.len() <= avx512::MAX_BYTES)
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
            let most = [9, 40, 70, 600][random.random_range(0..4)];
            let ids: Vec<Vec<u8>> = (0..random.random_range(0..20))
                .map(|_| {
                    let mut id = vec![0; random.random_range(0..=most)];
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
            rest.for_each(|hash| folded.push(hash));
            assert_eq!(folded, one_by_one);
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn four_at_once_are_hashed_right_also_where_eight_would_be() {
        if !std::arch::is_x86_feature_detected!("avx2") {
            return;
        }
        let text = [7_u8; 100];
        for length in 0..=80 {
            let ids: [&[u8]; 4] = [&text[..length], &text[1..20], &text[length..], &text[..length / 2]];
            // SAFETY: this processor has AVX2.
            assert_eq!(unsafe { avx2::hash_all(ids) }, ids.map(shard_key), "{length}");
        }
    }
}
