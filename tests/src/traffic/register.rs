//! Register of persons: a model of the application's tables, with the SQL of each change.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::{Rng, RngExt};
use serde_json::{Map, Value};
use uuid::{Builder, Uuid};

/// A person as the register has it.
#[derive(Debug, Clone)]
pub struct RegisteredPerson {
    pub team: i64,
    pub properties: Map<String, Value>,
    pub is_identified: bool,
    /// µs since 1970, UTC, in whole milliseconds.
    pub created: i64,
}

/// The last person of a distinct id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    pub person: Uuid,
    /// Whether the distinct id still exists.
    pub is_live: bool,
}

/// Persons and distinct ids, changed as by the application.
#[derive(Debug, Default)]
pub struct PersonRegister {
    pub persons: BTreeMap<Uuid, RegisteredPerson>,
    /// By team and distinct id. Deleted distinct ids keep their last person.
    pub owners: BTreeMap<(i64, String), Owner>,
    /// Distinct ids with events from before they had a person.
    pub(super) personless: BTreeMap<(i64, String), Uuid>,
    /// One transaction each, in order.
    pub transactions: Vec<String>,
    /// Counts of changes by kind, so that a test can require each.
    pub changes: BTreeMap<&'static str, usize>,
}

/// A random uuid of version 4.
pub(super) fn random_uuid(random: &mut impl Rng) -> Uuid {
    Builder::from_random_bytes(random.random()).into_uuid()
}

/// A text in a statement of PostgreSQL.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

impl PersonRegister {
    /// The person of a distinct id, unless it is deleted or was never registered.
    pub(super) fn person(&self, team: i64, distinct_id: &str) -> Option<Uuid> {
        let owner = self.owners.get(&(team, distinct_id.to_owned()))?;
        owner.is_live.then_some(owner.person)
    }

    fn record(&mut self, kind: &'static str, transaction: String) {
        *self.changes.entry(kind).or_default() += 1;
        self.transactions.push(format!("BEGIN; {transaction} COMMIT;"));
    }

    /// Creates a person with its first distinct id. One that was deleted comes back as another
    /// person.
    pub(super) fn create(&mut self, team: i64, distinct_id: &str, created: i64, random: &mut StdRng) -> Uuid {
        let uuid = random_uuid(random);
        let created = created / 1_000 * 1_000;
        let person = RegisteredPerson { team, properties: Map::new(), is_identified: false, created };
        self.persons.insert(uuid, person);
        let kind = match self.owners.contains_key(&(team, distinct_id.to_owned())) {
            true => "revived",
            false => "created",
        };
        let add = self.add(team, distinct_id, uuid);
        self.record(
            kind,
            format!(
                "INSERT INTO posthog_person (uuid, team_id, created_at, version) \
                 VALUES ('{uuid}', {team}, to_timestamp(0) + {created} * interval '1 microsecond', 0); {add}"
            ),
        );
        uuid
    }

    /// The statement that adds a distinct id.
    fn add(&mut self, team: i64, distinct_id: &str, person: Uuid) -> String {
        let key = (team, distinct_id.to_owned());
        // The application says so if events can have another person.
        let version = u8::from(self.personless.contains_key(&key));
        self.owners.insert(key, Owner { person, is_live: true });
        format!(
            "INSERT INTO posthog_persondistinctid (team_id, distinct_id, person_id, version) \
             SELECT {team}, {}, id, {version} FROM posthog_person WHERE uuid = '{person}';",
            quoted(distinct_id)
        )
    }

    /// Joins an anonymous distinct id and a known one, and returns their person: the known one's,
    /// if it has one.
    pub(super) fn identify(
        &mut self,
        team: i64,
        (anonymous, known): (&str, &str),
        created: i64,
        random: &mut StdRng,
    ) -> Uuid {
        match (self.person(team, anonymous), self.person(team, known)) {
            (Some(one), Some(other)) if one == other => one,
            (Some(source), Some(target)) => {
                self.merge(source, target);
                target
            }
            (Some(person), None) => {
                let add = self.add(team, known, person);
                self.record("known id added", add);
                person
            }
            (None, Some(person)) => {
                let add = self.add(team, anonymous, person);
                self.record("anonymous id added", add);
                person
            }
            (None, None) => {
                let person = self.create(team, known, created, random);
                let add = self.add(team, anonymous, person);
                self.record("anonymous id added", add);
                person
            }
        }
    }

    /// Moves all distinct ids of `source`, and deletes it.
    fn merge(&mut self, source: Uuid, target: Uuid) {
        for owner in self.owners.values_mut().filter(|owner| owner.is_live && owner.person == source) {
            owner.person = target;
        }
        self.persons.remove(&source);
        self.record(
            "merged",
            format!(
                "UPDATE posthog_persondistinctid SET version = coalesce(version, 0) + 1, \
                 person_id = (SELECT id FROM posthog_person WHERE uuid = '{target}') \
                 WHERE person_id = (SELECT id FROM posthog_person WHERE uuid = '{source}'); \
                 DELETE FROM posthog_person WHERE uuid = '{source}';"
            ),
        );
    }

    /// Sets properties.
    pub(super) fn set(&mut self, uuid: Uuid, properties: Map<String, Value>, is_identified: bool) {
        let Some(person) = self.persons.get_mut(&uuid) else { return };
        person.properties.extend(properties);
        person.is_identified |= is_identified;
        let text = quoted(&Value::Object(person.properties.clone()).to_string());
        let update = format!(
            "UPDATE posthog_person SET properties = {text}::jsonb, is_identified = {}, version = version + 1 \
             WHERE uuid = '{uuid}';",
            person.is_identified
        );
        self.record("updated", update);
    }

    /// Deletes a person with its distinct ids.
    pub(super) fn delete(&mut self, uuid: Uuid) {
        self.persons.remove(&uuid);
        for owner in self.owners.values_mut().filter(|owner| owner.person == uuid) {
            owner.is_live = false;
        }
        self.record(
            "deleted",
            format!(
                "DELETE FROM posthog_persondistinctid \
                 WHERE person_id = (SELECT id FROM posthog_person WHERE uuid = '{uuid}'); \
                 DELETE FROM posthog_person WHERE uuid = '{uuid}';"
            ),
        );
    }
}
