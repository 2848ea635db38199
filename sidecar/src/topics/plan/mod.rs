//! Plan of the changes that make the brokers match `topics.toml`.
//!
//! A pure comparison of desired and observed state, including refusals.

mod options;
pub(super) mod values;
mod change;
mod configs;
pub(super) mod retention;
pub(super) mod placement;
pub(super) mod reclaim;
pub(crate) mod file;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

pub(crate) use self::change::{Frees, Step, TopicChange};
use self::configs::{check_min_isr, compare};
pub(crate) use self::options::Options;
use super::spec::{Manage, Spec, Topic};
use crate::kafka::{KafkaCluster, Layout, NewTopic, TopicConfig};

/// Observed state of the file's topics, and readers of topics to delete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Observed {
    pub(crate) cluster: KafkaCluster,
    /// All configs of the file's topics that exist.
    pub(crate) configs: BTreeMap<String, BTreeMap<String, TopicConfig>>,
    /// Readers of each topic as short texts; only for topics to delete.
    pub(crate) readers: BTreeMap<String, Vec<String>>,
}

/// A change that posthouse refuses. Its topic is left unchanged as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Refused {
    pub(crate) topic: String,
    /// The change and the reason.
    pub(crate) what: String,
    /// The hint.
    pub(crate) way_out: String,
}

/// A remark about a topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Note {
    pub(crate) topic: String,
    pub(crate) text: String,
}

/// The whole comparison.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TopicsPlan {
    /// Creations first, deletions last.
    pub(crate) steps: Vec<Step>,
    pub(crate) refused: Vec<Refused>,
    /// Remarks without a step.
    pub(crate) notes: Vec<Note>,
    /// Number of unchanged topics of the file.
    pub(crate) in_line: usize,
    /// Number of topics that the file does not name. Plans never change them.
    pub(crate) unlisted: usize,
}

impl TopicsPlan {
    /// Whether the cluster differs from the file.
    pub(crate) fn differs(&self) -> bool {
        !self.steps.is_empty() || !self.refused.is_empty()
    }
}

/// Planned steps and refusals of one topic.
#[derive(Default)]
struct TopicVerdict {
    steps: Vec<Step>,
    refused: Vec<(String, String)>,
}

impl TopicVerdict {
    fn refuse(&mut self, what: impl Into<String>, way_out: impl Into<String>) {
        self.refused.push((what.into(), way_out.into()));
    }
}

/// Compares desired and observed state. Skips topics that the file does not name, and topics with
/// any refusal.
pub(crate) fn plan(spec: &Spec, observed: &Observed, options: &Options) -> TopicsPlan {
    let named: BTreeSet<&str> = spec.topics.iter().map(|topic| topic.name.as_str()).collect();
    let others = observed.cluster.topics.keys().filter(|name| !named.contains(name.as_str()));
    let unlisted = others.filter(|name| !is_internal(name)).count();
    let mut plan =
        TopicsPlan { steps: Vec::new(), refused: Vec::new(), notes: Vec::new(), in_line: 0, unlisted };
    for topic in &spec.topics {
        let layout = observed.cluster.topics.get(&topic.name);
        let verdict = plan_topic(topic, layout, observed, options);
        if let Some(layout) = layout.filter(|_| topic.manage != Manage::Ignore) {
            let notes = placement::faults(layout, &observed.cluster.brokers);
            plan.notes.extend(notes.into_iter().map(|text| Note { topic: topic.name.clone(), text }));
        }
        if verdict.refused.is_empty() {
            plan.in_line += usize::from(verdict.steps.is_empty());
            plan.steps.extend(verdict.steps);
        }
        let refused = verdict.refused.into_iter();
        plan.refused.extend(refused.map(|(what, way_out)| Refused {
            topic: topic.name.clone(),
            what,
            way_out,
        }));
    }
    plan.steps.sort_by_key(|step| match step.change {
        TopicChange::Create(_) => 0,
        TopicChange::AddPartitions { .. } => 1,
        TopicChange::SetConfig { .. } | TopicChange::ResetConfig { .. } => 2,
        TopicChange::Delete { .. } => 3,
    });
    plan
}

/// Internal topics whose records Kafka finds by the partition count. With more partitions Kafka
/// looks in a different partition, and every group loses its offsets.
const COUNTED: [&str; 3] = ["__consumer_offsets", "__share_group_state", "__transaction_state"];

/// Whether a topic is Kafka's own, by its prefix.
pub(super) fn is_internal(topic: &str) -> bool {
    topic.starts_with("__")
}

fn plan_topic(
    topic: &Topic,
    layout: Option<&Layout>,
    observed: &Observed,
    options: &Options,
) -> TopicVerdict {
    let mut verdict = TopicVerdict::default();
    match (topic.manage, layout) {
        (Manage::Ignore, _) | (Manage::Delete, None) => {}
        (Manage::Delete, Some(layout)) => delete(topic, layout, observed, options, &mut verdict),
        (Manage::Full { partitions, replication_factor }, None) => {
            let name = topic.name.clone();
            let new = NewTopic { name, partitions, replication_factor, configs: topic.config.clone() };
            check_min_isr(topic, usize::try_from(replication_factor).unwrap_or_default(), &mut verdict);
            verdict.steps.push(TopicChange::Create(new).into());
        }
        (Manage::Adopt { .. }, None) => verdict.refuse(
            "it does not exist, and manage = \"adopt\" leaves its creation to another program",
            "create it, or let posthouse do so with manage = \"full\"",
        ),
        (Manage::Full { partitions, replication_factor }, Some(layout)) => {
            plan_layout(topic, layout, Some(partitions), Some(replication_factor), &mut verdict);
            compare(topic, layout, observed.configs.get(&topic.name), options, &mut verdict);
        }
        (Manage::Adopt { partitions, replication_factor }, Some(layout)) => {
            plan_layout(topic, layout, partitions, replication_factor, &mut verdict);
            let options = Options { prune: false, ..options.clone() };
            compare(topic, layout, observed.configs.get(&topic.name), &options, &mut verdict);
        }
    }
    verdict
}

/// Plans partition count and replication factor.
fn plan_layout(
    topic: &Topic,
    layout: &Layout,
    partitions: Option<i32>,
    copies: Option<i32>,
    verdict: &mut TopicVerdict,
) {
    let (has, wanted) = (layout.partitions.len(), partitions.and_then(|count| usize::try_from(count).ok()));
    match wanted {
        Some(wanted) if wanted > has && COUNTED.contains(&topic.name.as_str()) => verdict.refuse(
            format!("it has {has} partitions, and with {wanted} Kafka would not find its own records"),
            format!("write partitions = {has}"),
        ),
        Some(wanted) if wanted > has => {
            let name = topic.name.clone();
            let mut step = Step::from(TopicChange::AddPartitions { name, from: has, to: wanted });
            step.warnings.push(
                "messages of one key go to another partition from now on: a consumer that needs their order, or \
                 compaction by key, must finish the old ones first"
                    .to_owned(),
            );
            verdict.steps.push(step);
        }
        Some(wanted) if wanted < has => verdict.refuse(
            format!("it has {has} partitions, and Kafka can't reduce them to {wanted}"),
            format!(
                "write partitions = {has}; or create a new topic, move producers there, and let consumers finish the old one"
            ),
        ),
        _ => {}
    }
    let (has, wanted) = (layout.replication_factor(), copies.and_then(|count| usize::try_from(count).ok()));
    if let Some(wanted) = wanted.filter(|wanted| *wanted != has) {
        verdict.refuse(
            format!("its replication factor is {has}, and changing it to {wanted} moves partitions"),
            format!(
                "write replication_factor = {has}; or move them with kafka-reassign-partitions.sh, and then write {wanted}"
            ),
        );
    }
}

fn delete(
    topic: &Topic,
    layout: &Layout,
    observed: &Observed,
    options: &Options,
    verdict: &mut TopicVerdict,
) {
    let name = &topic.name;
    if is_internal(name) {
        return verdict.refuse("it is Kafka's own", "take it out of the file");
    }
    let readers = observed.readers.get(name).map(Vec::as_slice).unwrap_or_default();
    if !readers.is_empty() {
        return verdict.refuse(
            format!("it is not deleted while it is read, by {}", readers.join(", ")),
            "stop its readers first",
        );
    }
    if !options.yes_delete.contains(name) {
        return verdict.refuse(
            "it would be deleted with all its messages, which can't be restored",
            format!("confirm it with --yes-delete {name}"),
        );
    }
    let partitions = layout.partitions.len();
    verdict.steps.push(TopicChange::Delete { name: name.clone(), partitions }.into());
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "! {}: {}: {}", self.topic, self.what, self.way_out)
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "note {}: {}", self.topic, self.text)
    }
}
