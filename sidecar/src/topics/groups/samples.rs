//! Samples for the tests of groups, resets and checks.

use std::collections::{BTreeMap, BTreeSet};

use super::{GroupSnapshot, KafkaTable};
use crate::kafka::{Group, KafkaCluster, Layout, Member, OffsetBounds, Partition, TopicPartition};

/// A cluster with one topic of two partitions. Group `g` is at 5 in the first and has no commit in
/// the second. Both have messages from 2 to 10.
pub(in super::super) fn seen() -> GroupSnapshot {
    let led = Partition { leader: Some(1), replicas: vec![1], in_sync: vec![1] };
    let layout = Layout { partitions: vec![led.clone(), led] };
    let topics = BTreeMap::from([("t".to_owned(), layout)]);
    let bounds = [place(0), place(1)].map(|place| (place, OffsetBounds { first: 2, end: 10 }));
    GroupSnapshot {
        cluster: KafkaCluster { id: None, brokers: BTreeSet::from([1]), topics },
        groups: vec![Group { name: "g".to_owned(), state: "Empty".to_owned(), members: Vec::new() }],
        tables: Vec::new(),
        silent: BTreeMap::new(),
        committed: BTreeMap::from([("g".to_owned(), BTreeMap::from([(place(0), 5)]))]),
        kept: BTreeMap::new(),
        bounds: bounds.into(),
    }
}

pub(in super::super) fn place(partition: i32) -> TopicPartition {
    TopicPartition { topic: "t".to_owned(), partition }
}

pub(in super::super) fn table(node: &str, keeper_path: Option<&str>) -> KafkaTable {
    KafkaTable {
        node: node.to_owned(),
        database: "d".to_owned(),
        name: "k".to_owned(),
        brokers: "b:1".to_owned(),
        topics: vec!["t".to_owned()],
        group: "g".to_owned(),
        consumers: 1,
        keeper_path: keeper_path.map(str::to_owned),
        replica: keeper_path.map(|_| node.to_owned()),
        views: 2,
        ..KafkaTable::default()
    }
}

pub(in super::super) fn member(client: &str, partitions: &[i32]) -> Member {
    Member {
        id: "1".to_owned(),
        client: client.to_owned(),
        host: "/10.0.0.1".to_owned(),
        assigned: Some(vec![("t".to_owned(), partitions.to_vec())]),
    }
}
