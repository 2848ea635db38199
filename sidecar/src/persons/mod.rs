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

pub use self::audit::{Audit, AuditError, AuditReport, Deletions, Difference, NodeReport, TableReport};
pub use self::foreign::{
    ClearanceError, ConflictError, Conflicts, ForeignMessage, LookError, TableConflicts, TopicConflicts,
    topics_of,
};
pub use self::leader::{LeadError, run_leader};
pub use self::preflight::{Preflight, PreflightError, SlotState, SourceTable, preflight};
pub use self::requirements::{Requirement, RequirementState, UnmetError, script};
