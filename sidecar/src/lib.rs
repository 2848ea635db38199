//! Sidecar for topics, schema, functions and persons of a ClickHouse cluster.

// Both macros panic when the reader of their output is gone. cli/notices.rs and cli/output.rs
// write instead.
#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]

mod secret;
mod config;
mod tls;
mod sql;
mod backoff;
mod rights;
mod span;
mod duration;
mod visible;
mod node;
mod kafka;
mod event_columns;
mod cluster;
mod topics;
mod schema;
mod takeover;
mod udf;
mod persons;
mod person_index;
mod backfill;
mod squash;
mod supervise;
mod metrics;
mod http;
mod daemon;
mod cli;

pub use cli::run_command_line;

/// Parts that integration tests use without the command line.
#[doc(hidden)]
pub mod parts {
    pub use crate::backfill::source::{
        Object, ObjectReader, Selection, SkipReason, Skipped, SourceError, Sources, footer_hash,
    };
    pub use crate::config::{HostPort, Kafka, KafkaAccess};
    pub use crate::kafka::Client;
    pub use crate::kafka::wire::{Connection, WireAccess};
    pub use crate::node::SETTINGS;
    pub use crate::rights::{BASE, CLICKHOUSE_RIGHTS, CommandRights, KAFKA_RIGHTS};
    pub use crate::topics::{Lock, LockScope};
    pub use crate::udf::Release;
    pub use crate::udf::xml::functions_xml;
}
