use std::collections::{BTreeMap, BTreeSet};

use super::super::groups::samples::{member, place, seen, table};
use super::super::groups::{GroupSnapshot, lags};
use super::*;
use crate::kafka::ConfigOrigin;

/// The sample's group, read by a healthy table on each of two nodes.
fn found(change: impl FnOnce(&mut GroupSnapshot)) -> CheckInput {
    let mut seen = seen();
    seen.tables = vec![table("n1", Some("/k")), table("n2", Some("/k"))];
    seen.committed.insert("g".to_owned(), BTreeMap::from([(place(0), 5), (place(1), 10)]));
    change(&mut seen);
    let set = |texts: &[&str]| texts.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
    CheckInput {
        lags: lags(&seen, None),
        seen,
        configs: BTreeMap::new(),
        topics: set(&["t"]),
        nodes: set(&["n1", "n2"]),
        events_topic: "t".to_owned(),
        events_group: "g".to_owned(),
        brokers: set(&["b:1"]),
        conflicts: Vec::new(),
        now: 1_000_000_000,
        desired: BTreeMap::new(),
        detached: BTreeSet::new(),
        replicas: BTreeMap::from([("/k".to_owned(), set(&["n1", "n2"]))]),
        refused: BTreeSet::new(),
        reports: ServerReports::default(),
        still: Still::default(),
    }
}

fn config(found: &mut CheckInput, key: &str, value: &str) {
    let config = TopicConfig { value: Some(value.to_owned()), source: ConfigOrigin::Topic };
    found.configs.entry("t".to_owned()).or_default().insert(key.to_owned(), config);
}

/// The only finding, as severity, subject and text.
fn only(found: &CheckInput) -> (Severity, String, String) {
    let findings = check(found);
    let [finding] = findings.as_slice() else { panic!("one: {findings:#?}") };
    (finding.severity, finding.about.clone(), finding.found.clone())
}

#[test]
fn what_fits_is_no_finding() {
    let mut found = found(|_| ());
    config(&mut found, "retention.ms", "604800000");
    config(&mut found, "retention.bytes", "-1");
    config(&mut found, "max.message.bytes", "1048588");
    config(&mut found, "cleanup.policy", "delete");
    assert_eq!(check(&found), []);
}

#[test]
fn consumers_that_get_no_partition_are_counted() {
    let idle = found(|seen| seen.tables[0].consumers = 4);
    let (severity, about, text) = only(&idle);
    assert_eq!((severity, about.as_str()), (Severity::Warn, "group g"));
    assert!(text.starts_with("5 consumers") && text.ends_with("for 2 partitions of t: 3 are idle"), "{text}");
    let nodes = found(|seen| seen.tables.push(table("n3", Some("/k"))));
    assert!(only(&nodes).2.starts_with("3 tables read t, which has 2 partitions"), "{:?}", only(&nodes));
}

#[test]
fn what_is_deleted_or_soon_will_be_is_found() {
    let lost = found(|seen| _ = seen.committed.get_mut("g").expect("g").insert(place(1), 0));
    let (severity, _, text) = only(&lost);
    assert_eq!(severity, Severity::Fault);
    assert!(text.starts_with("2 messages of t were deleted before it read them, in partitions 1"), "{text}");
    let mut late = found(|_| ());
    config(&mut late, "retention.ms", "100000000");
    late.lags[0].oldest_unread = Some(late.now - 50_000_000);
    assert_eq!(check(&late), []);
    late.lags[0].oldest_unread = Some(late.now - 51_000_000);
    assert!(only(&late).2.contains("51 % of the 1 day 3 hours"), "{:?}", only(&late));
    config(&mut late, "cleanup.policy", "compact,delete");
    config(&mut late, "retention.bytes", "1073741824");
    let findings: Vec<String> = check(&late).into_iter().map(|finding| finding.found).collect();
    assert_eq!(findings.len(), 3, "{findings:#?}");
}

#[test]
fn messages_that_are_too_large_for_their_readers_are_found() {
    for (bytes, severity) in
        [("100000001", Some(Severity::Fault)), ("26214401", Some(Severity::Warn)), ("26214400", None)]
    {
        let mut found = found(|_| ());
        config(&mut found, "max.message.bytes", bytes);
        let findings: Vec<Severity> = check(&found).iter().map(|finding| finding.severity).collect();
        assert_eq!(findings, Vec::from_iter(severity), "{bytes}");
    }
}

#[test]
fn groups_without_tables_and_tables_without_offsets_are_found() {
    let without = |change: fn(&mut GroupSnapshot)| CheckInput { replicas: BTreeMap::new(), ..found(change) };
    let left = without(|seen| seen.tables.clear());
    let (severity, _, text) = only(&left);
    assert_eq!(severity, Severity::Fault);
    assert!(
        text.contains("neither a Kafka table on any node nor a consumer; 5 messages are unread"),
        "{text}"
    );
    let other = CheckInput { events_group: "other".to_owned(), ..without(|seen| seen.tables.clear()) };
    assert_eq!(only(&other).0, Severity::Warn);
    let active = without(|seen| {
        seen.tables.clear();
        seen.groups[0].members.push(member("app", &[0]));
    });
    assert_eq!(check(&active), []);
    let silent = found(|seen| {
        seen.tables.pop();
        seen.silent.insert("n2".to_owned(), "no answer".to_owned());
    });
    assert_eq!(only(&silent).1, "node n2");
    let never = found(|seen| seen.committed.clear());
    assert!(
        only(&never).2.starts_with("d.k has never committed an offset of t, which has 16"),
        "{:?}",
        only(&never)
    );
}

#[test]
fn a_topic_that_is_gone_or_was_made_again_is_found() {
    let gone = found(|seen| {
        seen.cluster.topics.clear();
        seen.committed.clear();
    });
    let (severity, about, text) = only(&gone);
    assert_eq!((severity, about.as_str()), (Severity::Fault, "topic t"));
    assert!(text.ends_with("read by d.k on n1 and d.k on n2"), "{text}");
    let elsewhere = CheckInput { brokers: BTreeSet::from(["x:1".to_owned()]), ..gone };
    assert!(only(&elsewhere).2.contains("d.k on n2 at b:1"), "{:?}", only(&elsewhere));
    let ahead = found(|seen| _ = seen.committed.get_mut("g").expect("g").insert(place(1), 11));
    assert!(
        only(&ahead).2.starts_with("it is at offset 11 of t partition 1, which ends at 10"),
        "{:?}",
        only(&ahead)
    );
}

#[test]
fn tables_of_a_group_that_disagree_are_found() {
    type TopicChange = fn(&mut KafkaTable);
    let disagreeing: [(TopicChange, &str); 4] = [
        (
            |table| table.topics.push("u".to_owned()),
            "its tables read different topics: t (d.k on n1), t and u (d.k on n2)",
        ),
        (
            |table| table.keeper_path = None,
            "its tables keep offsets in different places: /k (d.k on n1), the group",
        ),
        (
            |table| table.brokers = "other:1".to_owned(),
            "its tables use different brokers: b:1 (d.k on n1), other:1",
        ),
        (|table| table.name = "l".to_owned(), "d.k and d.l share it"),
    ];
    for (change, wanted) in disagreeing {
        let found = found(|seen| change(&mut seen.tables[1]));
        let texts: Vec<String> = check(&found).into_iter().map(|finding| finding.found).collect();
        assert!(texts.iter().any(|text| text.starts_with(wanted)), "{wanted}: {texts:#?}");
    }
    let some = found(|seen| {
        seen.tables.pop();
        seen.tables.push(KafkaTable { node: "n3".to_owned(), ..seen.tables[0].clone() });
    });
    let nodes = BTreeSet::from(["n1", "n2", "n3"].map(str::to_owned));
    let some = CheckInput { nodes, replicas: BTreeMap::new(), ..some };
    let (severity, about, text) = only(&some);
    assert_eq!((severity, about.as_str()), (Severity::Warn, "table d.k"));
    assert_eq!(text, "group g has it on n1 and n3, and not on n2");
    // A table on a single node may be intended.
    let one = CheckInput { replicas: BTreeMap::new(), ..found(|seen| _ = seen.tables.pop()) };
    assert_eq!(check(&one), []);
}

#[test]
fn wants_the_consumers_of_the_sections_that_the_config_has() {
    let text = "kafka.brokers = [\"b:1\"]\ndatabase = \"d\"\n[[shards]]\n[[shards.replicas]]\nname = \"a\"\n\
        url = \"http://a:8123\"\naddress = \"a:9000\"\n";
    let desired = |text: &str| -> Vec<String> {
        let config = crate::config::Config::parse(text, std::path::Path::new("")).expect("a config");
        desired::desired_consumers(&crate::cluster::Cluster::new(config).expect("nodes"))
            .into_keys()
            .collect()
    };
    assert_eq!(desired(text), ["d.kafka_events"]);
    let all = ["d.kafka_events", "d.kafka_person", "d.kafka_person_distinct_id"];
    assert_eq!(desired(&format!("{text}[persons]\n")), all);
    let other = "[[ingest_nodes]]\nname = \"b\"\nurl = \"http://b:8123\"\n";
    let text = format!("{text}roles = [\"data\"]\n{other}[persons]\n");
    let config = crate::config::Config::parse(&text, std::path::Path::new("")).expect("a config");
    let desired = desired::desired_consumers(&crate::cluster::Cluster::new(config).expect("nodes"));
    let nodes: Vec<(&str, Vec<&String>)> =
        desired.iter().map(|(table, nodes)| (table.as_str(), nodes.iter().collect())).collect();
    let (a, b) = ("a".to_owned(), "b".to_owned());
    let expected = [("d.kafka_events", vec![&b]), (all[1], vec![&a]), (all[2], vec![&a])];
    assert_eq!(nodes, expected);
}

#[test]
fn names_nodes_without_a_consumer_that_the_schema_wants() {
    let desired = |change: fn(&mut GroupSnapshot)| CheckInput {
        desired: BTreeMap::from([("d.k".to_owned(), BTreeSet::from(["n1", "n2"].map(str::to_owned)))]),
        ..found(change)
    };
    assert_eq!(check(&desired(|_| ())), []);
    // The group never committed, and no node has the table.
    let mut none = desired(|seen| {
        seen.tables.clear();
        seen.committed.clear();
    });
    none.replicas.clear();
    let (severity, about, text) = only(&none);
    assert_eq!((severity, about.as_str()), (Severity::Fault, "table d.k"));
    assert!(text.starts_with("it is missing on n1 and n2, and the schema requires it there"), "{text}");
    // An unreachable node may have the table.
    let silent = desired(|seen| {
        seen.tables.pop();
        seen.silent.insert("n2".to_owned(), "no answer".to_owned());
    });
    assert_eq!(only(&silent).1, "node n2");
    // A detached table needs another hint, and its replica stays in Keeper.
    let mut detached = desired(|seen| _ = seen.tables.pop());
    detached.detached = BTreeSet::from([("n2".to_owned(), "d.k".to_owned())]);
    let findings = check(&detached);
    let [keeper, table] = findings.as_slice() else { panic!("two: {findings:#?}") };
    assert_eq!((keeper.about.as_str(), table.about.as_str()), ("keeper path /k", "table d.k"));
    assert!(keeper.found.starts_with("Keeper knows n2 there"), "{keeper:?}");
    assert!(table.found.starts_with("it is detached on n2"), "{table:?}");
    assert_eq!(table.next, "ATTACH TABLE d.k on n2");
}

#[test]
fn judges_no_replica_that_a_table_may_have_under_another_name() {
    let mut stale = found(|_| ());
    stale.replicas.insert("/k".to_owned(), BTreeSet::from(["n1", "n2", "gone"].map(str::to_owned)));
    assert_eq!(only(&stale).1, "keeper path /k");
    stale.seen.tables[1].replica = Some("{replica}".to_owned());
    assert_eq!(check(&stale), []);
    stale.seen.tables[1].replica = None;
    assert_eq!(check(&stale), []);
}

#[test]
fn faults_come_first() {
    let mut found = found(|seen| _ = seen.committed.get_mut("g").expect("g").insert(place(1), 0));
    config(&mut found, "cleanup.policy", "compact");
    let severities: Vec<Severity> = check(&found).iter().map(|finding| finding.severity).collect();
    assert_eq!(severities, [Severity::Fault, Severity::Warn]);
}
