//! Functions that look up the person of a distinct id in the node's person index.

use std::cell::RefCell;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use thiserror::Error;

use super::{Argument, DISTINCT_ID, Function, Reads, RuleError, Type};
use crate::shard::shard_keys;
use crate::snapshot::{BATCH, Hashed, PersonIndex, SnapshotError, TeamKeys, UNKNOWN};
use crate::texts::Scattered;
use crate::wire::{Answer, Block, Consumed};

const TEAM_ID: Argument = Argument { name: "team_id", data_type: Type::Int64 };
const PERSON_KEY: Argument = Argument { name: "person_key", data_type: Type::UInt64 };
const FIELD: Argument = Argument { name: "field", data_type: Type::String };

const BAD_INDEX: &str = "A missing, damaged or foreign index fails the query. The error names the file.";
const INSTEAD: &str = "A JOIN with the view person_distinct_ids needs no index. A HASHED dictionary on a stored key is \
    faster, and is loaded whole again at every refresh; see the end of this page.";

pub(super) static PERSON_OF: Function = Function {
    name: "personOf",
    arguments: &[TEAM_ID, DISTINCT_ID],
    returns: Type::Uuid,
    doc: "The current person of a team's distinct id, by the rule of personLatest. The zero UUID if the id is unknown or \
        deleted. All rows of a block see one generation of the index.",
    bad_input: BAD_INDEX,
    instead: INSTEAD,
    examples: &[],
    reads: Reads::PersonIndex,
    rule: |block, answer| find_ids(block, |persons| answer.push_uuids(persons)),
};

pub(super) static PERSON_OF_KEY: Function = Function {
    name: "personOfKey",
    arguments: &[PERSON_KEY],
    returns: Type::Uuid,
    doc: "As personOf, for the key bitXor(sipHash64(distinct_id), sipHash64(team_id)) of an id, which events.person_key = \
        true stores as the column person_key. The zero UUID also if two ids of the index have the key.",
    bad_input: BAD_INDEX,
    instead: INSTEAD,
    examples: &[],
    reads: Reads::PersonIndex,
    rule: find_keys,
};

pub(super) static PERSON_KNOWN: Function = Function {
    name: "personKnown",
    arguments: &[TEAM_ID, DISTINCT_ID],
    returns: Type::UInt8,
    doc: "1 if personOf has a person for the team's distinct id, otherwise 0.",
    bad_input: BAD_INDEX,
    instead: INSTEAD,
    examples: &[],
    reads: Reads::PersonIndex,
    rule: |block, answer| {
        find_ids(block, |persons| {
            persons.iter().for_each(|person| answer.push_u8(u8::from(*person != UNKNOWN)));
        })
    },
};

pub(super) static PERSON_SNAPSHOT: Function = Function {
    name: "personSnapshot",
    arguments: &[FIELD],
    returns: Type::Int64,
    doc: "A number of the index that personOf reads on this node: 'generation', 'entries', 'published_ms' and 'fresh_ms' \
        (when it was published, and up to when it knows changes, in milliseconds since 1970), or 'age_ms' (since fresh_ms).",
    bad_input: "Another field fails the query, and so does a missing, damaged or foreign index.",
    instead: "posthouse persons snapshot status shows the same for all nodes.",
    examples: &[],
    reads: Reads::PersonIndex,
    rule: snapshot_fields,
};

/// Name of the index's folder, beside the folders of the functions.
pub const INDEX_FOLDER: &str = "posthouse-persons";

thread_local! {
    static INDEX: RefCell<Option<PersonIndex>> = const { RefCell::new(None) };
    #[cfg(test)]
    static TEST_FOLDER: RefCell<Option<PathBuf>> = const { RefCell::new(None) };
}

/// A field that an index does not have.
#[derive(Debug, Error)]
#[error("{0:?} is no number of an index: ask for generation, entries, published_ms, fresh_ms or age_ms")]
struct UnknownField(String);

/// Calls `work` with the index. At the first rows of a block, it is the current generation.
fn with_index<T>(
    block: &Block<'_>,
    work: impl FnOnce(&mut PersonIndex) -> Result<T, RuleError>,
) -> Result<T, RuleError> {
    INDEX.with_borrow_mut(|opened| {
        let index = match opened {
            Some(index) => {
                if block.is_first() {
                    index.refresh()?;
                }
                index
            }
            None => opened.insert(PersonIndex::open(&folder()?)?),
        };
        work(index)
    })
}

/// Opens the current generation if there is a newer one, so that the disk gets the room of replaced
/// files back. Returns whether an index is open.
pub(super) fn release_replaced_files() -> bool {
    INDEX.with_borrow_mut(|opened| {
        if opened.as_mut().is_some_and(|index| index.refresh().is_err()) {
            // The next block names the fault.
            *opened = None;
        }
        opened.is_some()
    })
}

/// Returns the folder of the node's index. Programs are in folders of their release, in the node's
/// folder of user scripts.
fn folder() -> Result<PathBuf, SnapshotError> {
    #[cfg(test)]
    if let Some(folder) = TEST_FOLDER.with_borrow(Clone::clone) {
        return Ok(folder);
    }
    let unreadable = |source| SnapshotError::Unreadable { path: PathBuf::from(INDEX_FOLDER), source };
    let program = std::env::current_exe().map_err(unreadable)?;
    let scripts = program.ancestors().nth(2).unwrap_or(&program);
    Ok(scripts.join(INDEX_FOLDER))
}

/// Calls `push` with the persons of the next rows.
fn find_ids(block: &Block<'_>, mut push: impl FnMut(&[u128])) -> Result<Consumed, RuleError> {
    let (mut teams, mut strings) = (block.packed(0)?.iter().map(i64::from_le_bytes), block.strings(1)?);
    with_index(block, |index| {
        let identity = index.manifest().identity;
        let (mut team_keys, mut persons) = (TeamKeys::default(), [UNKNOWN; BATCH]);
        loop {
            let mut ids = [(0, &[][..]); BATCH];
            let mut count = 0;
            for (lane, (distinct_id, team_id)) in ids.iter_mut().zip(strings.by_ref().zip(&mut teams)) {
                *lane = (team_id, distinct_id);
                count += 1;
            }
            if count == 0 {
                return Ok(strings.consumed());
            }
            let mut batch = [Hashed::default(); BATCH];
            let keys = shard_keys(Scattered(ids.iter().map(|(_, distinct_id)| *distinct_id)));
            for ((hashed, key), (team_id, distinct_id)) in batch.iter_mut().zip(keys).zip(ids) {
                let check = identity.check(team_id, distinct_id);
                *hashed = Hashed { key: key ^ team_keys.of(team_id), check };
            }
            index.find(&batch, &mut persons)?;
            push(persons.get(..count).unwrap_or_default());
        }
    })
}

fn find_keys(block: &Block<'_>, answer: &mut Answer) -> Result<Consumed, RuleError> {
    let keys = block.packed(0)?;
    with_index(block, |index| {
        let (mut batch, mut persons) = ([0; BATCH], [UNKNOWN; BATCH]);
        for some in keys.chunks::<BATCH>() {
            batch.iter_mut().zip(some).for_each(|(lane, key)| *lane = u64::from_le_bytes(*key));
            index.find_keys(&batch, &mut persons)?;
            answer.push_uuids(persons.get(..some.len()).unwrap_or_default());
        }
        Ok(block.whole())
    })
}

fn snapshot_fields(block: &Block<'_>, answer: &mut Answer) -> Result<Consumed, RuleError> {
    let mut fields = block.strings(0)?;
    with_index(block, |index| {
        for (row, field) in block.numbers().zip(fields.by_ref()) {
            let manifest = index.manifest();
            let number = match field {
                b"generation" => manifest.generation,
                b"entries" => index.entries(),
                b"published_ms" => manifest.published_ms,
                b"fresh_ms" => manifest.fresh_ms,
                b"age_ms" => now_ms().saturating_sub(manifest.fresh_ms),
                other => {
                    let field = UnknownField(String::from_utf8_lossy(other).into_owned());
                    return Err(RuleError::row(row, FIELD.name, field));
                }
            };
            answer.push_u64(number);
        }
        Ok(fields.consumed())
    })
}

/// Makes an empty index, which the functions of this thread read until `folder` is removed.
#[cfg(test)]
pub(crate) fn use_empty_index(folder: &std::path::Path) {
    use crate::snapshot::{FileName, Identity, Manifest, VersionRange, write_file};

    let (identity, name) = (Identity { seed: 1, source: 1 }, FileName(1));
    write_file(&name.path(folder), identity, VersionRange::of(0), 0, []).unwrap();
    let manifest = Manifest {
        identity,
        generation: 7,
        published_ms: 1,
        fresh_ms: 1,
        offsets: Vec::new(),
        files: vec![name],
        shared_keys: Vec::new(),
    };
    manifest.publish(folder).unwrap();
    TEST_FOLDER.set(Some(folder.to_owned()));
}

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}
