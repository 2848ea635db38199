//! Requests of the admin client and the refusals that answer them.

use std::collections::BTreeMap;
use std::fmt;

use rdkafka::types::RDKafkaErrorCode;
use serde::{Deserialize, Serialize};

/// A topic to be created.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// How many partitions.
    pub partitions: i32,
    /// On how many brokers each partition is kept.
    pub replication_factor: i32,
    /// Configs by Kafka's names; those not named are left to the broker.
    pub configs: BTreeMap<String, String>,
}

/// One config of one topic to be changed; those not named stay as they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigChange {
    /// Set on the topic.
    Set {
        /// By Kafka's name.
        key: String,
        /// As text.
        value: String,
    },
    /// Left to the broker again.
    Reset {
        /// By Kafka's name.
        key: String,
    },
}

/// Why a broker, or the library before it, did not do something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Kafka's code.
    pub code: RDKafkaErrorCode,
    /// In the broker's own words; may be empty.
    pub message: String,
}

impl Refusal {
    pub(crate) fn out_of_memory() -> Self {
        Self { code: RDKafkaErrorCode::Fail, message: "out of memory".to_owned() }
    }

    /// Whether the request may have been done all the same, since its answer never came.
    pub fn is_in_doubt(&self) -> bool {
        use RDKafkaErrorCode as Code;
        matches!(
            self.code,
            Code::OperationTimedOut
                | Code::RequestTimedOut
                | Code::MessageTimedOut
                | Code::BrokerTransportFailure
                | Code::NetworkException
                | Code::NotController
        )
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { code, message } = self;
        match message.trim() {
            "" => write!(f, "{code}"),
            message => write!(f, "{message} ({code:?})"),
        }
    }
}
