//! Person rows in PostgreSQL and on a node, in one comparable form.

use std::collections::BTreeMap;

use anyhow::Context;
use postgres::{Client, IsolationLevel};

use super::database::PersonDatabase;
use super::difference::{Differences, differences};
use crate::site::Site;

/// Persons by team and uuid.
pub type Persons = BTreeMap<(i64, String), Person>;
/// The person's uuid, by team and distinct id.
pub type DistinctIds = BTreeMap<(i64, String), String>;

/// The compared columns of a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// As PostgreSQL prints its `jsonb`.
    pub properties: String,
    pub is_identified: bool,
    /// In whole milliseconds since 1970, UTC, clamped to ClickHouse's range: 1900 to 2299.
    pub created_at_ms: i64,
}

/// Rows of both tables.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct People {
    /// Persons that aren't deleted or merged.
    pub persons: Persons,
    /// Distinct ids of these persons.
    pub distinct_ids: DistinctIds,
}

const POSTGRES_PERSONS: &str = "SELECT team_id::bigint, uuid::text, properties::text, is_identified, \
    CASE WHEN created_at < '1900-01-01 00:00+00' THEN -2208988800000 WHEN created_at >= '2300-01-01 00:00+00' \
    THEN 10413791999999 ELSE floor(extract(epoch FROM created_at) * 1000)::bigint END, id, is_deleted, merged_into_id \
    FROM posthog_person";
const POSTGRES_DISTINCT_IDS: &str =
    "SELECT team_id::bigint, distinct_id, person_id FROM posthog_persondistinctid WHERE NOT is_deleted";
/// Limit on merges followed for a distinct id. A longer chain, or a circle, has no person.
const MAX_MERGES: usize = 16;
/// The deletion rule: the latest version says whether the row exists.
const NODE_PERSONS: &str = "SELECT toString(team_id), toString(id), argMax(properties, version), \
    toString(argMax(is_identified, version)), \
    toString(toUnixTimestamp64Milli(argMax(created_at, version))) \
    FROM {db}.person GROUP BY team_id, id HAVING argMax(is_deleted, version) = 0 FORMAT JSONCompactEachRow";
const NODE_DISTINCT_IDS: &str = "SELECT toString(team_id), distinct_id, toString(argMax(person_id, version)) \
    FROM {db}.person_distinct_id GROUP BY team_id, distinct_id \
    HAVING argMax(is_deleted, version) = 0 FORMAT JSONCompactEachRow";

impl People {
    /// Compares `seen` with these rows as the truth.
    pub fn differences(&self, seen: &Self) -> Differences {
        differences("person", &self.persons, &seen.persons).and(differences(
            "distinct id",
            &self.distinct_ids,
            &seen.distinct_ids,
        ))
    }
}

/// Reads both tables of a person database in one snapshot.
pub(super) fn in_postgres(client: &mut Client) -> anyhow::Result<People> {
    let snapshot = client.build_transaction().isolation_level(IsolationLevel::RepeatableRead).read_only(true);
    let mut snapshot = snapshot.start()?;
    let mut people = People::default();
    // By primary key: uuid, whether the person is deleted, and the merge target.
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

/// Reads a site's tables `person` and `person_distinct_id` on the node at `index`.
///
/// # Errors
/// Fails if the node doesn't answer, or returns other columns.
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

/// Compares all nodes of a site with a person database, and returns the sum of differences.
///
/// # Errors
/// Fails if PostgreSQL or a node doesn't answer.
pub fn on_nodes(site: &Site<'_>, database: &PersonDatabase<'_>) -> anyhow::Result<Differences> {
    let truth = database.people()?;
    (0..site.stack.nodes().len())
        .try_fold(Differences::default(), |all, node| Ok(all.and(truth.differences(&on_node(site, node)?))))
}
