//! Traffic of a product, reproducible by seed: visits with events, persons, groups and clicks.
//!
//! Events are messages as the application sends them. Persons are transactions on the tables of
//! [`crate::people::PersonDatabase`]. The same model gives the rows of an oracle, so that queries
//! of a cluster can be compared with those of one plain table.

mod elements;
mod event;
mod register;
mod visits;

use serde_json::{Map, Value, json};
use uuid::Uuid;

pub use self::event::TrafficEvent;
use self::event::time;
pub use self::register::{Owner, PersonRegister, RegisteredPerson};
use self::visits::Visits;

/// 2026-09-14 00:00:00 UTC, a Monday, in µs.
const START: i64 = 1_789_344_000_000_000;
/// Days of the visits. They begin in one month and end in the next.
const DAYS: u32 = 28;

/// Generated events and changes of persons.
#[derive(Debug)]
pub struct Traffic {
    /// In the order of their timestamps.
    pub events: Vec<TrafficEvent>,
    pub register: PersonRegister,
}

impl Traffic {
    /// Generates `visits` of `visitors`. The same arguments give the same traffic.
    pub fn new(seed: u64, visitors: usize, visits: usize) -> Self {
        Visits::of(seed, visitors, visits)
    }

    /// Rows of the events table of an oracle: the columns of `events`, and the event's person by
    /// the live distinct ids (zero without one) and by overrides.
    pub fn oracle_events(&self) -> Vec<Map<String, Value>> {
        let row = |event: &TrafficEvent| {
            let owner = self.owner(event);
            let live = owner.filter(|owner| owner.is_live).map(|owner| owner.person);
            // Queries leave out the overrides of deleted distinct ids.
            let overridden = live.unwrap_or(event.ingested_person());
            let live = live.unwrap_or_default();
            let mut row = event.oracle_row();
            row.insert("live_person".to_owned(), live.to_string().into());
            row.insert("overridden_person".to_owned(), overridden.to_string().into());
            row
        };
        self.events.iter().map(row).collect()
    }

    fn owner(&self, event: &TrafficEvent) -> Option<Owner> {
        self.register.owners.get(&(event.team, event.distinct_id.clone())).copied()
    }

    /// Rows of the persons table of an oracle.
    pub fn oracle_persons(&self) -> Vec<Value> {
        let row = |(id, person): (&Uuid, &RegisteredPerson)| {
            json!({
                "id": id,
                "team_id": person.team,
                "properties": Value::Object(person.properties.clone()).to_string(),
                "is_identified": u8::from(person.is_identified),
                "created_at": time(person.created, 3),
            })
        };
        self.register.persons.iter().map(row).collect()
    }

    /// Rows of the table of live distinct ids of an oracle.
    pub fn oracle_ids(&self) -> Vec<Value> {
        let live = self.register.owners.iter().filter(|(_, owner)| owner.is_live);
        live.map(|((team, distinct_id), owner)| {
            json!({"team_id": team, "distinct_id": distinct_id, "person_id": owner.person})
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_traffic() {
        let text = |seed| format!("{:?}", Traffic::new(seed, 30, 100));
        assert_eq!(text(5), text(5));
        assert_ne!(text(5), text(6));
    }

    #[test]
    fn has_every_kind_of_event_and_change() {
        let traffic = Traffic::new(1, 60, 600);
        for event in ["$pageview", "$autocapture", "purchase", "signup", "$identify", "$pageleave"] {
            assert!(traffic.events.iter().any(|known| known.event == event), "{event}");
        }
        let changes = &traffic.register.changes;
        for kind in
            ["created", "known id added", "anonymous id added", "merged", "updated", "deleted", "revived"]
        {
            assert!(changes.contains_key(kind), "{kind}: {changes:?}");
        }
        assert!(traffic.events.windows(2).all(|pair| pair[0].timestamp < pair[1].timestamp));
        let personless = traffic.events.iter().filter(|event| event.person.mode == "propertyless").count();
        let groups = traffic.events.iter().filter(|event| event.group.is_some()).count();
        assert!(personless > 10 && groups > 10, "{personless} personless, {groups} with a group");
    }
}
