//! Shard rule: the owning shard of a distinct id.
//!
//! It matches a Distributed table sharded by `sipHash64(distinct_id)`.

mod siphash;

use std::hash::Hasher;
use std::num::NonZeroU64;

use siphasher::sip::SipHasher24;
use thiserror::Error;

pub use self::siphash::Hashes;
use crate::texts::StringRuns;

/// Error for weights that can't select a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ShardError {
    /// The list of weights is empty.
    #[error("weights are empty: give one weight per shard, in the order of the cluster's shards")]
    Empty,
    /// All weights are 0, so that no shard may own a row.
    #[error("all {shards} weights are 0: give at least one shard a weight above 0")]
    AllZero {
        /// Number of shards.
        shards: usize,
    },
    /// The number of slots or shards exceeds 32 bits. ClickHouse keeps a table with one entry per
    /// slot.
    #[error(
        "weights of {shards} shards sum to more than {}: use smaller weights in the same ratio",
        u32::MAX
    )]
    Overflow {
        /// Number of shards.
        shards: usize,
    },
}

/// ClickHouse's `sipHash64(distinct_id)` of a `String`: SipHash-2-4 with a zero key over the raw
/// bytes.
pub fn shard_key(distinct_id: &[u8]) -> u64 {
    let mut hasher = SipHasher24::new();
    hasher.write(distinct_id);
    hasher.finish()
}

/// [`shard_key`] of many distinct ids, in order, several at a time.
pub fn shard_keys<'a, T: StringRuns<'a>>(distinct_ids: T) -> Hashes<T> {
    siphash::hashes(distinct_ids)
}

/// Weights of a cluster's shards, prepared for shard lookup.
///
/// The rule is that of ClickHouse's `Cluster` (`slot_to_shard`). The number of slots is the sum of
/// the weights. Each shard in order owns as many consecutive slots as its weight, and a key belongs
/// to slot `key % slots`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Weights {
    /// Shards that own slots, as (first slot after the shard's slots, shard number).
    owners: Vec<(u64, u32)>,
    /// Number of the last shard that owns slots.
    last_owner: u32,
    /// Sum of the weights.
    slots: NonZeroU64,
}

impl Weights {
    /// Prepares the weights, given in the order of the cluster's shards. A weight of 0 owns no
    /// slot.
    ///
    /// # Errors
    /// Fails if there are no weights, if all are 0, or if their sum is above `u32::MAX`.
    pub fn new(weights: &[u32]) -> Result<Self, ShardError> {
        let shards = weights.len();
        if shards == 0 {
            return Err(ShardError::Empty);
        }
        let overflow = ShardError::Overflow { shards };
        let last_shard = u32::try_from(shards).map_err(|_| overflow)?;
        let mut owners = Vec::new();
        let mut last_owner = 0;
        let mut slots = 0_u32;
        for (shard, &weight) in (1..=last_shard).zip(weights).filter(|&(_, &weight)| weight > 0) {
            slots = slots.checked_add(weight).ok_or(overflow)?;
            owners.push((u64::from(slots), shard));
            last_owner = shard;
        }
        let slots = NonZeroU64::new(u64::from(slots)).ok_or(ShardError::AllZero { shards })?;
        Ok(Self { owners, last_owner, slots })
    }

    /// Returns the number, from 1, of the shard that owns a key made by [`shard_key`].
    pub fn shard_of(&self, key: u64) -> u32 {
        let slot = key % self.slots;
        let owner = self.owners.partition_point(|&(end, _)| end <= slot);
        self.owners.get(owner).map_or(self.last_owner, |&(_, shard)| shard)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_those_of_the_engine() {
        // SELECT number n,
        // sipHash64(substring('0123456789abcdefghijklmnopqrstuvwxyzABCDEFGH', 1, n))
        // FROM numbers(42) WHERE n IN (0, 1, 7, 8, 9, 15, 16, 17, 40, 41):
        // lengths around the hash's 8-byte words
        let text = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGH";
        let by_length = [
            (0, 2202906307356721367),
            (1, 13163753087252323914),
            (7, 6407731145491095521),
            (8, 5448329059885170114),
            (9, 15491299638584559077),
            (15, 15348702179283272231),
            (16, 10719539101438027700),
            (17, 6291727573249898517),
            (40, 9491282478477345000),
            (41, 17604595082861572948),
        ];
        for (length, key) in by_length {
            assert_eq!(shard_key(&text[..length]), key, "first {length} bytes");
        }
    }

    #[test]
    fn keys_of_odd_bytes_are_those_of_the_engine() {
        // SELECT sipHash64('\xff\xfe\x00'),
        // sipHash64(concat(repeat('a', 1000000), repeat('a', 48576)))
        assert_eq!(shard_key(b"\xff\xfe\0"), 12793098633036600534);
        assert_eq!(shard_key(&[b'a'; 1 << 20]), 2183096522228563537);
    }

    #[test]
    fn shards_are_those_a_distributed_table_picks() {
        // INSERT INTO Distributed(cluster, '', t, sipHash64(d))
        // SELECT concat('user-', toString(number)) FROM numbers(40),
        // in foreground, with each shard's table in a separate database. The strings list the shard
        // in which each row was then found, in the order of number.
        let found: [(&[u32], &str); 4] = [
            (&[1, 1], "1122121221211111121211222211222222111121"),
            (&[3, 0, 2], "1133111311331331113131311133133113131111"),
            (&[9, 1], "1112111211111111111111211111121112111111"),
            (&[0, 5, 0, 7, 1], "2242424442442244442424224254242244422222"),
        ];
        for (weights, shards) in found {
            let chooser = Weights::new(weights).unwrap();
            let ours: String = (0..40)
                .map(|user| chooser.shard_of(shard_key(format!("user-{user}").as_bytes())).to_string())
                .collect();
            assert_eq!(ours, shards, "weights {weights:?}");
        }
    }

    #[test]
    fn every_slot_belongs_to_the_shard_that_a_table_of_slots_names() {
        let weights = [0, 2, 0, 0, 3, 1, 0];
        let table = [2, 2, 5, 5, 5, 6];
        let chooser = Weights::new(&weights).unwrap();
        for key in 0..60_u64 {
            assert_eq!(chooser.shard_of(key), table[key as usize % table.len()], "key {key}");
        }
        assert_eq!(chooser.shard_of(u64::MAX), table[(u64::MAX % 6) as usize]);
    }

    #[test]
    fn weights_without_a_choice_are_refused() {
        assert_eq!(Weights::new(&[]), Err(ShardError::Empty));
        assert_eq!(Weights::new(&[0, 0]), Err(ShardError::AllZero { shards: 2 }));
        assert_eq!(Weights::new(&[u32::MAX, 1]), Err(ShardError::Overflow { shards: 2 }));
        assert_eq!(Weights::new(&[0, u32::MAX, 0]).unwrap().shard_of(u64::MAX), 2);
    }
}
