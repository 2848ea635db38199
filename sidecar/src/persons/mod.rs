//! Persons and their distinct ids: from PostgreSQL's WAL to the topics that every node reads.
//!
//! slot → copy → stream → change → message → delivered → acknowledged.

mod audit;
mod audits;
mod change;
mod copy;
mod dependents;
mod foreign;
mod leader;
mod lookup;
mod message;
mod newest;
mod person_cache;
mod pgoutput;
mod postgres;
mod preflight;
mod publish;
mod requirements;
mod row;
mod slot;
mod slot_creation;
mod source;
mod state;
mod stream;
mod table;
mod version;

pub use self::audit::{Audit, AuditError, Deletions, Difference, NodeReport, Report, TableReport};
pub use self::foreign::{
    ClearanceError, ConflictError, Conflicts, ForeignMessage, LookError, TableConflicts, TopicConflicts,
    topics_of,
};
pub use self::leader::{LeadError, lead};
pub use self::preflight::{Preflight, PreflightError, SlotState, SourceTable, preflight};
pub use self::requirements::{Requirement, RequirementState, UnmetError, script};
