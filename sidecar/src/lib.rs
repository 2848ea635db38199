//! Sidecar for topics, schema, functions and persons of a ClickHouse cluster.

#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]

pub mod config;
mod sql;
mod backoff;
mod span;
pub mod node;
pub mod kafka;
pub mod cluster;
pub mod topics;
pub mod schema;
pub mod takeover;
pub mod udf;
pub mod persons;
pub mod backfill;
pub mod supervise;
pub mod metrics;
pub mod http;
pub mod daemon;
