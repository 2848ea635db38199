//! Topics as code: `topics.toml` and what the brokers hold, compared, and brought in line as far as nothing is lost by it.

pub mod apply;
pub mod check;
pub mod groups;
mod import;
pub mod lock;
mod observe;
mod placement;
pub mod plan;
pub mod reset;
mod retention;
pub mod saved;
pub mod spec;
mod tables;
mod values;

pub use self::apply::{Applied, ApplyError, Outcome, apply};
pub use self::import::import;
pub use self::lock::{Lock, LockError};
pub use self::observe::observe;
pub use self::plan::{Change, Options, Plan, plan};
pub use self::saved::{SavedError, SavedPlan};
pub use self::spec::{Spec, SpecError, load};
pub use self::tables::{KafkaTable, kafka_tables};

/// The brokers are not those that the topics file is for.
#[derive(Debug, thiserror::Error)]
#[error(
    "the topics file is for cluster {wanted}, and the brokers are of cluster {found}: check kafka.brokers in the config, or \
     cluster_id in the topics file"
)]
pub struct OtherCluster {
    wanted: String,
    found: String,
}

/// Guards against the wrong cluster.
///
/// # Errors
/// [`OtherCluster`] if the file names a cluster and the brokers are of another one.
pub fn guard(spec: &Spec, cluster: &crate::kafka::Cluster) -> Result<(), OtherCluster> {
    match &spec.cluster_id {
        Some(wanted) if cluster.id.as_ref() != Some(wanted) => {
            let found = cluster.id.clone().unwrap_or_else(|| "without a name".to_owned());
            Err(OtherCluster { wanted: wanted.clone(), found })
        }
        _ => Ok(()),
    }
}
