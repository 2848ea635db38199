//! Storing of materialized columns in parts from before the columns.
//!
//! A part says itself whether it has a column, so that a repeated call continues where the one
//! before ended, and no progress is recorded.

mod old_parts;
mod plan;
mod progress;
mod run;

pub(crate) use self::old_parts::Mutation;
pub(crate) use self::plan::{MaterializePlan, MaterializeRequest, plan_materialize};
pub(crate) use self::progress::MaterializeProgress;
pub(crate) use self::run::{StallWatch, materialize, running_mutations};
