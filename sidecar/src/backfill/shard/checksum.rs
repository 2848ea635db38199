//! Hash of a row, equal to `sql/backfill/row_hash.sql`.

use xxhash_rust::xxh3::xxh3_64;

use crate::backfill::events::wire_uuid;

/// Bytes hashed per row: 16 of the uuid, four numbers of 8, one of 4, and five hashes of strings.
const BYTES: usize = 16 + 4 * 8 + 4 + 5 * 8;

/// A row as it will be stored.
pub(super) struct ChecksumRow<'a> {
    pub(super) uuid: u128,
    pub(super) team_id: i64,
    pub(super) timestamp: i64,
    pub(super) created_at: i64,
    pub(super) ingested_at: u32,
    pub(super) offset: u64,
    /// event, properties, distinct_id, elements_hash, elements_chain.
    pub(super) texts: [&'a [u8]; 5],
}

impl ChecksumRow<'_> {
    pub(super) fn hash(&self) -> u64 {
        let mut bytes = [0; BYTES];
        let (numbers, texts) = bytes.split_at_mut(BYTES - 5 * 8);
        let (uuid, numbers) = numbers.split_at_mut(16);
        uuid.copy_from_slice(&wire_uuid(self.uuid));
        let (longs, ingested_at) = numbers.split_at_mut(3 * 8);
        for (place, number) in
            longs.as_chunks_mut::<8>().0.iter_mut().zip([self.team_id, self.timestamp, self.created_at])
        {
            *place = number.to_le_bytes();
        }
        let (ingested_at, offset) = ingested_at.split_at_mut(4);
        ingested_at.copy_from_slice(&self.ingested_at.to_le_bytes());
        offset.copy_from_slice(&self.offset.to_le_bytes());
        for (place, text) in texts.as_chunks_mut::<8>().0.iter_mut().zip(self.texts) {
            *place = xxh3_64(text).to_le_bytes();
        }
        xxh3_64(&bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_the_hash_that_the_server_gives_it() {
        // SELECT {row_hash} FROM (SELECT toUUID('00112233-4455-6677-8899-aabbccddeeff') AS uuid,
        // toInt64(-7) AS team_id, fromUnixTimestamp64Micro(1700000000123456, 'UTC') AS timestamp,
        // fromUnixTimestamp64Micro(-5, 'UTC') AS created_at, toDateTime(9, 'UTC') AS _timestamp,
        // toUInt64(9223372036854775809) AS _offset, '$pageview' AS event, '{"a":1}' AS properties,
        // 'user-1' AS distinct_id, '' AS elements_hash, 'a:b' AS elements_chain)
        let row = ChecksumRow {
            uuid: 0x0011_2233_4455_6677_8899_aabb_ccdd_eeff,
            team_id: -7,
            timestamp: 1_700_000_000_123_456,
            created_at: -5,
            ingested_at: 9,
            offset: (1 << 63) + 1,
            texts: [b"$pageview", br#"{"a":1}"#, b"user-1", b"", b"a:b"],
        };
        assert_eq!(row.hash(), 7_087_191_866_518_697_064);
    }
}
