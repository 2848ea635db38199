use std::time::Duration;

use super::*;
use crate::kafka::{ConfigOrigin, Partition};
use crate::topics::spec::parse;

const DAY: u64 = 86_400_000;

fn layout(partitions: usize, copies: i32) -> Layout {
    let replicas: Vec<i32> = (1..=copies).collect();
    let partition = Partition { leader: Some(1), in_sync: replicas.clone(), replicas };
    Layout { partitions: vec![partition; partitions] }
}

/// A cluster of three brokers with these topics.
fn observed(topics: &[(&str, usize, i32)], configs: &[(&str, &str, &str, ConfigOrigin)]) -> Observed {
    let layouts =
        topics.iter().map(|(name, partitions, copies)| ((*name).to_owned(), layout(*partitions, *copies)));
    let mut by_topic: BTreeMap<String, BTreeMap<String, TopicConfig>> =
        topics.iter().map(|(name, ..)| ((*name).to_owned(), BTreeMap::new())).collect();
    for (topic, key, value, source) in configs {
        let config = TopicConfig { value: Some((*value).to_owned()), source: *source };
        by_topic.entry((*topic).to_owned()).or_default().insert((*key).to_owned(), config);
    }
    let cluster = KafkaCluster { id: None, brokers: (1..=3).collect(), topics: layouts.collect() };
    Observed { cluster, configs: by_topic, readers: BTreeMap::new() }
}

fn planned(file: &str, observed: &Observed, options: &Options) -> TopicsPlan {
    plan(&parse(file).expect("a right file"), observed, options)
}

fn lines(plan: &TopicsPlan) -> Vec<String> {
    let steps = plan.steps.iter().map(|step| step.change.to_string());
    steps.chain(plan.refused.iter().map(ToString::to_string)).collect()
}

#[test]
fn what_is_missing_is_created_and_what_is_not_named_is_left_alone() {
    let observed = observed(&[("a", 3, 1), ("somebody_elses", 1, 1), ("__consumer_offsets", 50, 3)], &[]);
    let file = "[topics.a]\npartitions = 3\nreplication_factor = 1\n\
                [topics.b]\npartitions = 6\nreplication_factor = 3\nconfig = { \"retention.ms\" = 86400000 }\n";
    let plan = planned(file, &observed, &Options::default());
    assert_eq!(lines(&plan), ["+ b: partitions 6, replication factor 3, retention.ms 86400000 (1 day)"]);
    assert_eq!((plan.in_line, plan.unlisted, plan.differs()), (1, 1, true));
}

#[test]
fn partitions_grow_and_never_shrink_and_copies_stay() {
    let observed = observed(&[("a", 3, 2)], &[]);
    let with = |partitions, copies| {
        let file = format!("[topics.a]\npartitions = {partitions}\nreplication_factor = {copies}\n");
        planned(&file, &observed, &Options::default())
    };
    let grown = with(4, 2);
    assert_eq!(lines(&grown), ["~ a: partitions 3 → 4"]);
    assert!(grown.steps[0].warnings[0].starts_with("messages of one key go to another partition"));
    let shrunk = lines(&with(2, 2));
    assert!(shrunk[0].starts_with("! a: it has 3 partitions, and Kafka can't reduce them"), "{shrunk:?}");
    // One refusal blocks all changes of its topic.
    let moved = lines(&with(5, 3));
    assert!(moved.len() == 1 && moved[0].starts_with("! a: its replication factor is 2"), "{moved:?}");
}

#[test]
fn configs_are_set_one_by_one_and_pruned_only_on_demand() {
    let observed = observed(
        &[("a", 1, 1)],
        &[
            ("a", "max.message.bytes", "1048588", ConfigOrigin::Default),
            ("a", "compression.type", "zstd", ConfigOrigin::Topic),
            ("a", "cleanup.policy", "delete,compact", ConfigOrigin::Topic),
            ("a", "segment.bytes", "1073741824", ConfigOrigin::Broker),
        ],
    );
    let file = "[topics.a]\npartitions = 1\nreplication_factor = 1\nconfig = { \"max.message.bytes\" = 1000, \
                \"cleanup.policy\" = \"compact, delete\", \"segment.bytes\" = 1073741824 }\n";
    let plan = planned(file, &observed, &Options::default());
    assert_eq!(
        lines(&plan),
        [
            "~ a: max.message.bytes 1048588 (1.0 MiB), Kafka's default → 1000",
            // The value is the same, but it becomes the topic's own.
            "~ a: segment.bytes 1073741824 (1.0 GiB), the brokers' own → 1073741824 (1.0 GiB)",
        ]
    );
    assert!(plan.steps[0].warnings[0].starts_with("producers of larger messages fail"));
    let pruned = planned(file, &observed, &Options { prune: true, ..Options::default() });
    assert_eq!(lines(&pruned)[2], "~ a: compression.type zstd → left to the brokers");
    let unknown = "[topics.a]\npartitions = 1\nreplication_factor = 1\nconfig = { \"segment.byte\" = 1 }\n";
    let refused = lines(&planned(unknown, &observed, &Options::default()));
    assert!(refused[0].contains("no config segment.byte (did you mean segment.bytes?)"), "{refused:?}");
}

#[test]
fn a_retention_drops_in_steps() {
    let now = (7 * DAY).to_string();
    let observed = observed(&[("a", 1, 1)], &[("a", "retention.ms", &now, ConfigOrigin::Topic)]);
    let file =
        "[topics.a]\npartitions = 1\nreplication_factor = 1\nconfig = { \"retention.ms\" = 172800000 }\n";
    let step = planned(file, &observed, &Options::default());
    assert_eq!(lines(&step), ["~ a: retention.ms 604800000 (7 days) → 518400000 (6 days)"]);
    assert_eq!(step.steps[0].towards.as_deref(), Some("172800000"));
    let wide = Options { retention_drop: Duration::from_millis(30 * DAY), ..Options::default() };
    let whole = planned(file, &observed, &wide);
    assert_eq!(lines(&whole), ["~ a: retention.ms 604800000 (7 days) → 172800000 (2 days)"]);
    assert_eq!(whole.steps[0].towards, None);
}

#[test]
fn what_loses_messages_at_once_must_be_confirmed() {
    let observed = observed(
        &[("a", 1, 1)],
        &[
            ("a", "retention.ms", "-1", ConfigOrigin::Topic),
            ("a", "retention.bytes", "1000", ConfigOrigin::Topic),
            ("a", "cleanup.policy", "compact", ConfigOrigin::Topic),
        ],
    );
    let own = ["\"retention.ms\" = -1", "\"retention.bytes\" = 1000", "\"cleanup.policy\" = \"compact\""];
    let cases = ["\"retention.ms\" = 5", "\"retention.bytes\" = 999", "\"cleanup.policy\" = \"delete\""];
    for (place, case) in cases.iter().enumerate() {
        let mut configs = own;
        configs[place] = case;
        let head = "[topics.a]\npartitions = 1\nreplication_factor = 1\n";
        let file = format!("{head}config = {{ {} }}\n", configs.join(", "));
        let refused = planned(&file, &observed, &Options::default());
        assert!(refused.steps.is_empty() && refused.refused.len() == 1, "{refused:?}");
        assert_eq!(refused.refused[0].way_out, "confirm it with --yes-loss a");
        let options = Options { yes_loss: BTreeSet::from(["a".to_owned()]), ..Options::default() };
        let confirmed = planned(&file, &observed, &options);
        assert!(confirmed.steps.len() == 1 && confirmed.refused.is_empty(), "{confirmed:?}");
        // A reset to the brokers' value is as dangerous as another value.
        let mut left = configs.to_vec();
        left.remove(place);
        let file = format!("{head}config = {{ {} }}\n", left.join(", "));
        let pruned = planned(&file, &observed, &Options { prune: true, ..Options::default() });
        assert!(pruned.steps.is_empty() && pruned.refused.len() == 1, "{pruned:?}");
    }
}

#[test]
fn a_topic_is_deleted_only_without_readers_and_with_a_confirmation() {
    let mut observed = observed(&[("a", 2, 1), ("__consumer_offsets", 1, 1)], &[]);
    let file = "[topics.a]\ndelete = true\n[topics.gone]\ndelete = true\n";
    let yes = Options { yes_delete: BTreeSet::from(["a".to_owned()]), ..Options::default() };
    let asked = planned(file, &observed, &Options::default());
    assert!(asked.steps.is_empty(), "{asked:?}");
    assert_eq!(asked.refused[0].way_out, "confirm it with --yes-delete a");
    assert_eq!(asked.in_line, 1);
    assert_eq!(lines(&planned(file, &observed, &yes)), ["- a: deleted with all messages, partitions 2"]);
    observed.readers.insert("a".to_owned(), vec!["table posthog.kafka_events on ch1".to_owned()]);
    let read = lines(&planned(file, &observed, &yes));
    assert!(read[0].contains("while it is read, by table posthog.kafka_events on ch1"), "{read:?}");
    let internal = "[topics.__consumer_offsets]\ndelete = true\n";
    let yes = Options { yes_delete: BTreeSet::from(["__consumer_offsets".to_owned()]), ..Options::default() };
    assert!(lines(&planned(internal, &observed, &yes))[0].contains("it is Kafka's own"));
}

#[test]
fn a_confirmation_of_what_is_not_in_the_file_is_told() {
    let spec = parse("[topics.a]\ndelete = true\n").expect("a right file");
    let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<BTreeSet<String>>();
    let options = Options { yes_delete: names(&["a", "b"]), yes_loss: names(&["c"]), ..Options::default() };
    assert_eq!(options.unnamed(&spec), ["b", "c"]);
}

#[test]
fn an_adopted_topic_is_never_made_nor_pruned() {
    let observed = observed(&[("a", 2, 1)], &[("a", "compression.type", "zstd", ConfigOrigin::Topic)]);
    let file =
        "[topics.a]\nmanage = \"adopt\"\n[topics.b]\nmanage = \"adopt\"\n[topics.c]\nmanage = \"ignore\"\n";
    let plan = planned(file, &observed, &Options { prune: true, ..Options::default() });
    assert!(plan.steps.is_empty(), "{plan:?}");
    assert_eq!(plan.refused.len(), 1);
    assert!(plan.refused[0].what.starts_with("it does not exist"), "{plan:?}");
}

#[test]
fn more_brokers_in_sync_than_copies_is_refused() {
    let file = "[defaults]\npartitions = 1\nreplication_factor = 2\nconfig = { \"min.insync.replicas\" = 3 }\n\
                [topics.new]\n";
    let refused = planned(file, &observed(&[], &[]), &Options::default());
    assert!(refused.steps.is_empty(), "{refused:?}");
    assert_eq!(refused.refused[0].way_out, "write min.insync.replicas = 1 or less");
}

#[test]
fn a_number_that_only_brokers_can_read_is_refused() {
    let now = (7 * DAY).to_string();
    let own = [
        ("a", "retention.ms", now.as_str(), ConfigOrigin::Topic),
        ("a", "retention.bytes", "5000", ConfigOrigin::Topic),
    ];
    let observed = observed(&[("a", 1, 1)], &own);
    let yes = Options { yes_loss: BTreeSet::from(["a".to_owned()]), ..Options::default() };
    // Kafka reads all of these as numbers, except the last.
    for value in [" 1000", "1000 ", "１０００", "١٠٠٠", "7d"] {
        for key in ["retention.ms", "retention.bytes"] {
            let head = "[topics.a]\npartitions = 1\nreplication_factor = 1\n";
            let file = format!("{head}config = {{ \"{key}\" = \"{value}\" }}\n");
            for options in [&Options::default(), &yes] {
                let plan = planned(&file, &observed, options);
                assert!(plan.steps.is_empty() && plan.refused.len() == 1, "{value:?}: {plan:?}");
                assert!(plan.refused[0].what.contains("is no whole number"), "{plan:?}");
            }
        }
    }
}

#[test]
fn a_confirmed_loss_leaves_a_retention_its_steps() {
    let now = (7 * DAY).to_string();
    let own = [
        ("a", "retention.ms", now.as_str(), ConfigOrigin::Topic),
        ("a", "cleanup.policy", "delete", ConfigOrigin::Topic),
    ];
    let observed = observed(&[("a", 1, 1)], &own);
    let file = "[topics.a]\npartitions = 1\nreplication_factor = 1\n\
                config = { \"cleanup.policy\" = \"compact\", \"retention.ms\" = 1000 }\n";
    let yes = Options { yes_loss: BTreeSet::from(["a".to_owned()]), ..Options::default() };
    assert_eq!(
        lines(&planned(file, &observed, &yes)),
        ["~ a: cleanup.policy delete → compact", "~ a: retention.ms 604800000 (7 days) → 518400000 (6 days)"]
    );
}

#[test]
fn what_counts_now_must_be_known_before_it_is_limited() {
    let mut observed = observed(&[("a", 1, 1)], &[]);
    for key in ["retention.ms", "retention.bytes"] {
        let hidden = TopicConfig { value: None, source: ConfigOrigin::Topic };
        observed.configs.insert("a".to_owned(), BTreeMap::from([(key.to_owned(), hidden)]));
        let head = "[topics.a]\npartitions = 1\nreplication_factor = 1\n";
        let plan = planned(&format!("{head}config = {{ \"{key}\" = 5 }}\n"), &observed, &Options::default());
        assert!(plan.steps.is_empty() && plan.refused.len() == 1, "{plan:?}");
    }
}

#[test]
fn topics_that_kafka_counts_on_never_grow() {
    let observed = observed(&[("__consumer_offsets", 50, 3), ("__heartbeat", 1, 3)], &[]);
    let file = "[defaults]\npartitions = 60\nreplication_factor = 3\n[topics.__consumer_offsets]\n[topics.__heartbeat]\n";
    let plan = planned(file, &observed, &Options::default());
    assert_eq!(lines(&plan)[0], "~ __heartbeat: partitions 1 → 60");
    assert_eq!(plan.refused[0].way_out, "write partitions = 50");
    let adopted = "[topics.__consumer_offsets]\nmanage = \"adopt\"\npartitions = 60\n";
    assert!(planned(adopted, &observed, &Options::default()).steps.is_empty());
}

#[test]
fn what_lies_in_remote_storage_is_not_given_up_unasked() {
    let own = [
        ("a", "remote.storage.enable", "true", ConfigOrigin::Topic),
        ("a", "remote.log.delete.on.disable", "false", ConfigOrigin::Default),
    ];
    let observed = observed(&[("a", 1, 1)], &own);
    let head = "[topics.a]\npartitions = 1\nreplication_factor = 1\n";
    for config in [
        "\"remote.storage.enable\" = false",
        "\"remote.storage.enable\" = true, \"remote.log.delete.on.disable\" = \"TRUE\"",
    ] {
        let plan = planned(&format!("{head}config = {{ {config} }}\n"), &observed, &Options::default());
        assert!(plan.steps.is_empty() && plan.refused.len() == 1, "{config}: {plan:?}");
        assert_eq!(plan.refused[0].way_out, "confirm it with --yes-loss a");
    }
    let pruned = planned(head, &observed, &Options { prune: true, ..Options::default() });
    assert!(pruned.steps.is_empty() && pruned.refused.len() == 1, "{pruned:?}");
    let gained = "config = { \"remote.storage.enable\" = \"true\" }\n";
    assert!(planned(&format!("{head}{gained}"), &observed, &Options::default()).steps.is_empty());
}

#[test]
fn a_retention_of_ages_is_no_limit() {
    let forever = i64::MAX.to_string();
    let observed = observed(&[("a", 1, 1)], &[("a", "retention.ms", &forever, ConfigOrigin::Topic)]);
    let file =
        "[topics.a]\npartitions = 1\nreplication_factor = 1\nconfig = { \"retention.ms\" = 86400000 }\n";
    let refused = planned(file, &observed, &Options::default());
    assert!(refused.steps.is_empty(), "{refused:?}");
    assert_eq!(refused.refused[0].way_out, "confirm it with --yes-loss a");
    let yes = Options { yes_loss: BTreeSet::from(["a".to_owned()]), ..Options::default() };
    let confirmed = planned(file, &observed, &yes);
    assert_eq!((confirmed.steps.len(), &confirmed.steps[0].towards), (1, &None));
}
