//! Changes of the person workload, applied to random rows in a transaction.

use postgres::{Error, Transaction};
use rand::RngExt;
use rand::rngs::StdRng;

use super::database::Deletion;
use super::properties::{distinct_id, properties, uuid};
use super::workload::PersonWorkload;

/// A kind of change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Inserts a person with distinct ids. A deleted row is recreated with its uuid, at version 0;
    /// a soft-deleted row is restored, at the next version.
    Create,
    /// Changes a person's properties.
    Update,
    /// Toggles `is_identified`. The properties are unchanged, and PostgreSQL omits large unchanged
    /// values from the WAL.
    Identify,
    /// Adds or restores a distinct id.
    AddId,
    /// Deletes a distinct id.
    DeleteId,
    /// Moves a distinct id to another person.
    MoveId,
    /// Moves all distinct ids of a person to another one, and deletes the first.
    Merge,
    /// Deletes a person and its distinct ids.
    Delete,
    /// Changes the same row several times.
    Churn,
    /// Deletes a person and recreates it with the same uuid.
    Renew,
    /// Deletes and recreates a person in two overlapping transactions: see [`super::workload`].
    Overlap,
}

/// The kinds within one transaction, with their relative frequency.
const SHARES: &[(Kind, u32)] = &[
    (Kind::Create, 24),
    (Kind::Update, 20),
    (Kind::Identify, 12),
    (Kind::AddId, 12),
    (Kind::DeleteId, 3),
    (Kind::MoveId, 6),
    (Kind::Merge, 8),
    (Kind::Delete, 6),
    (Kind::Churn, 4),
    (Kind::Renew, 3),
];

/// A randomly picked person.
pub(super) struct Picked {
    pub(super) id: i64,
    pub(super) team: i32,
    pub(super) uuid: String,
}

impl Kind {
    /// Returns all kinds.
    pub fn all() -> impl Iterator<Item = Self> {
        SHARES.iter().map(|(kind, _)| *kind).chain([Self::Overlap])
    }

    pub(super) fn pick(random: &mut StdRng) -> Self {
        let mut left = random.random_range(0..SHARES.iter().map(|(_, share)| share).sum());
        for &(kind, share) in SHARES {
            if left < share {
                return kind;
            }
            left -= share;
        }
        Self::Update
    }

    /// Applies the change. Returns false if no row could be changed.
    pub(super) fn make(
        self,
        tx: &mut Transaction<'_>,
        workload: &PersonWorkload,
        random: &mut StdRng,
    ) -> Result<bool, Error> {
        if let Self::Create = self {
            return create(tx, workload, random);
        }
        let Some(person) = person(tx, workload, random)? else { return Ok(false) };
        match self {
            Self::Update => update(tx, &person, random),
            Self::Identify => identify(tx, &person),
            Self::AddId => add_id(tx, &person, workload, random),
            Self::DeleteId => {
                let Some(id) = distinct_id_of(tx, person.team, workload, random)? else { return Ok(false) };
                let deletes = match workload.deletion {
                    Deletion::Hard => "DELETE FROM posthog_persondistinctid WHERE id = $1",
                    Deletion::Soft => "UPDATE posthog_persondistinctid SET is_deleted = true WHERE id = $1",
                };
                Ok(tx.execute(deletes, &[&id])? > 0)
            }
            Self::MoveId => {
                let Some(id) = distinct_id_of(tx, person.team, workload, random)? else { return Ok(false) };
                let moves = "UPDATE posthog_persondistinctid \
                    SET person_id = $2, version = coalesce(version, 0) + 1 WHERE id = $1";
                Ok(tx.execute(moves, &[&id, &person.id])? > 0)
            }
            Self::Merge => merge(tx, &person, workload, random),
            Self::Delete => delete(tx, &person, workload.deletion),
            Self::Churn => {
                for _ in 0..random.random_range(2..5) {
                    update(tx, &person, random)?;
                    identify(tx, &person)?;
                }
                Ok(true)
            }
            Self::Renew if workload.deletion == Deletion::Soft => Ok(false),
            Self::Renew => {
                lock(tx, &person.uuid)?;
                let gone = delete(tx, &person, workload.deletion)?;
                if gone {
                    let id = insert(tx, person.team, &person.uuid, random)?;
                    add_id(tx, &Picked { id, ..person }, workload, random)?;
                }
                Ok(gone)
            }
            Self::Create | Self::Overlap => Ok(false),
        }
    }
}

/// Picks the first person of a random team at or after a random uuid.
pub(super) fn person(
    tx: &mut Transaction<'_>,
    workload: &PersonWorkload,
    random: &mut StdRng,
) -> Result<Option<Picked>, Error> {
    let (team, from) = (workload.team(random), uuid(0, random.random()));
    let next = "SELECT id, uuid::text FROM posthog_person WHERE team_id = $1 AND uuid >= $2::text::uuid \
        AND NOT is_deleted AND merged_into_id IS NULL ORDER BY uuid LIMIT 1";
    let row = tx.query_opt(next, &[&team, &from])?;
    Ok(row.map(|row| Picked { id: row.get(0), team, uuid: row.get(1) }))
}

fn distinct_id_of(
    tx: &mut Transaction<'_>,
    team: i32,
    workload: &PersonWorkload,
    random: &mut StdRng,
) -> Result<Option<i64>, Error> {
    let from = distinct_id(random.random_range(0..workload.distinct_ids));
    let next = "SELECT id FROM posthog_persondistinctid WHERE team_id = $1 AND distinct_id >= $2 \
        ORDER BY distinct_id LIMIT 1";
    Ok(tx.query_opt(next, &[&team, &from])?.map(|row| row.get(0)))
}

/// Locks a uuid until the end of the transaction. Every insert takes this lock, because no other
/// constraint prevents two persons with the same uuid.
pub(super) fn lock(tx: &mut Transaction<'_>, uuid: &str) -> Result<(), Error> {
    tx.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", &[&uuid]).map(drop)
}

fn create(tx: &mut Transaction<'_>, workload: &PersonWorkload, random: &mut StdRng) -> Result<bool, Error> {
    let team = workload.team(random);
    let uuid = uuid(team, random.random_range(0..workload.persons));
    lock(tx, &uuid)?;
    let there = "SELECT is_deleted OR merged_into_id IS NOT NULL FROM posthog_person WHERE team_id = $1 AND uuid = $2::text::uuid";
    match tx.query_opt(there, &[&team, &uuid])?.map(|row| row.get(0)) {
        None => {}
        Some(false) => return Ok(false),
        Some(true) => {
            let revives = "UPDATE posthog_person SET is_deleted = false, merged_into_id = NULL, \
                version = coalesce(version, 0) + 1 WHERE team_id = $1 AND uuid = $2::text::uuid";
            return Ok(tx.execute(revives, &[&team, &uuid])? > 0);
        }
    }
    let person = Picked { id: insert(tx, team, &uuid, random)?, team, uuid };
    for _ in 0..random.random_range(1..4) {
        add_id(tx, &person, workload, random)?;
    }
    Ok(true)
}

pub(super) fn insert(
    tx: &mut Transaction<'_>,
    team: i32,
    uuid: &str,
    random: &mut StdRng,
) -> Result<i64, Error> {
    // With microseconds, which ClickHouse truncates.
    let created_at_us = random.random_range(0..2_000_000_000_000_000_i64);
    let inserts = "INSERT INTO posthog_person (uuid, team_id, properties, created_at, version) \
        VALUES ($1::text::uuid, $2, $3::text::jsonb, to_timestamp(0) + $4::bigint * interval '1 microsecond', 0) \
        RETURNING id";
    Ok(tx.query_one(inserts, &[&uuid, &team, &properties(random), &created_at_us])?.get(0))
}

pub(super) fn add_id(
    tx: &mut Transaction<'_>,
    person: &Picked,
    workload: &PersonWorkload,
    random: &mut StdRng,
) -> Result<bool, Error> {
    let distinct_id = distinct_id(random.random_range(0..workload.distinct_ids));
    let adds = "INSERT INTO posthog_persondistinctid (team_id, distinct_id, person_id, version) \
        VALUES ($1, $2, $3, 0) ON CONFLICT (team_id, distinct_id) DO UPDATE SET is_deleted = false, \
        person_id = excluded.person_id WHERE posthog_persondistinctid.is_deleted";
    Ok(tx.execute(adds, &[&person.team, &distinct_id, &person.id])? > 0)
}

fn update(tx: &mut Transaction<'_>, person: &Picked, random: &mut StdRng) -> Result<bool, Error> {
    let updates = "UPDATE posthog_person SET properties = $2::text::jsonb, version = coalesce(version, 0) + 1 \
        WHERE id = $1";
    Ok(tx.execute(updates, &[&person.id, &properties(random)])? > 0)
}

fn identify(tx: &mut Transaction<'_>, person: &Picked) -> Result<bool, Error> {
    let identifies = "UPDATE posthog_person SET is_identified = NOT is_identified, \
        version = coalesce(version, 0) + 1 WHERE id = $1";
    Ok(tx.execute(identifies, &[&person.id])? > 0)
}

fn merge(
    tx: &mut Transaction<'_>,
    into: &Picked,
    workload: &PersonWorkload,
    random: &mut StdRng,
) -> Result<bool, Error> {
    let Some(source) = person(tx, workload, random)? else { return Ok(false) };
    if source.team != into.team || source.id == into.id {
        return Ok(false);
    }
    if workload.deletion == Deletion::Soft {
        let merges =
            "UPDATE posthog_person SET merged_into_id = $2, version = coalesce(version, 0) + 1 WHERE id = $1";
        return Ok(tx.execute(merges, &[&source.id, &into.id])? > 0);
    }
    let moves = "UPDATE posthog_persondistinctid SET person_id = $2, version = coalesce(version, 0) + 1 \
        WHERE person_id = $1";
    tx.execute(moves, &[&source.id, &into.id])?;
    update(tx, into, random)?;
    Ok(tx.execute("DELETE FROM posthog_person WHERE id = $1", &[&source.id])? > 0)
}

pub(super) fn delete(tx: &mut Transaction<'_>, person: &Picked, deletion: Deletion) -> Result<bool, Error> {
    let [distinct_ids, persons] = match deletion {
        Deletion::Hard => [
            "DELETE FROM posthog_persondistinctid WHERE person_id = $1",
            "DELETE FROM posthog_person WHERE id = $1",
        ],
        Deletion::Soft => [
            "UPDATE posthog_persondistinctid SET is_deleted = true WHERE person_id = $1",
            "UPDATE posthog_person SET is_deleted = true, properties = '{}' WHERE id = $1",
        ],
    };
    tx.execute(distinct_ids, &[&person.id])?;
    Ok(tx.execute(persons, &[&person.id])? > 0)
}
