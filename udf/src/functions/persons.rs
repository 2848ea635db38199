//! Functions on persons: choosing the current one of many versions.

use std::iter;

use super::{Argument, Example, Function, Reads, RuleError, Type};
use crate::person::{Uneven, Version, latest, latest_person};
use crate::wire::{Block, Consumed};

const VERSIONS: Argument = Argument { name: "versions", data_type: Type::Array(&Type::Int64) };
const PERSON_IDS: Argument = Argument { name: "person_ids", data_type: Type::Array(&Type::Uuid) };
const DELETED: Argument = Argument { name: "deleted", data_type: Type::Array(&Type::UInt8) };

const BAD_VERSIONS: &str = "Arrays of different lengths fail the query, with the row's number in its block.";
const INSTEAD: &str = "If the versions are in rows and no two of an id are equal, prefer the built-in argMax(person_id, \
    version) with HAVING argMax(is_deleted, version) = 0. It takes a third of the time, because it needs no groupArray. \
    For the same rule with ties, the function is faster than argMax over (version, is_deleted, person_id) \
    (`make bench BENCH=udf`). It is fastest on versions that are already in arrays.";

pub(super) static PERSON_LATEST: Function = Function {
    name: "personLatest",
    arguments: &[VERSIONS, PERSON_IDS, DELETED],
    returns: Type::Nullable(&Type::Uuid),
    doc: "The current person of a distinct id, given all of its versions in any order. The greatest version wins. If it \
        is a deletion, the result is NULL. Among equal versions a deletion wins, then the greatest person id. Without \
        versions the result is NULL.",
    bad_input: BAD_VERSIONS,
    instead: INSTEAD,
    examples: &[
        Example {
            call: "personLatest([1, 3, 2]::Array(Int64), [toUUID('00000000-0000-0000-0000-000000000001'), \
                toUUID('00000000-0000-0000-0000-000000000003'), toUUID('00000000-0000-0000-0000-000000000002')], [0, 0, 1])",
            answer: "00000000-0000-0000-0000-000000000003",
        },
        Example {
            call: "personLatest([1, 2]::Array(Int64), [toUUID('00000000-0000-0000-0000-000000000001'), \
                toUUID('00000000-0000-0000-0000-000000000001')], [0, 1])",
            answer: "NULL",
        },
        Example {
            call: "personLatest([5, 5]::Array(Int64), [toUUID('ff000000-0000-0000-0000-000000000001'), \
                toUUID('01000000-0000-0000-0000-000000000002')], [0, 0])",
            answer: "01000000-0000-0000-0000-000000000002",
        },
    ],
    reads: Reads::Arguments,
    rule: |block, answer| {
        each(block, |versions| {
            let person = latest_person(versions);
            answer.push_nullable_uuid(person.map(u128::to_le_bytes));
        })
    },
};

pub(super) static PERSON_IS_LIVE: Function = Function {
    name: "personIsLive",
    arguments: &[VERSIONS, PERSON_IDS, DELETED],
    returns: Type::UInt8,
    doc: "1 if the current version, by the rule of personLatest, is not a deletion. 0 if it is one, or without versions.",
    bad_input: BAD_VERSIONS,
    instead: INSTEAD,
    examples: &[
        Example {
            call: "personIsLive([1, 2]::Array(Int64), [generateUUIDv4(), generateUUIDv4()], [1, 0])",
            answer: "1",
        },
        Example {
            call: "personIsLive([2, 2]::Array(Int64), [generateUUIDv4(), generateUUIDv4()], [1, 0])",
            answer: "0",
        },
    ],
    reads: Reads::Arguments,
    rule: |block, answer| {
        each(block, |versions| {
            let live = latest(versions).is_some_and(|latest| !latest.is_deleted);
            answer.push_u8(u8::from(live));
        })
    },
};

/// Calls `decide` with the versions of each row.
fn each(
    block: &Block<'_>,
    mut decide: impl FnMut(&mut dyn Iterator<Item = Version>),
) -> Result<Consumed, RuleError> {
    let rows = iter::zip(block.arrays(0)?.iter(), block.arrays(1)?.iter()).zip(block.arrays(2)?.iter());
    for (row, ((versions, person_ids), deleted)) in block.numbers().zip(rows) {
        if versions.len() != person_ids.len() || versions.len() != deleted.len() {
            let uneven =
                Uneven { versions: versions.len(), person_ids: person_ids.len(), deleted: deleted.len() };
            return Err(RuleError::row(row, VERSIONS.name, uneven));
        }
        let mut versions = versions.iter().zip(person_ids.iter()).zip(deleted.iter()).map(
            |((version, person_id), [deleted])| Version {
                version: i64::from_le_bytes(version),
                is_deleted: deleted != 0,
                // In ClickHouse's order the second half on the wire is the more significant one, as
                // in this integer.
                person_id: u128::from_le_bytes(person_id),
            },
        );
        decide(&mut versions);
    }
    Ok(block.whole())
}
