//! Column readers, one per type of target column.

pub(super) mod text;

pub(super) mod extra;
pub(super) mod json;
pub(super) mod number;
pub(super) mod team_id;
pub(super) mod timestamp;
pub(super) mod uuid;
