//! What a difference leads to, and in which order the steps of two nodes come.

use super::super::objects::{OBJECTS, Section};
use super::super::steps::steps;
use super::*;

const COLUMNS: &str = "    `uuid` UUID,\n    `properties` String";

fn text(name: &str, columns: &str, tail: &str) -> String {
    format!("CREATE TABLE posthog.{name}\n(\n{columns}\n)\n{tail}")
}

fn tail(role: Role) -> &'static str {
    match role {
        Role::Storage => {
            "ENGINE = MergeTree\nORDER BY uuid\nSETTINGS non_replicated_deduplication_window = 10"
        }
        Role::Route | Role::Front => {
            "ENGINE = Distributed('posthog', 'posthog', 'sharded_events', sipHash64(distinct_id))"
        }
        Role::View | Role::Query => "AS SELECT 1",
        Role::Consumer => "ENGINE = Kafka\nSETTINGS kafka_num_consumers = 2",
    }
}

fn wanted() -> Vec<Wanted> {
    let mut wanted: Vec<Wanted> = OBJECTS
        .iter()
        .filter(|object| object.section == Section::Events)
        .map(|object| {
            let sql = text(object.name, COLUMNS, tail(object.role));
            Wanted { object, definition: Definition::parse(&sql), sql }
        })
        .collect();
    wanted.sort_by_key(|want| want.object.role);
    wanted
}

fn standing(change: impl Fn(&str, String) -> Option<String>) -> Standing {
    let tables = wanted().into_iter().filter_map(|want| {
        let sql = change(want.object.name, want.sql)?;
        Some((want.object.name.to_owned(), Definition::parse(&sql)))
    });
    Standing { database: true, tables: tables.collect() }
}

fn planned(node: &str, standing: &Standing) -> Plan {
    plan(node, &wanted(), standing, Vec::new())
}

fn summaries(plans: &[Plan]) -> Vec<String> {
    let steps = steps("posthog", plans).expect("templates render");
    steps.into_iter().map(|step| format!("{} {}", step.node, step.summary)).collect()
}

#[test]
fn a_node_as_wanted_needs_nothing_and_keeps_strangers() {
    let mut standing = standing(|_, sql| Some(sql));
    standing.tables.insert("somebodys_table".to_owned(), Definition::default());
    let plan = planned("a", &standing);
    assert_eq!((plan.changes, plan.unknown), (Vec::new(), vec!["somebodys_table".to_owned()]));
}

#[test]
fn an_empty_cluster_gets_tables_first_everywhere_and_consumers_after_their_views() {
    let plans = [planned("a", &Standing::default()), planned("b", &Standing::default())];
    let summaries = summaries(&plans);
    let place = |summary: &str| summaries.iter().position(|step| step == summary).expect(summary);
    assert!(summaries[0].ends_with("create database posthog"));
    assert!(place("b create sharded_events") < place("a create writable_events"));
    assert!(place("b create writable_events") < place("a create events_mv"));
    assert!(place("a create events_mv") < place("a create kafka_events"));
    assert!(place("a create events_dead_letter_mv") < place("a create kafka_events"));
    assert!(place("b create kafka_events") < place("a create events"));
}

#[test]
fn consumers_that_did_not_stand_start_at_once_and_nothing_else_does() {
    let plans = [planned("a", &Standing::default()), planned("b", &Standing::default())];
    let steps = steps("posthog", &plans).expect("templates render");
    let together: Vec<_> =
        steps.chunk_by(|one, next| one.stage == next.stage).filter(|s| s.len() > 1).collect();
    let starts: Vec<_> = together.concat().iter().map(|s| format!("{} {}", s.node, s.summary)).collect();
    assert_eq!(
        (together.len(), starts),
        (1, ["a", "b"].map(|n| format!("{n} create kafka_events")).to_vec())
    );
}

#[test]
fn a_missing_column_pauses_one_node_after_the_other_and_shows_in_events_last() {
    let old = standing(|name, sql| match name {
        "sharded_events" | "events" => Some(sql.replace(",\n    `properties` String", "")),
        _ => Some(sql),
    });
    let plans = [planned("a", &old), planned("b", &old)];
    let add = |table: &str| format!("alter {table}: add `properties` String");
    let rolling = ["drop kafka_events".to_owned(), add("sharded_events"), "create kafka_events".to_owned()];
    let mut expected: Vec<String> =
        ["a", "b"].iter().flat_map(|node| rolling.iter().map(move |step| format!("{node} {step}"))).collect();
    expected.extend(["a", "b"].map(|node| format!("{node} {}", add("events"))));
    assert_eq!(summaries(&plans), expected);
}

#[test]
fn a_view_that_differs_is_dropped_after_its_consumer_and_made_before_it() {
    let old = standing(|name, sql| {
        Some(if name == "events_mv" { sql.replace("SELECT 1", "SELECT 2") } else { sql })
    });
    let expected = ["a drop kafka_events", "a drop events_mv", "a create events_mv", "a create kafka_events"]
        .map(str::to_owned);
    assert_eq!(summaries(&[planned("a", &old)]), expected);
}

#[test]
fn a_query_that_differs_is_made_again_and_pauses_nothing() {
    let old = standing(|name, sql| {
        Some(if name == "shard_rows" { sql.replace("SELECT 1", "SELECT 2") } else { sql })
    });
    assert_eq!(summaries(&[planned("a", &old)]), ["a drop shard_rows", "a create shard_rows"]);
}

#[test]
fn a_consumer_somebody_dropped_is_made_again_once() {
    let paused = standing(|name, sql| (name != "kafka_events").then_some(sql));
    assert_eq!(summaries(&[planned("a", &paused)]), ["a create kafka_events"]);
}

#[test]
fn a_consumer_with_a_stray_setting_is_made_again() {
    let old = standing(|name, sql| {
        Some(if name == "kafka_events" { sql + ", kafka_max_rows_per_message = 2" } else { sql })
    });
    assert_eq!(summaries(&[planned("a", &old)]), ["a drop kafka_events", "a create kafka_events"]);
}

#[test]
fn data_is_never_dropped_and_another_order_is_left_to_a_person() {
    let old = standing(|name, sql| match name {
        "sharded_events" => Some(
            sql.replace("`uuid` UUID,", "`uuid` UUID,\n    `old` String,").replace("BY uuid", "BY tuple()"),
        ),
        _ => Some(sql),
    });
    let plan = planned("a", &old);
    let parts: Vec<&str> =
        plan.changes[0].differences.iter().map(|difference| difference.part.as_str()).collect();
    assert_eq!(parts, ["`old`", "ORDER BY"]);
    assert!(matches!(plan.changes[..], [Change { action: Action::Leave { .. }, .. }]), "{plan:?}");
    assert_eq!(summaries(&[plan]), Vec::<String>::new());
}

#[test]
fn a_route_of_another_key_is_flushed_before_it_is_dropped() {
    let old = standing(|name, sql| {
        Some(if name == "writable_events" { sql.replace("sipHash64(distinct_id)", "rand()") } else { sql })
    });
    let expected = [
        "a drop kafka_events",
        "a flush writable_events",
        "a drop writable_events",
        "a create writable_events",
        "a create kafka_events",
    ];
    assert_eq!(summaries(&[planned("a", &old)]), expected);
}

#[test]
fn an_operators_ttl_is_no_difference_and_a_setting_is_altered() {
    let old = standing(|name, sql| match name {
        "sharded_events" => {
            Some(sql.replace("SETTINGS", "TTL a\nSETTINGS").replace("window = 10", "window = 9"))
        }
        _ => Some(sql),
    });
    let alterations = vec![Alteration::Setting("non_replicated_deduplication_window = 10".to_owned())];
    let plan = planned("a", &old);
    assert_eq!(plan.changes[0].action, Action::Alter { alterations });
    assert_eq!(plan.changes.len(), 1);
}
