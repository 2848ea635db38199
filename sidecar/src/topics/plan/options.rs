//! What somebody allows beyond what is harmless.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::super::spec::Spec;

/// A retention drops by a day at a time unless somebody says otherwise: a mistake then costs a day of messages.
const DEFAULT_RETENTION_DROP: Duration = Duration::from_secs(86_400);

/// What a plan may do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Options {
    /// Configs that the file no longer names are left to the brokers again.
    pub prune: bool,
    /// By how much a retention may drop at once.
    pub retention_drop: Duration,
    /// Topics that may be deleted.
    pub yes_delete: BTreeSet<String>,
    /// Topics of which messages may be lost by a change of configs.
    pub yes_loss: BTreeSet<String>,
}

impl Options {
    /// The topics that are confirmed and not in the file: most likely another one was meant.
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
