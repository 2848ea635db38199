//! Topics as code: `topics.toml` and what the brokers hold, compared, and what is missing created.

pub mod apply;
pub mod observe;
pub mod plan;
pub mod spec;

use rdkafka::config::ClientConfig;

use crate::config::{HostPort, Kafka};

pub use self::apply::{Outcome, TopicOutcome, apply};
pub use self::observe::{Observed, observe};
pub use self::plan::{Change, Note, Plan, plan};
pub use self::spec::{SpecError, Topic, load};

/// What can go wrong between posthouse and the brokers.
#[derive(Debug, thiserror::Error)]
pub enum KafkaError {
    /// No broker answered in time.
    #[error(
        "no kafka broker answers at {brokers} within {seconds} s: check that one runs and that kafka.brokers is right"
    )]
    Unreachable {
        /// Those of the config.
        brokers: String,
        /// How long was waited.
        seconds: u64,
    },
    /// The client library refused to be set up, or a request failed as a whole.
    #[error("kafka at {brokers} could not {task}")]
    Failed {
        /// Those of the config.
        brokers: String,
        /// What was asked for.
        task: &'static str,
        /// What the client library said.
        #[source]
        source: rdkafka::error::KafkaError,
    },
}

/// The brokers as messages and librdkafka write them.
pub(crate) fn broker_list(kafka: &Kafka) -> String {
    kafka.brokers.iter().map(HostPort::to_string).collect::<Vec<_>>().join(",")
}

fn client_config(kafka: &Kafka) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", broker_list(kafka)).set("client.id", "posthouse");
    config
}
