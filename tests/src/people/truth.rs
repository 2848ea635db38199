//! What PostgreSQL has, and what a node shows by plain SQL: the same rows in the same shape.

use std::collections::BTreeMap;

use anyhow::Context;
use postgres::{Client, IsolationLevel};

use super::difference::{Differences, differences};
use super::town::Town;
use crate::site::Site;

/// Persons by team and uuid.
pub type Persons = BTreeMap<(i64, String), Person>;
/// The person's uuid, by team and distinct id.
pub type DistinctIds = BTreeMap<(i64, String), String>;

/// What is known of a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// As PostgreSQL writes its `jsonb`.
    pub properties: String,
    /// Whether somebody knows who it is.
    pub is_identified: bool,
    /// In whole milliseconds since 1970, UTC, within what ClickHouse holds: 1900 to 2299.
    pub created_at_ms: i64,
}

/// Both tables.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct People {
    /// Persons that are there.
    pub persons: Persons,
    /// Distinct ids that are there.
    pub distinct_ids: DistinctIds,
}

const POSTGRES_PERSONS: &str = "SELECT team_id::bigint, uuid::text, properties::text, is_identified, \
    CASE WHEN created_at < '1900-01-01 00:00+00' THEN -2208988800000 WHEN created_at >= '2300-01-01 00:00+00' \
    THEN 10413791999999 ELSE floor(extract(epoch FROM created_at) * 1000)::bigint END, id, is_deleted, merged_into_id \
    FROM posthog_person";
const POSTGRES_DISTINCT_IDS: &str =
    "SELECT team_id::bigint, distinct_id, person_id FROM posthog_persondistinctid WHERE NOT is_deleted";
/// A person that was merged more often is nobody, as one that was merged in a circle.
const MAX_MERGES: usize = 16;
/// The one deletion rule: the latest version says whether a row is there.
const NODE_PERSONS: &str = "SELECT toString(team_id), toString(id), argMax(properties, version), \
    toString(argMax(is_identified, version)), \
    toString(toUnixTimestamp64Milli(argMax(created_at, version))) \
    FROM {db}.person GROUP BY team_id, id HAVING argMax(is_deleted, version) = 0 FORMAT JSONCompactEachRow";
const NODE_DISTINCT_IDS: &str = "SELECT toString(team_id), distinct_id, toString(argMax(person_id, version)) \
    FROM {db}.person_distinct_id GROUP BY team_id, distinct_id \
    HAVING argMax(is_deleted, version) = 0 FORMAT JSONCompactEachRow";

impl People {
    /// What `seen` has otherwise, this being the truth.
    pub fn differences(&self, seen: &Self) -> Differences {
        differences("person", &self.persons, &seen.persons).and(differences(
            "distinct id",
            &self.distinct_ids,
            &seen.distinct_ids,
        ))
    }
}

/// Both tables of a town at one moment.
pub(super) fn in_postgres(client: &mut Client) -> anyhow::Result<People> {
    let snapshot = client.build_transaction().isolation_level(IsolationLevel::RepeatableRead).read_only(true);
    let mut snapshot = snapshot.start()?;
    let mut people = People::default();
    // By the primary key: the uuid, whether it is deleted, and whom it was merged into.
    let mut rows: BTreeMap<i64, (String, bool, Option<i64>)> = BTreeMap::new();
    for row in snapshot.query(POSTGRES_PERSONS, &[])? {
        let (uuid, is_deleted, merged_into): (String, bool, Option<i64>) =
            (row.get(1), row.get(6), row.get(7));
        rows.insert(row.get(5), (uuid.clone(), is_deleted, merged_into));
        if is_deleted || merged_into.is_some() {
            continue;
        }
        let person = Person { properties: row.get(2), is_identified: row.get(3), created_at_ms: row.get(4) };
        let twice = people.persons.insert((row.get(0), uuid.clone()), person);
        anyhow::ensure!(twice.is_none(), "two persons have the uuid {uuid}");
    }
    for row in snapshot.query(POSTGRES_DISTINCT_IDS, &[])? {
        let mut person = row.get::<_, Option<i64>>(2).and_then(|id| rows.get(&id));
        for _ in 0..MAX_MERGES {
            match person {
                Some((_, false, Some(into))) => person = rows.get(into),
                _ => break,
            }
        }
        if let Some((uuid, false, None)) = person {
            people.distinct_ids.insert((row.get(0), row.get(1)), uuid.clone());
        }
    }
    Ok(people)
}

/// What the node at `index` shows of the tables `person` and `person_distinct_id` of a site.
///
/// # Errors
/// When the node does not answer, or with something else.
pub fn on_node(site: &Site<'_>, index: usize) -> anyhow::Result<People> {
    let mut people = People::default();
    for line in site.query_on(index, NODE_PERSONS)?.lines() {
        let [team, uuid, properties, is_identified, created_at] = serde_json::from_str::<[String; 5]>(line)?;
        let person = Person {
            properties,
            is_identified: is_identified == "1",
            created_at_ms: created_at.parse().with_context(|| format!("created_at is {created_at}"))?,
        };
        people.persons.insert((team.parse()?, uuid), person);
    }
    for line in site.query_on(index, NODE_DISTINCT_IDS)?.lines() {
        let [team, distinct_id, person] = serde_json::from_str::<[String; 3]>(line)?;
        people.distinct_ids.insert((team.parse()?, distinct_id), person);
    }
    Ok(people)
}

/// What the nodes of a site show otherwise than a town has it, all together.
///
/// # Errors
/// When PostgreSQL or a node does not answer.
pub fn on_nodes(site: &Site<'_>, town: &Town<'_>) -> anyhow::Result<Differences> {
    let truth = town.people()?;
    (0..site.stack.nodes().len())
        .try_fold(Differences::default(), |all, node| Ok(all.and(truth.differences(&on_node(site, node)?))))
}
