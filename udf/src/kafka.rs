//! Kafka's default partitioner for messages with a key.

use std::num::NonZeroU32;

/// Seed of Kafka's hash, a constant of its Java client
/// (`org.apache.kafka.common.utils.Utils.murmur2`).
const SEED: u32 = 0x9747_b28c;
/// Multiplier of MurmurHash2.
const M: u32 = 0x5bd1_e995;

/// 32-bit MurmurHash2 with Kafka's seed.
fn murmur2(key: &[u8]) -> u32 {
    // The hash takes the length modulo 2^32. Keys of 4 GiB and more don't exist.
    let [b0, b1, b2, b3, ..] = key.len().to_le_bytes();
    let mut hash = SEED ^ u32::from_le_bytes([b0, b1, b2, b3]);
    let (words, rest) = key.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> 24;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    if !rest.is_empty() {
        let mut last = [0; 4];
        last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
        hash = (hash ^ u32::from_le_bytes(last)).wrapping_mul(M);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(M);
    hash ^ (hash >> 15)
}

/// Returns the partition, from 0, that Kafka's default partitioner picks for a message with this
/// key. The Java client and librdkafka's `murmur2_random` agree. Other producers may differ:
/// librdkafka's default is CRC32.
pub fn partition(key: &[u8], partitions: NonZeroU32) -> u32 {
    // The Java client clears the sign bit, because its integers are signed.
    (murmur2(key) & 0x7fff_ffff) % partitions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_the_java_client() {
        // Test cases of the Java client's own murmur2 test, signed as printed there.
        let cases: [(&str, i32); 6] = [
            ("21", -973932308),
            ("foobar", -790332482),
            ("a-little-bit-long-string", -985981536),
            ("a-little-bit-longer-string", -1486304829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
            ("abc", 479470107),
        ];
        for (key, hash) in cases {
            assert_eq!(murmur2(key.as_bytes()).cast_signed(), hash, "{key}");
        }
    }

    #[test]
    fn every_partition_is_one_of_those_there_are() {
        for partitions in [1, 2, 7, u32::MAX] {
            let partitions = NonZeroU32::new(partitions).unwrap();
            for key in 0..1000_u32 {
                assert!(partition(&key.to_le_bytes(), partitions) < partitions.get());
            }
        }
    }
}
