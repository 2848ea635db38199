//! Topics as code: comparison of `topics.toml` with the brokers, and changes.
//!
//! Changes that lose messages need a confirmation.

mod spec_reader;
pub(crate) mod spec;
mod observe;
pub(crate) mod plan;
pub(crate) mod apply;
pub(crate) mod check;
pub(crate) mod groups;
pub(crate) mod reset;
pub(crate) mod stalls;
mod watcher;
mod reconcile;
mod import;

use crate::cluster::Cluster;
use crate::kafka::KafkaCluster;

pub(crate) use self::apply::lock::LockError;
pub use self::apply::lock::{Lock, LockScope};
pub(crate) use self::apply::{AppliedStep, StepOutcome, apply};
pub(crate) use self::import::import;
pub(crate) use self::observe::observe;
pub(crate) use self::plan::file::SavedPlan;
pub(crate) use self::plan::{Observed, Options, TopicsPlan};
pub(crate) use self::reconcile::reconcile;
pub(crate) use self::spec::{Spec, SpecError, load};

/// Observes the cluster and compares it with the file. Returns the plan and its input. Changes
/// neither.
pub(crate) async fn compare(
    cluster: &Cluster,
    spec: &Spec,
    options: &Options,
) -> anyhow::Result<(TopicsPlan, Observed)> {
    let unnamed = options.unnamed(spec);
    if !unnamed.is_empty() {
        return Err(UnnamedTopicsError { topics: unnamed.join(", ") }.into());
    }
    let observed = observe(cluster, spec).await?;
    guard(spec, &observed.cluster)?;
    let mut plan = plan::plan(spec, &observed, options);
    plan::reclaim::fill_in(cluster.kafka()?, &observed.cluster, &mut plan.steps).await;
    Ok((plan, observed))
}

/// A confirmation names a topic that is missing in the file; exit code 2.
#[derive(Debug, thiserror::Error)]
#[error(
    "--yes-delete and --yes-loss are for topics of the topics file, and it does not name {topics}: correct the name"
)]
pub(crate) struct UnnamedTopicsError {
    topics: String,
}

/// The brokers are not the cluster of the topics file.
#[derive(Debug, thiserror::Error)]
#[error(
    "the topics file is for cluster {wanted}, and the brokers are of cluster {found}: check kafka.brokers in the config, or \
     cluster_id in the topics file"
)]
pub(crate) struct OtherCluster {
    wanted: String,
    found: String,
}

/// Fails if the file names a cluster and the brokers are of another one.
fn guard(spec: &Spec, cluster: &KafkaCluster) -> Result<(), OtherCluster> {
    match &spec.cluster_id {
        Some(wanted) if cluster.id.as_ref() != Some(wanted) => {
            let found = cluster.id.clone().unwrap_or_else(|| "without a name".to_owned());
            Err(OtherCluster { wanted: wanted.clone(), found })
        }
        _ => Ok(()),
    }
}
