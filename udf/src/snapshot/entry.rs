//! Entries of an index, and the hashes that identify distinct ids.

use std::hash::Hasher;

use siphasher::sip::{SipHasher13, SipHasher24};

use crate::person::Version;
use crate::shard::shard_key;

/// The two hashes of a distinct id of a team. Their order is that of records in a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hashed {
    /// See [`person_key`].
    pub key: u64,
    /// See [`Identity::check`].
    pub check: u64,
}

/// The state of a distinct id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The distinct id.
    pub id: Hashed,
    /// Its current version.
    pub version: Version,
}

/// The index that files belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Random key of the checks.
    pub seed: u128,
    /// Hash of the cluster and the table that the index is made of.
    pub source: u64,
}

impl Identity {
    /// Returns the hash that only this index gives to a distinct id.
    pub fn check(&self, team_id: i64, distinct_id: &[u8]) -> u64 {
        let mut hasher = SipHasher13::new_with_key(&self.seed.to_le_bytes());
        hasher.write(&team_id.to_le_bytes());
        hasher.write(distinct_id);
        hasher.finish()
    }

    /// Returns both hashes of a distinct id.
    pub fn hashed(&self, team_id: i64, distinct_id: &[u8]) -> Hashed {
        Hashed { key: person_key(team_id, distinct_id), check: self.check(team_id, distinct_id) }
    }
}

/// ClickHouse's `bitXor(sipHash64(distinct_id), sipHash64(team_id))`.
pub fn person_key(team_id: i64, distinct_id: &[u8]) -> u64 {
    shard_key(distinct_id) ^ team_key(team_id)
}

/// Hashes of team ids. Most rows have the team of the row before.
#[derive(Debug, Default)]
pub struct TeamKeys(Option<(i64, u64)>);

impl TeamKeys {
    /// Returns ClickHouse's `sipHash64(team_id)`, the team's part of a [`person_key`].
    #[inline]
    pub fn of(&mut self, team_id: i64) -> u64 {
        match self.0 {
            Some((last, key)) if last == team_id => key,
            _ => self.0.insert((team_id, team_key(team_id))).1,
        }
    }
}

/// ClickHouse's `sipHash64(team_id)` of an `Int64`.
fn team_key(team_id: i64) -> u64 {
    let mut hasher = SipHasher24::new();
    hasher.write(&team_id.to_le_bytes());
    hasher.finish()
}
