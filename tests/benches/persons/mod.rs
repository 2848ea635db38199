//! Persons from PostgreSQL: how soon a change is seen on every node, how fast both tables are copied the first time, and how
//! long audits and repairs take.

mod audit;
mod cpu;
mod latency;
mod probes;
mod snapshot;
mod topics;

pub(crate) use audit::run as audit;
pub(crate) use latency::run as latency;
pub(crate) use snapshot::run as snapshot;
