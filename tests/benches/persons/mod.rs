//! Benchmarks of person sync from PostgreSQL.
//!
//! They measure the latency of a change to every node, the speed of the initial snapshot, and the
//! time of audits and repairs.

mod audit;
mod cpu;
pub(crate) mod latency;
pub(crate) mod probes;
mod snapshot;
mod topics;

pub(crate) use audit::run as audit;
pub(crate) use latency::run as latency;
pub(crate) use snapshot::run as snapshot;
