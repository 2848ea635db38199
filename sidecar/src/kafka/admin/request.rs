//! Requests of the admin client and their refusals.

use std::collections::BTreeMap;
use std::fmt;

use rdkafka::types::RDKafkaErrorCode;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NewTopic {
    pub(crate) name: String,
    pub(crate) partitions: i32,
    pub(crate) replication_factor: i32,
    /// By Kafka's names. The broker decides all others.
    pub(crate) configs: BTreeMap<String, String>,
}

/// A change of one topic config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ConfigChange {
    Set {
        key: String,
        value: String,
    },
    /// Back to the brokers' value.
    Reset {
        key: String,
    },
}

/// Reason of a broker, or of the library, for rejecting a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub(crate) code: RDKafkaErrorCode,
    /// The broker's own text; may be empty.
    pub(crate) message: String,
}

impl Refusal {
    pub(crate) fn out_of_memory() -> Self {
        Self { code: RDKafkaErrorCode::Fail, message: "out of memory".to_owned() }
    }

    /// Whether the request may have been executed although its answer was lost.
    pub(crate) fn is_in_doubt(&self) -> bool {
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
