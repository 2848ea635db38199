//! Saved plan: written for review, applied later to an unchanged cluster.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use anyhow::{Context, anyhow, ensure};
use serde::{Deserialize, Serialize};

use crate::kafka::{ConfigOrigin, TopicConfig};
use crate::topics::plan::{Observed, TopicsPlan};
use crate::topics::spec::{Manage, Spec, Topic};

/// Incremented with every change of the file's format.
const FORMAT: u32 = 1;

/// Content of a plan file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SavedPlan {
    format: u32,
    /// Cluster of the plan.
    pub(crate) cluster_id: Option<String>,
    /// Observed state of the topics in the file.
    seen: BTreeMap<String, PlanBasis>,
    pub(crate) plan: TopicsPlan,
}

/// State that a plan depends on; `None` partitions mean a missing topic.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
struct PlanBasis {
    partitions: Option<usize>,
    replication_factor: usize,
    configs: BTreeMap<String, Option<String>>,
    /// Readers, for topics to delete.
    readers: Option<Vec<String>>,
}

impl SavedPlan {
    /// Combines a plan with the state that it depends on.
    pub(crate) fn new(plan: TopicsPlan, spec: &Spec, observed: &Observed) -> Self {
        let looked_at = spec.topics.iter().filter(|topic| topic.manage != Manage::Ignore);
        let seen = looked_at.map(|topic| (topic.name.clone(), PlanBasis::of(&topic.name, observed)));
        Self { format: FORMAT, cluster_id: observed.cluster.id.clone(), seen: seen.collect(), plan }
    }

    /// Writes the plan as JSON.
    pub(crate) fn write(&self, path: &Path) -> anyhow::Result<()> {
        let text = serde_json::to_string_pretty(self).map_err(io::Error::from);
        text.and_then(|text| std::fs::write(path, text + "\n")).with_context(|| cant_use(path))
    }

    /// Reads a plan that [`SavedPlan::write`] has written.
    ///
    /// # Errors
    /// Fails if the file can't be read, is no plan, or is a plan of another version of posthouse.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read(path).with_context(|| cant_use(path))?;
        let foreign = |reason: String| {
            let path = path.display();
            anyhow!(
                "{path} is no plan of this version of posthouse ({reason}): create it again with posthouse topics plan -o {path}"
            )
        };
        let saved: Self = serde_json::from_slice(&text).map_err(|error| foreign(error.to_string()))?;
        if saved.format != FORMAT {
            return Err(foreign(format!("its format is {}, expected {FORMAT}", saved.format)));
        }
        Ok(saved)
    }

    /// The topics to observe before the plan is applied, as a topics file without desired values.
    pub(crate) fn spec(&self) -> Spec {
        let topic = |(name, seen): (&String, &PlanBasis)| Topic {
            name: name.clone(),
            manage: match seen.readers {
                Some(_) => Manage::Delete,
                None => Manage::Adopt { partitions: None, replication_factor: None },
            },
            config: BTreeMap::new(),
            owner: None,
        };
        Spec { cluster_id: self.cluster_id.clone(), topics: self.seen.iter().map(topic).collect() }
    }

    /// Checks that the cluster is unchanged since the plan was made.
    ///
    /// # Errors
    /// Fails if it is another cluster, or names the changed topics with their differences.
    pub(crate) fn check(&self, observed: &Observed) -> anyhow::Result<()> {
        let id = |id: &Option<String>| id.clone().unwrap_or_else(|| "without a name".to_owned());
        ensure!(
            self.cluster_id == observed.cluster.id,
            "the plan was made for cluster {}, and this is {}: check kafka.brokers in the config",
            id(&self.cluster_id),
            id(&observed.cluster.id)
        );
        let changed: Vec<String> = self
            .seen
            .iter()
            .filter_map(|(name, was)| {
                Some(format!("{name}: {}", was.difference(&PlanBasis::of(name, observed))?))
            })
            .collect();
        ensure!(
            changed.is_empty(),
            "the cluster has changed since the plan was made ({}): no change was made; create the plan again",
            changed.join("; ")
        );
        Ok(())
    }
}

fn cant_use(path: &Path) -> String {
    format!("can't use the plan file {}", path.display())
}

impl PlanBasis {
    fn of(name: &str, observed: &Observed) -> Self {
        let layout = observed.cluster.topics.get(name);
        let own = observed.configs.get(name).into_iter().flatten();
        let own = own.filter(|(_, config)| config.source == ConfigOrigin::Topic);
        Self {
            partitions: layout.map(|layout| layout.partitions.len()),
            replication_factor: layout.map_or(0, crate::kafka::Layout::replication_factor),
            configs: own.map(|(key, TopicConfig { value, .. })| (key.clone(), value.clone())).collect(),
            readers: observed.readers.get(name).cloned(),
        }
    }

    /// The first difference as a short text.
    fn difference(&self, now: &Self) -> Option<String> {
        match (self.partitions, now.partitions) {
            (None, Some(_)) => return Some("it exists now".to_owned()),
            (Some(_), None) => return Some("it no longer exists".to_owned()),
            (was, is) if was != is => {
                let count = |count: Option<usize>| count.unwrap_or_default();
                return Some(format!("partitions {} became {}", count(was), count(is)));
            }
            _ => {}
        }
        if self.replication_factor != now.replication_factor {
            let (was, is) = (self.replication_factor, now.replication_factor);
            return Some(format!("replication factor {was} became {is}"));
        }
        let keys = self.configs.keys().chain(now.configs.keys());
        let changed = keys.into_iter().find(|key| self.configs.get(*key) != now.configs.get(*key));
        if let Some(key) = changed {
            let value = |seen: &Self| match seen.configs.get(key) {
                None => "the brokers' own".to_owned(),
                Some(value) => value.clone().unwrap_or_else(|| "hidden".to_owned()),
            };
            return Some(format!("{key} {} became {}", value(self), value(now)));
        }
        let readers = now.readers.iter().flatten().cloned().collect::<Vec<_>>().join(", ");
        (self.readers != now.readers).then(|| format!("its readers are now: {readers}"))
    }
}
