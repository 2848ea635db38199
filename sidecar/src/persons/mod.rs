//! Sync of persons and distinct ids from PostgreSQL to Kafka.
//!
//! Flow: slot → snapshot → stream → change → message → delivered → acknowledged.

mod postgres;
mod requirements;
mod preflight;
mod foreign;
mod source;
mod snapshot;
mod latency;
mod stream;
mod publish;
mod version_guard;
mod checkpoint;
mod leader;
mod audit;

pub(crate) use self::audit::{Audit, AuditReport, Deletions};
pub(crate) use self::foreign::{TopicConflicts, topics_of};
pub(crate) use self::leader::run_leader;
pub(crate) use self::preflight::{Preflight, SlotState, preflight};
pub(crate) use self::requirements::{Requirement, script};
