//! Persons from PostgreSQL: how soon a change is seen on every node, and how fast both tables are copied the first time.

mod cpu;
mod latency;
mod probes;
mod snapshot;
mod topics;

pub(crate) use latency::run as latency;
pub(crate) use snapshot::run as snapshot;
