//! Evaluation of catalogs with one changed value each.

use std::path::Path;

use serde_json::{Value, json};

use super::judge::judge;
use super::{Catalog, Guarantees, Requirement, RequirementState, script, unmet};
use crate::config::{Config, Postgres};

fn config() -> Postgres {
    let text = "kafka.brokers = [\"127.0.0.1:1\"]\n[[shards]]\n[[shards.replicas]]\nname = \"a\"\nurl = \"http://a:1\"\n\
         address = \"a:2\"\n[persons.postgres]\naddress = \"b:3\"\ndatabase = \"app\"\nuser = \"posthouse\"\n\
         publication = \"UpperCase\"\n";
    let config = Config::parse(text, Path::new("")).expect("a config");
    config.persons.and_then(|persons| persons.postgres).expect("a source")
}

/// A table that meets every requirement, of this kind (`r` or `p`).
fn table(name: &str, kind: &str, columns: &[(&str, u32)], leaves: &[&str], identity: &[&str]) -> Value {
    let column = |(name, type_id): &(&str, u32)| json!({"name": name, "type_id": type_id, "is_not_null": true, "may_select": true});
    let leaf = |name: &&str| json!({"schema": "public", "name": name, "kind": "r", "oid": 8, "file": 9, "first_of_indexes": ["id"], "identity": identity});
    json!({
        "schema": "public", "name": name, "oid": 7, "kind": kind, "may_use_schema": true,
        "is_owner": true, "has_row_security": false, "unique": [["id"], identity[..2]], "references": [7],
        "columns": columns.iter().map(column).collect::<Vec<_>>(),
        "leaves": leaves.iter().map(leaf).collect::<Vec<_>>(),
    })
}

/// A source that meets every requirement.
fn catalog() -> Value {
    let person = [
        ("id", 20),
        ("team_id", 23),
        ("uuid", 2950),
        ("is_identified", 16),
        ("created_at", 1184),
        ("properties", 3802),
    ];
    let distinct_id = [("id", 20), ("team_id", 23), ("distinct_id", 1043), ("person_id", 20)];
    let published = |name: &str| json!({"schema": "public", "name": name, "columns": null, "filter": null});
    json!({
        "server": {"version": 180_001, "wal_level": "logical", "is_standby": false, "max_slots": 10, "slots": 1,
            "max_senders": 10, "senders": 0},
        "role": {"name": "post\"house", "may_replicate": true, "may_create": true},
        "tables": [
            table("posthog_person", "p", &person, &["posthog_person_p0", "posthog_person_p1"],
                &["team_id", "uuid", "id"]),
            table("posthog_persondistinctid", "r", &distinct_id, &["posthog_persondistinctid"],
                &["team_id", "distinct_id", "id"]),
        ],
        "publication": {"oid": 5, "entries": [6], "has_all_kinds": true, "via_root": true,
            "tables": [published("posthog_person"), published("posthog_persondistinctid")]},
        "slot": {"plugin": "pgoutput", "database": "app", "is_active": false, "is_lost": false,
            "invalidation_reason": null, "is_temporary": false, "is_two_phase": false},
        "prepared": [],
    })
}

/// The requirements of a catalog with one changed value.
fn judged(pointer: &str, value: Value) -> Vec<Requirement> {
    let mut catalog = catalog();
    *catalog.pointer_mut(pointer).expect("a value") = value;
    let catalog: Catalog = serde_json::from_value(catalog).expect("a catalog");
    judge(&config(), &catalog)
}

/// The only fault of that catalog, and the script.
fn fault(pointer: &str, value: Value) -> (String, String) {
    let unmet = unmet(judged(pointer, value)).expect("a fault").requirements;
    let [fault] = &unmet[..] else { panic!("{unmet:#?}") };
    (format!("{}: {}", fault.subject, fault.found), script(&unmet))
}

#[test]
fn finds_nothing_wrong_with_a_source_that_has_everything() {
    let requirements = judged("/prepared", json!([]));
    assert!(requirements.iter().all(|met| met.state == RequirementState::Ok), "{requirements:#?}");
    assert_eq!((unmet(requirements.clone()), script(&requirements)), (None, String::new()));
}

#[test]
fn names_each_fault_with_its_statement() {
    let cases: [(&str, Value, &str, &str); 17] = [
        (
            "/server/wal_level",
            json!("replica"),
            "wal_level: is replica",
            "ALTER SYSTEM SET wal_level = 'logical';",
        ),
        ("/server/is_standby", json!(true), "is a standby: set persons.postgres.address to the primary", ""),
        ("/server/version", json!(130_002), "PostgreSQL 13, must be 14 or newer", ""),
        ("/server/senders", json!(10), "all 10 are in use", "ALTER SYSTEM SET max_wal_senders = 12;"),
        (
            "/role/may_replicate",
            json!(false),
            "may not replicate",
            "ALTER ROLE \"post\"\"house\" REPLICATION;",
        ),
        (
            "/tables/0/columns/4/may_select",
            json!(false),
            "may not be read",
            "GRANT SELECT ON \"public\".\"posthog_person\" TO \"post\"\"house\";",
        ),
        (
            "/tables/1/has_row_security",
            json!(true),
            "would hide rows",
            "ALTER ROLE \"post\"\"house\" BYPASSRLS;",
        ),
        ("/tables/0/kind", json!("v"), "is not a table", ""),
        ("/tables/0/name", json!("person"), "does not exist in database app", ""),
        ("/tables/0/columns/2/type_id", json!(25), "it must be uuid", ""),
        (
            "/tables/0/leaves/1/identity",
            json!(["team_id", "id"]),
            "deletions of 1 of 2 partitions do not have uuid, needed to identify the row: posthog_person_p1",
            "ON \"public\".\"posthog_person_p1\" (\"team_id\", \"uuid\", \"id\");",
        ),
        (
            "/tables/1/leaves/0/identity",
            json!(["id"]),
            "deletions do not have team_id, distinct_id",
            "REPLICA IDENTITY USING INDEX \"posthouse_identity_8\";",
        ),
        ("/tables/0/leaves/0/kind", json!("f"), "partition posthog_person_p0 is a foreign table", ""),
        (
            "/publication/via_root",
            json!(false),
            "partitions under their own names",
            "ALTER PUBLICATION \"UpperCase\" SET (publish_via_partition_root = true);",
        ),
        (
            "/publication/tables/1/filter",
            json!("(team_id = 2)"),
            "publishes only rows of public.posthog_persondistinctid",
            "ADD TABLE \"public\".\"posthog_persondistinctid\";",
        ),
        (
            "/publication/tables/0/columns",
            json!(["id", "team_id", "uuid"]),
            "is_identified, created_at, properties",
            "DROP TABLE \"public\".\"posthog_person\";",
        ),
        ("/slot/is_two_phase", json!(true), "two_phase", "SELECT pg_drop_replication_slot('posthouse');"),
    ];
    for (pointer, value, found, statement) in cases {
        // A missing table is also missing in the publication.
        if pointer.ends_with("/name") {
            let unmet = unmet(judged(pointer, value)).expect("faults").to_string();
            assert!(unmet.contains(found), "{unmet}");
            continue;
        }
        let (text, script) = fault(pointer, value);
        assert!(text.contains(found) && script.contains(statement), "{pointer}: {text}\n{script}");
        assert_eq!(script.is_empty(), statement.is_empty(), "{script}");
    }
}

#[test]
fn takes_whole_rows_as_identity_where_a_column_may_be_null() {
    let mut source = catalog();
    source["tables"][0]["columns"][2]["is_not_null"] = json!(false);
    source["tables"][0]["leaves"][0]["identity"] = json!([]);
    let catalog: Catalog = serde_json::from_value(source).expect("a catalog");
    let script = script(&judge(&config(), &catalog));
    assert_eq!(script, "  ALTER TABLE \"public\".\"posthog_person_p0\" REPLICA IDENTITY FULL;\n");
}

#[test]
fn makes_a_publication_only_where_the_role_may() {
    let mut source = catalog();
    (source["publication"], source["slot"]) = (Value::Null, Value::Null);
    let made: Catalog = serde_json::from_value(source.clone()).expect("a catalog");
    assert_eq!(unmet(judge(&config(), &made)), None);
    let dropped = unmet(judged("/publication", Value::Null)).expect("a fault").to_string();
    assert!(dropped.contains("no longer exists, but the slot does"), "{dropped}");
    source["tables"][1]["is_owner"] = json!(false);
    let catalog: Catalog = serde_json::from_value(source).expect("a catalog");
    let unmet = unmet(judge(&config(), &catalog)).expect("a fault").to_string();
    assert!(
        unmet.contains("CREATE PUBLICATION \"UpperCase\" FOR TABLE")
            && unmet.contains("via_partition_root = true"),
        "{unmet}"
    );
}

#[test]
fn names_prepared_transactions_that_a_new_slot_waits_for() {
    let prepared = json!([{"name": "it's", "database": "other", "owner": "app", "seconds": 90}]);
    assert_eq!(unmet(judged("/prepared", prepared.clone())), None, "the slot exists");
    let mut source = catalog();
    (source["slot"], source["prepared"]) = (Value::Null, prepared);
    let catalog: Catalog = serde_json::from_value(source).expect("a catalog");
    let waits: Vec<_> = judge(&config(), &catalog)
        .into_iter()
        .filter(|requirement| requirement.state == RequirementState::Blocks)
        .collect();
    assert!(waits.len() == 1 && waits[0].found.contains("open for 90 s"), "{waits:#?}");
    assert!(waits[0].fix[0].contains("ROLLBACK PREPARED 'it''s';"), "{waits:#?}");
}

#[test]
fn knows_what_the_source_keeps_from_happening() {
    let guarantees = |change: fn(&mut Value)| {
        let mut source = catalog();
        change(&mut source);
        let catalog: Catalog = serde_json::from_value(source).expect("a catalog");
        let needs_index = unmet(judge(&config(), &catalog)).is_some();
        let Guarantees { unique, has_foreign_key } = catalog.guarantees(&config());
        (unique, has_foreign_key, needs_index)
    };
    assert_eq!(guarantees(|_| ()), ([true, true], true, false));
    let none =
        |source: &mut Value| source["tables"][0]["unique"] = json!([["id"], ["team_id", "uuid", "id"]]);
    assert_eq!(guarantees(none), ([false, true], true, false));
    assert_eq!(
        guarantees(|source| source["tables"][0]["unique"] = json!([["uuid"]])),
        ([true, true], true, false)
    );
    assert_eq!(
        guarantees(|source| source["tables"][1]["references"] = json!([])),
        ([true, true], false, true)
    );
    let indexed = |source: &mut Value| {
        source["tables"][1]["references"] = json!([]);
        source["tables"][1]["leaves"][0]["first_of_indexes"] = json!(["id", "person_id"]);
    };
    assert_eq!(guarantees(indexed), ([true, true], false, false));
}
