//! Person index: files that give the person of a distinct id, mapped into memory.
//!
//! # Identity of a distinct id
//!
//! The index has no distinct ids, but two hashes of each: the key, which ClickHouse can compute and
//! store as a column, and the check, a SipHash under a key that is random for each index. A lookup
//! by distinct id compares all 128 bits. Nobody can choose distinct ids whose checks are equal
//! without the random key, so equal hashes of two ids are an accident: with a billion ids, one
//! wrong answer is to be expected in 2^128 / 10^9 = 3.4 × 10^29 lookups of unknown ids, which are
//! ten thousand billion years of a billion lookups in each second.
//!
//! A lookup by key compares 64 bits. Two ids of one key are found when the index is written, and
//! such a key has no answer. Keys of ids that are not in the index can be equal to one that is: a
//! lookup by key is for stored events, whose ids are in the index.
//!
//! # Generations
//!
//! An index is a folder of immutable files: a base, and changes since then, each replacing earlier
//! entries. A manifest names the files of the current generation. It is replaced atomically, so a
//! reader sees one generation or the next.

mod error;
mod checksums;
mod entry;
mod header;
mod directory;
mod writer;
mod mapping;
mod file;
mod lookup;
mod manifest;
mod index;
mod prefetch;

pub use entry::{Entry, Hashed, Identity, TeamKeys, person_key};
pub use error::SnapshotError;
pub use file::SnapshotFile;
pub use index::{BATCH, PersonIndex, UNKNOWN, VerifyPlace};
pub use manifest::{FileName, Manifest};
pub use writer::{FileSummary, VersionRange, write_file};

/// Version of the layout of all files.
pub const FORMAT: u32 = 2;
/// Bytes of the header. Sections begin at multiples of a cache line.
const HEADER_BYTES: usize = 4096;
/// Bytes of a cache line.
const LINE: usize = 64;
/// Bytes with one checksum. Each is verified before its first use, so a lookup of one id reads two
/// of them.
const CHUNK: usize = 1 << 16;
/// Bytes of a record: key, check, person.
const RECORD: usize = 32;
/// The person of a deletion's record, so that a lookup needs no version. A person with this id is
/// unknown too: it is the answer for unknown ids.
const NO_PERSON: u128 = 0;

#[cfg(test)]
mod tests;
