//! Options of a plan, with confirmations of risky changes.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::super::spec::Spec;

/// By default a retention drops by a day per step, so that a mistake costs a day of messages.
const DEFAULT_RETENTION_DROP: Duration = Duration::from_secs(86_400);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Options {
    /// Whether configs that the file no longer names go back to the brokers' value.
    pub(crate) prune: bool,
    /// Largest drop of a retention per step.
    pub(crate) retention_drop: Duration,
    /// Topics that may be deleted.
    pub(crate) yes_delete: BTreeSet<String>,
    /// Topics that may lose messages by a config change.
    pub(crate) yes_loss: BTreeSet<String>,
}

impl Options {
    /// Confirmed topics that the file does not name. Most likely the name is wrong.
    pub(in crate::topics) fn unnamed(&self, spec: &Spec) -> Vec<String> {
        let confirmed = self.yes_delete.union(&self.yes_loss);
        let named = |name: &&String| spec.topics.iter().any(|topic| topic.name == **name);
        confirmed.filter(|name| !named(name)).cloned().collect()
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            prune: false,
            retention_drop: DEFAULT_RETENTION_DROP,
            yes_delete: BTreeSet::new(),
            yes_loss: BTreeSet::new(),
        }
    }
}
