//! Event fingerprint: a hash shared by all copies of an event.
//!
//! It must never change, because stored fingerprints are compared with new ones.

use std::hash::Hasher;

use siphasher::sip128::{Hasher128, SipHasher24};

/// The columns that identify an event. All other columns may differ when a producer resends it.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    /// Team that the event belongs to.
    pub team_id: i64,
    /// Event id: 16 bytes in the order of the text form.
    pub uuid: [u8; 16],
    /// Event name, e.g. `$pageview`.
    pub name: &'a [u8],
    /// Distinct id of the person who caused the event.
    pub distinct_id: &'a [u8],
    /// Event time in microseconds since 1970, UTC.
    pub timestamp: i64,
}

/// Returns the event's fingerprint: the 16 bytes of a UUID in the order of the text form.
///
/// The hash is SipHash-2-4 with 128 bits and a zero key (`sipHash128Reference` in SQL) over team
/// id, uuid and timestamp (64, 128 and 64 bits, integers little endian), then name and distinct id,
/// each after its length in bytes (64 bits, little endian). The lengths make the hashed bytes of
/// two different events differ. Version (8: custom) and variant are set as RFC 9562 requires.
pub fn fingerprint(event: &Event<'_>) -> [u8; 16] {
    let mut hasher = SipHasher24::new();
    hasher.write(&event.team_id.to_le_bytes());
    hasher.write(&event.uuid);
    hasher.write(&event.timestamp.to_le_bytes());
    for text in [event.name, event.distinct_id] {
        let length = u64::try_from(text.len()).unwrap_or(u64::MAX);
        hasher.write(&length.to_le_bytes());
        hasher.write(text);
    }
    let mut bytes = hasher.finish128().as_bytes();
    let [.., ref mut version, _, ref mut variant, _, _, _, _, _, _, _] = bytes;
    *version = (*version & 0x0f) | 0x80;
    *variant = (*variant & 0x3f) | 0x80;
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENT: Event<'_> = Event {
        team_id: 7,
        uuid: [0, 17, 34, 51, 68, 85, 102, 119, 136, 153, 170, 187, 204, 221, 238, 255],
        name: b"$pageview",
        distinct_id: b"user-1",
        timestamp: 1_793_529_726_502_000,
    };

    #[test]
    fn each_part_counts_and_where_one_ends_too() {
        let same = fingerprint(&EVENT);
        let others = [
            Event { team_id: -7, ..EVENT },
            Event { uuid: [0; 16], ..EVENT },
            Event { timestamp: EVENT.timestamp + 1, ..EVENT },
            Event { name: b"$pageviewu", distinct_id: b"ser-1", ..EVENT },
            Event { name: b"", ..EVENT },
        ];
        assert_eq!(same, fingerprint(&EVENT.clone()));
        for other in others {
            assert_ne!(same, fingerprint(&other), "{other:?}");
        }
    }

    #[test]
    fn it_is_a_uuid_of_version_8() {
        let bytes = fingerprint(&EVENT);
        assert_eq!((bytes[6] >> 4, bytes[8] >> 6), (8, 0b10));
    }
}
