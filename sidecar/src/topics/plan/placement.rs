//! Findings about a topic's partitions: leaders, replicas and broker skew.
//!
//! Findings only, because moving partitions is the work of Kafka's own tools.

use std::collections::{BTreeMap, BTreeSet};

use crate::kafka::Layout;

/// The placement problems of a topic, each as a sentence.
pub(crate) fn faults(layout: &Layout, brokers: &BTreeSet<i32>) -> Vec<String> {
    let mut faults = Vec::new();
    let leaderless: Vec<usize> = numbers(layout, |partition| partition.leader.is_none());
    if !leaderless.is_empty() {
        faults.push(format!(
            "{} no leader, so reads and writes fail: start the brokers that have {}",
            listed(&leaderless, "has", "have"),
            if leaderless.len() == 1 { "it" } else { "them" }
        ));
    }
    let lacking = numbers(layout, |partition| {
        partition.leader.is_some() && partition.in_sync.len() < partition.replicas.len()
    });
    if !lacking.is_empty() {
        let away: BTreeSet<i32> = lacking
            .iter()
            .flat_map(|number| {
                let partition = &layout.partitions[*number];
                partition.replicas.iter().filter(|replica| !partition.in_sync.contains(replica)).copied()
            })
            .collect();
        let away: Vec<String> = away
            .iter()
            .map(|id| format!("{id}{}", if brokers.contains(id) { " (up, behind)" } else { " (down)" }))
            .collect();
        faults.push(format!(
            "{} under-replicated: out of sync on broker {}",
            listed(&lacking, "is", "are"),
            away.join(", ")
        ));
    }
    faults.extend(check_replica_counts(layout));
    faults.extend(check_broker_skew(layout, brokers));
    faults
}

/// Reports different replica counts. The smallest one counts as the topic's.
fn check_replica_counts(layout: &Layout) -> Option<String> {
    let (least, most) = (
        layout.replication_factor(),
        layout.partitions.iter().map(|partition| partition.replicas.len()).max()?,
    );
    let few = numbers(layout, |partition| partition.replicas.len() < most);
    (least < most).then(|| {
        format!(
            "{} fewer copies than others, {least} instead of {most}: kafka-reassign-partitions.sh adds some",
            listed(&few, "has", "have")
        )
    })
}

/// Reports a broker that holds at least two partitions more than another one.
fn check_broker_skew(layout: &Layout, brokers: &BTreeSet<i32>) -> Option<String> {
    let mut held: BTreeMap<i32, usize> = brokers.iter().map(|id| (*id, 0)).collect();
    for replica in layout.partitions.iter().flat_map(|partition| &partition.replicas) {
        *held.entry(*replica).or_default() += 1;
    }
    let most = held.iter().max_by_key(|(_, count)| **count)?;
    let least = held.iter().min_by_key(|(_, count)| **count)?;
    (most.1 - least.1 > 1).then(|| {
        format!(
            "badly spread: broker {} holds {} of its partitions, broker {} holds {}; posthouse moves none, \
             kafka-reassign-partitions.sh does",
            most.0, most.1, least.0, least.1
        )
    })
}

fn numbers(layout: &Layout, is: impl Fn(&crate::kafka::Partition) -> bool) -> Vec<usize> {
    let partitions = layout.partitions.iter().enumerate();
    partitions.filter(|(_, partition)| is(partition)).map(|(number, _)| number).collect()
}

/// `partition 3 is` or `partitions 1, 2 and 14 more are`.
fn listed(numbers: &[usize], one: &str, many: &str) -> String {
    const SHOWN: usize = 8;
    let shown: Vec<String> = numbers.iter().take(SHOWN).map(ToString::to_string).collect();
    let more = numbers.len().saturating_sub(SHOWN);
    match (numbers.len(), more) {
        (1, _) => format!("partition {} {one}", shown[0]),
        (_, 0) => format!("partitions {} {many}", shown.join(", ")),
        (_, more) => format!("partitions {} and {more} more {many}", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::Partition;

    fn layout(partitions: &[(Option<i32>, &[i32], &[i32])]) -> Layout {
        let partitions = partitions.iter().map(|(leader, replicas, in_sync)| Partition {
            leader: *leader,
            replicas: replicas.to_vec(),
            in_sync: in_sync.to_vec(),
        });
        Layout { partitions: partitions.collect() }
    }

    #[test]
    fn a_sound_topic_has_no_faults() {
        let brokers = BTreeSet::from([1, 2, 3]);
        let sound = layout(&[(Some(1), &[1, 2], &[1, 2]), (Some(3), &[3, 1], &[3, 1])]);
        assert_eq!(faults(&sound, &brokers), [""; 0]);
        assert_eq!(faults(&Layout::default(), &brokers), [""; 0]);
    }

    #[test]
    fn what_lacks_and_what_crowds_is_named() {
        let brokers = BTreeSet::from([1, 2]);
        let bad = layout(&[
            (None, &[3], &[]),
            (Some(1), &[1, 3], &[1]),
            (Some(1), &[1, 2], &[1]),
            (Some(1), &[1], &[1]),
        ]);
        let faults = faults(&bad, &brokers);
        assert!(faults[0].starts_with("partition 0 has no leader"), "{faults:?}");
        assert_eq!(
            faults[1],
            "partitions 1, 2 are under-replicated: out of sync on broker 2 (up, behind), 3 (down)"
        );
        assert_eq!(
            faults[2],
            "partitions 0, 3 have fewer copies than others, 1 instead of 2: kafka-reassign-partitions.sh adds some"
        );
        assert!(faults[3].starts_with("badly spread: broker 1 holds 3"), "{faults:?}");
    }
}
