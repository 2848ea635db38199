//! One binary per node: keeps topics, schema and functions right.

#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]

pub mod backfill;
pub mod config;
pub mod daemon;
pub mod http;
pub mod kafka;
pub mod node;
pub mod persons;
pub mod schema;
mod sql;
pub mod supervise;
pub mod takeover;
pub mod topics;
pub mod udf;
