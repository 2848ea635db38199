use std::collections::{BTreeMap, BTreeSet};

use super::super::groups::samples::{member, place, seen, table};
use super::*;
use crate::kafka::OffsetBounds;

fn request(target: &str) -> ResetRequest {
    ResetRequest { group: "g".to_owned(), topics: BTreeSet::new(), target: target.parse().expect("right") }
}

fn found() -> ResetInput {
    ResetInput { seen: seen(), now: 1_000_000, at: BTreeMap::new(), own: None }
}

fn own() -> SchemaConsumers {
    let set = |text: &[&str]| text.iter().map(ToString::to_string).collect();
    SchemaConsumers {
        database: "d".to_owned(),
        names: set(&["k"]),
        topics: set(&["t"]),
        nodes: set(&["n1", "n2"]),
        ..SchemaConsumers::default()
    }
}

fn refused(request: &ResetRequest, found: &ResetInput) -> Vec<ResetRefusal> {
    plan(request, found).expect_err("refused").refusals
}

#[test]
fn every_partition_is_told_what_is_read_again_or_skipped() {
    let ways = |target: &str, found: &ResetInput| -> Vec<(Option<i64>, i64, i64, i64)> {
        let reset = plan(&request(target), found).expect("possible");
        reset.moves.iter().map(|step| (step.from, step.to, step.again, step.skipped)).collect()
    };
    assert_eq!(ways("earliest", &found()), [(Some(5), 2, 3, 0), (None, 2, 0, 0)]);
    assert_eq!(ways("latest", &found()), [(Some(5), 10, 0, 5), (None, 10, 0, 8)]);
    assert_eq!(ways("0:4", &found()), [(Some(5), 4, 1, 0)]);
    let mut later = found();
    later.at = BTreeMap::from([(place(0), Some(3)), (place(1), None)]);
    assert_eq!(ways("10s", &later), [(Some(5), 3, 2, 0), (None, 10, 0, 8)]);
    let reset = plan(&request("earliest"), &found()).expect("possible");
    assert!(reset.warnings[0].starts_with("3 messages are replayed"), "{:?}", reset.warnings);
}

#[test]
fn offsets_that_are_not_there_and_unclear_wishes_are_refused() {
    let bounds = OffsetBounds { first: 2, end: 10 };
    let wrong =
        [ResetRefusal::NoPartition("t".to_owned(), 7, 2), ResetRefusal::OutOfBounds(place(0), 1, bounds)];
    assert_eq!(refused(&request("0:1,1:10,7:3"), &found()), wrong);
    assert_eq!(refused(&request("1971-01-01T00:00:00Z"), &found()), [ResetRefusal::Future]);
    let mut missing = request("latest");
    missing.topics.insert("gone".to_owned());
    assert_eq!(refused(&missing, &found()), [ResetRefusal::NoTopic("gone".to_owned())]);
    missing.topics.insert("t".to_owned());
    missing.target = "0:5".parse().expect("right");
    assert_eq!(refused(&missing, &found()), [ResetRefusal::Topics(vec!["gone".to_owned(), "t".to_owned()])]);
    let unknown = ResetRequest { group: "other".to_owned(), ..request("latest") };
    assert_eq!(refused(&unknown, &found()), [ResetRefusal::Unknown]);
}

#[test]
fn a_reader_and_a_possible_reader_block_it() {
    let mut found = found();
    found.seen.groups[0].members.push(member("app", &[0]));
    found.seen.tables.push(table("n1", None));
    let wanted = [
        ResetRefusal::Members(vec!["app at 10.0.0.1".to_owned()]),
        ResetRefusal::Tables(vec!["d.k on n1".to_owned()]),
    ];
    assert_eq!(refused(&request("latest"), &found), wanted);
    // The owners of tables are unknown while a node is silent.
    found.seen.silent.insert("n2".to_owned(), "node n2 is unreachable".to_owned());
    let silent = ResetRefusal::Silent("node n2 is unreachable".to_owned());
    assert_eq!(refused(&request("latest"), &found), [silent]);
}

#[test]
fn tables_of_which_keeper_can_not_be_read_are_made_again_in_any_case() {
    let mut found = found();
    found.own = Some(own());
    found.seen.tables = vec![table("n1", Some("/k")), table("n2", Some("/k"))];
    found.seen.committed.insert("g".to_owned(), BTreeMap::from([(place(0), 2), (place(1), 2)]));
    let offsets = BTreeMap::from([(place(0), 2), (place(1), 2)]);
    found.seen.kept.insert("/k".to_owned(), Kept::Offsets(offsets));
    assert!(plan(&request("earliest"), &found).expect("possible").is_done());
    found.seen.kept.insert("/k".to_owned(), Kept::Unreadable("no".to_owned()));
    let reset = plan(&request("earliest"), &found).expect("possible");
    assert!(!reset.is_done() && reset.dropped.len() == 1 && reset.doubt.is_some(), "{reset:?}");
}

#[test]
fn the_schemas_own_tables_are_dropped_and_made_and_others_are_not() {
    let mut found = found();
    found.own = Some(own());
    found.seen.tables = vec![table("n1", Some("/k"))];
    found.seen.groups[0].members.push(member("ClickHouse-host-d-k-1", &[0]));
    let reset = plan(&request("earliest"), &found).expect("possible");
    let on = |node: &str| BTreeMap::from([("d.k".to_owned(), vec![node.to_owned()])]);
    assert_eq!((reset.dropped, reset.made), (on("n1"), on("n2")));
    found.seen.tables.push(KafkaTable { database: "x".to_owned(), ..table("n2", None) });
    assert_eq!(refused(&request("latest"), &found), [ResetRefusal::Tables(vec!["x.k on n2".to_owned()])]);
}

#[test]
fn a_reset_that_was_killed_after_its_commit_only_makes_the_tables() {
    let mut found = found();
    found.own = Some(own());
    found.seen.committed.insert("g".to_owned(), BTreeMap::from([(place(0), 2), (place(1), 2)]));
    let reset = plan(&request("earliest"), &found).expect("possible");
    assert!(!reset.moves() && !reset.is_done() && reset.dropped.is_empty(), "{reset:?}");
    found.seen.tables = vec![table("n1", None), table("n2", None)];
    assert!(plan(&request("earliest"), &found).expect("possible").is_done());
}

#[test]
fn what_would_keep_old_offsets_or_the_tables_away_stands_against_it() {
    let mut found = found();
    found.own = Some(SchemaConsumers {
        drift: vec!["events_mv on n1".to_owned()],
        detached: vec!["k on n2".to_owned()],
        stale_replicas: vec!["/k/replicas/old".to_owned()],
        ..own()
    });
    let refusals = plan(&request("latest"), &found).expect_err("refused").to_string();
    for part in
        ["events_mv on n1; run posthouse schema apply", "ATTACH TABLE", "/k/replicas/old, which no node"]
    {
        assert!(refusals.contains(part), "{refusals}");
    }
}

#[test]
fn a_group_whose_members_are_hidden_is_refused() {
    let mut found = found();
    assert!(plan(&request("earliest"), &found).is_ok());
    found.seen.groups[0].state = "Dead".to_owned();
    assert_eq!(refused(&request("earliest"), &found), [ResetRefusal::Untold]);
}
