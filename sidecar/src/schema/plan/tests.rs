//! Tests of plans and of the step order on two nodes.

use std::path::Path;

use super::super::confirm::{Confirmation, Confirmed, RefusalReason, check, confirmations};
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

fn desired() -> Vec<Desired> {
    let mut desired: Vec<Desired> = OBJECTS
        .iter()
        .filter(|object| object.section == Section::Events)
        .map(|object| {
            let sql = text(object.name, COLUMNS, tail(object.role));
            Desired { object, definition: Definition::parse(&sql), sql, asked_for: true }
        })
        .collect();
    desired.sort_by_key(|desired| desired.object.role);
    desired
}

fn observed(change: impl Fn(&str, String) -> Option<String>) -> ObservedSchema {
    let tables = desired().into_iter().filter_map(|desired| {
        let sql = change(desired.object.name, desired.sql)?;
        Some((desired.object.name.to_owned(), Definition::parse(&sql)))
    });
    ObservedSchema { database: true, tables: tables.collect(), ..ObservedSchema::default() }
}

fn config(more: &str) -> Config {
    let text = format!(
        "kafka.brokers = [\"b:1\"]\n[[shards]]\nweight = 1\n[[shards.replicas]]\nname = \"a\"\n\
         url = \"http://a:8123\"\naddress = \"a:9000\"\n{more}"
    );
    Config::parse(&text, Path::new("")).expect("a config")
}

/// Plans with the given extra columns in the storage of every node.
fn planned_with(config: &Config, node: &str, observed: &ObservedSchema, extra: &[&str]) -> SchemaPlan {
    let extra: Vec<ColumnDeclaration> =
        extra.iter().map(|column| ColumnDeclaration::parse(column).expect("a column")).collect();
    let anywhere = extra.iter().map(|column| column.name.clone());
    let anywhere = anywhere.chain(["`uuid`".to_owned(), "`properties`".to_owned()]).collect();
    let storage = BTreeMap::from([("sharded_events".to_owned(), StorageColumns { anywhere, extra })]);
    let (replays, lacking) = (BTreeMap::new(), LackingNodes::new());
    let surroundings = Surroundings { config, storage, replays, lacking };
    plan(node, &desired(), observed, Vec::new(), &surroundings)
}

fn planned(node: &str, observed: &ObservedSchema) -> SchemaPlan {
    planned_with(&config(""), node, observed, &[])
}

fn feeder(columns: &[&str]) -> Feeder {
    Feeder {
        source: "posthog.kafka_events_json".to_owned(),
        consumer: None,
        lag: None,
        paused: false,
        view: "posthog.events_json_mv".to_owned(),
        target: "writable_events".to_owned(),
        columns: columns.iter().map(|column| (*column).to_owned()).collect(),
        lost: Vec::new(),
        others: Vec::new(),
        conflicts: true,
    }
}

fn summaries(plans: &[SchemaPlan]) -> Vec<String> {
    let steps = steps("posthog", plans).expect("templates render");
    steps.into_iter().map(|step| format!("{} {}", step.node, step.summary)).collect()
}

#[test]
fn a_node_as_wanted_needs_nothing_and_keeps_strangers() {
    let mut observed = observed(|_, sql| Some(sql));
    observed.tables.insert("somebodys_table".to_owned(), Definition::default());
    let plan = planned("a", &observed);
    let unmanaged: Vec<&str> = plan.unmanaged.iter().map(|table| table.object.as_str()).collect();
    assert_eq!((plan.changes, unmanaged), (Vec::new(), vec!["somebodys_table"]));
}

#[test]
fn an_empty_cluster_gets_tables_first_everywhere_and_consumers_after_their_views() {
    let plans = [planned("a", &ObservedSchema::default()), planned("b", &ObservedSchema::default())];
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
    let plans = [planned("a", &ObservedSchema::default()), planned("b", &ObservedSchema::default())];
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
    let old = observed(|name, sql| match name {
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
    let old = observed(|name, sql| {
        Some(if name == "events_mv" { sql.replace("SELECT 1", "SELECT 2") } else { sql })
    });
    let expected = ["a drop kafka_events", "a drop events_mv", "a create events_mv", "a create kafka_events"]
        .map(str::to_owned);
    assert_eq!(summaries(&[planned("a", &old)]), expected);
}

#[test]
fn a_query_that_differs_is_made_again_and_pauses_nothing() {
    let old = observed(|name, sql| {
        Some(if name == "shard_rows" { sql.replace("SELECT 1", "SELECT 2") } else { sql })
    });
    assert_eq!(summaries(&[planned("a", &old)]), ["a drop shard_rows", "a create shard_rows"]);
}

#[test]
fn a_dropped_consumer_is_created_once() {
    let paused = observed(|name, sql| (name != "kafka_events").then_some(sql));
    assert_eq!(summaries(&[planned("a", &paused)]), ["a create kafka_events"]);
}

#[test]
fn a_consumer_with_a_stray_setting_is_made_again() {
    let old = observed(|name, sql| {
        Some(if name == "kafka_events" { sql + ", kafka_max_rows_per_message = 2" } else { sql })
    });
    assert_eq!(summaries(&[planned("a", &old)]), ["a drop kafka_events", "a create kafka_events"]);
}

#[test]
fn data_is_never_dropped_and_another_order_is_left_to_a_person() {
    let old = observed(|name, sql| match name {
        "sharded_events" => Some(
            sql.replace("`uuid` UUID,", "`uuid` UUID,\n    `old` String,").replace("BY uuid", "BY tuple()"),
        ),
        _ => Some(sql),
    });
    let plan = planned("a", &old);
    let parts: Vec<&str> =
        plan.changes[0].differences.iter().map(|difference| difference.part.as_str()).collect();
    assert_eq!((parts, plan.unmanaged[0].part.as_str()), (vec!["ORDER BY"], "`old`"));
    assert!(matches!(plan.changes[..], [SchemaChange { action: Action::Leave { .. }, .. }]), "{plan:?}");
    assert_eq!(summaries(&[plan]), Vec::<String>::new());
}

#[test]
fn a_route_of_another_key_is_flushed_before_it_is_dropped() {
    let old = observed(|name, sql| {
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
    let old = observed(|name, sql| match name {
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

/// Adds a column to both Distributed tables.
fn with_person_id(name: &str, sql: String) -> String {
    match name {
        "writable_events" | "events" => sql.replace("`uuid` UUID,", "`uuid` UUID,\n    `person_id` UUID,"),
        _ => sql,
    }
}

#[test]
fn keeps_a_column_of_a_distributed_table_that_its_storage_has() {
    let observed = observed(|name, sql| Some(with_person_id(name, sql)));
    let plan = planned_with(&config(""), "a", &observed, &["`person_id` UUID"]);
    assert_eq!(plan.changes, []);
    assert_eq!(plan.unmanaged.iter().filter(|part| part.part == "`person_id`").count(), 2);
}

#[test]
fn drops_a_column_that_no_storage_has_only_when_it_is_confirmed_by_name() {
    let plans = [planned("a", &observed(|name, sql| Some(with_person_id(name, sql))))];
    let names = ["events.person_id", "writable_events.person_id"].map(str::to_owned);
    let needed = names.clone().map(Confirmation::Drop).into();
    assert_eq!(confirmations(&plans), needed);
    assert_eq!(check(&plans, &Confirmed::default()), Err(RefusalReason::Unconfirmed(needed)));
    let confirmed = Confirmed { drops: names.into(), ..Confirmed::default() };
    assert_eq!(check(&plans, &confirmed), Ok(()));
    let stranger = Confirmed { drops: ["evnts".to_owned()].into(), ..confirmed };
    assert_eq!(check(&plans, &stranger), Err(RefusalReason::Unknown("evnts".to_owned())));
}

#[test]
fn carries_columns_to_queries_and_to_writes_that_a_foreign_view_fills() {
    let mut observed = observed(|_, sql| Some(sql));
    let extra = ["`person_id` UUID CODEC(ZSTD(1))", "`mat_x` String MATERIALIZED upper(properties)"];
    let plan = planned_with(&config(""), "a", &observed, &extra);
    assert_eq!(
        summaries(&[plan]),
        ["a alter events: add `person_id` UUID", "a alter events: add `mat_x` String"]
    );
    observed.feeders = vec![feeder(&["`uuid`", "`person_id`", "`mat_x`"])];
    let plan = planned_with(&config(""), "a", &observed, &extra);
    assert_eq!(plan.changes[0].object, "writable_events");
    assert_eq!(
        plan.changes[0].action,
        Action::Alter { alterations: vec![Alteration::Add("`person_id` UUID".to_owned())] }
    );
}

#[test]
fn refuses_to_feed_tables_that_another_consumer_feeds() {
    let mut observed = observed(|_, sql| Some(sql));
    observed.feeders = vec![feeder(&[])];
    let refused = check(&[planned("a", &observed)], &Confirmed::default()).expect_err("refused").to_string();
    assert!(
        refused.contains("a: posthog.kafka_events_json → posthog.events_json_mv → writable_events")
            && refused.contains("consumer = \"none\"")
            && refused.contains("--adopt posthog.kafka_events_json"),
        "{refused}"
    );
}

#[test]
fn drops_our_own_consumer_when_the_config_leaves_ingestion_to_others() {
    let observed = observed(|_, sql| Some(sql));
    let mut desired = desired();
    desired.iter_mut().for_each(|desired| desired.asked_for = !desired.object.ingests());
    let config = config("");
    let surroundings = Surroundings {
        config: &config,
        storage: BTreeMap::new(),
        replays: BTreeMap::new(),
        lacking: LackingNodes::new(),
    };
    let plan = plan("a", &desired, &observed, Vec::new(), &surroundings);
    let expected = ["a drop kafka_events", "a drop events_mv", "a drop events_dead_letter_mv"];
    assert_eq!(summaries(&[plan]), expected);
}

/// Plans of a node that stops ingesting, with `found` as its Kafka table, and of one that begins.
fn moved(found: &str) -> [SchemaPlan; 2] {
    let config = config("");
    let surroundings = Surroundings {
        config: &config,
        storage: BTreeMap::new(),
        replays: BTreeMap::new(),
        lacking: LackingNodes::new(),
    };
    let observed_before =
        observed(|name, sql| Some(if name == "kafka_events" { found.to_owned() } else { sql }));
    let observed_after =
        observed(|name, sql| (!name.ends_with("_mv") && name != "kafka_events").then_some(sql));
    let mut desired_before = desired();
    for desired in &mut desired_before {
        desired.asked_for = !matches!(desired.object.role, Role::Consumer | Role::View);
    }
    [
        plan("a", &desired_before, &observed_before, Vec::new(), &surroundings),
        plan("b", &desired(), &observed_after, Vec::new(), &surroundings),
    ]
}

#[test]
fn a_node_stops_ingesting_after_another_has_begun() {
    let found = text("kafka_events", COLUMNS, tail(Role::Consumer));
    let expected = [
        "b create events_mv",
        "b create events_dead_letter_mv",
        "b create kafka_events",
        "a drop kafka_events",
        "a drop events_mv",
        "a drop events_dead_letter_mv",
    ];
    assert_eq!(summaries(&moved(&found)), expected);
    // The table is dropped too if it was changed by hand.
    assert_eq!(summaries(&moved(&found.replace("= 2", "= 1"))), expected);
    let dropped: Vec<_> = confirmations(&moved(&found)).into_iter().collect();
    let names = ["events_dead_letter_mv", "events_mv", "kafka_events"];
    assert_eq!(dropped, names.map(|name| Confirmation::Drop(name.to_owned())));
}

#[test]
fn keeps_an_operators_codec_and_alters_one_that_the_config_has() {
    let plan = planned(
        "a",
        &observed(|name, sql| match name {
            "sharded_events" => Some(sql.replace("`uuid` UUID", "`uuid` UUID COMMENT 'key' CODEC(NONE)")),
            "events" => Some(sql.replace("`uuid` UUID", "`uuid` UUID COMMENT 'key'")),
            _ => Some(sql),
        }),
    );
    assert_eq!((plan.changes.as_slice(), plan.unmanaged[0].part.as_str()), (&[][..], "`uuid`"));
    let codec = |sql: &str, codec: &str| {
        sql.replace("`properties` String", &format!("`properties` String CODEC({codec})"))
    };
    let (wanted, found) = (codec(COLUMNS, "ZSTD(3)"), codec(COLUMNS, "LZ4"));
    let line = |columns: &str| columns.lines().last().map(|line| line.trim().to_owned());
    let difference =
        ObjectDifference { part: "`properties`".to_owned(), wanted: line(&wanted), found: line(&found) };
    let annotate = vec![Alteration::Annotate("`properties` String CODEC(ZSTD(3))".to_owned())];
    assert_eq!(alterations(&difference, Role::Storage), annotate);
}

#[test]
fn leaves_what_the_server_refuses_and_what_rewrites_data() {
    let plan = planned(
        "a",
        &observed(|name, sql| match name {
            "sharded_events" => {
                Some(sql.replace("`properties` String", "`properties` LowCardinality(String)"))
            }
            _ => Some(sql),
        }),
    );
    assert!(
        matches!(plan.changes[..], [SchemaChange { action: Action::Leave { blocks: false, .. }, .. }]),
        "{plan:?}"
    );
    let plan = planned(
        "a",
        &observed(|name, sql| match name {
            "sharded_events" => Some(sql.replace("ENGINE = MergeTree", "ENGINE = CollapsingMergeTree(sign)")),
            _ => Some(sql),
        }),
    );
    assert!(matches!(check(&[plan], &Confirmed::default()), Err(RefusalReason::Blocked(_))));
}

#[test]
fn leaves_a_difference_that_the_config_accepts() {
    let observed = observed(|name, sql| {
        Some(if name == "sharded_events" { sql.replace("BY uuid", "BY tuple()") } else { sql })
    });
    let plan =
        planned_with(&config("[schema]\nunmanaged = [\"sharded_events ORDER BY\"]\n"), "a", &observed, &[]);
    assert_eq!((plan.changes, plan.unmanaged[0].part.as_str()), (Vec::new(), "ORDER BY"));
}

#[test]
fn refuses_to_make_a_table_that_is_detached() {
    let mut observed = observed(|name, sql| (name != "sharded_events").then_some(sql));
    observed.detached = BTreeSet::from(["sharded_events".to_owned()]);
    let refused = check(&[planned("a", &observed)], &Confirmed::default()).expect_err("refused").to_string();
    assert!(refused.contains("ATTACH TABLE posthog.sharded_events"), "{refused}");
}

#[test]
fn a_view_is_left_while_a_node_lacks_its_function() {
    let object = SchemaObject::find("unique_persons").expect("known");
    let sql = "CREATE VIEW posthog.unique_persons\nAS SELECT personOf(team_id, distinct_id)".to_owned();
    let desired = [Desired { object, definition: Definition::parse(&sql), sql, asked_for: true }];
    let config = config("[persons]\nlookup = \"function\"\n");
    let observed = ObservedSchema { database: true, ..ObservedSchema::default() };
    let changes = |nodes: &[&str]| {
        let nodes = nodes.iter().map(|node| (*node).to_owned()).collect();
        let lacking = LackingNodes::from([("personOf", nodes), ("personOfKey", vec!["c".to_owned()])]);
        let (storage, replays) = (BTreeMap::new(), BTreeMap::new());
        let surroundings = Surroundings { config: &config, storage, replays, lacking };
        plan("a", &desired, &observed, Vec::new(), &surroundings).changes
    };
    assert!(matches!(changes(&[])[..], [SchemaChange { action: Action::Create { .. }, .. }]));
    for (nodes, wanted) in [
        (&["b"][..], "b has no function personOf: run posthouse udf install on its machine"),
        (&["b", "c"], "b, c have no function personOf: run posthouse udf install on their machines"),
    ] {
        let changes = changes(nodes);
        let [SchemaChange { action: Action::Leave { next_step, blocks: false }, .. }] = &changes[..] else {
            panic!("{changes:?}");
        };
        assert!(next_step.starts_with(wanted), "{next_step}");
    }
}
