//! Column readers, one per type of target column.

pub(super) mod text;

pub(super) mod event_id;
pub(super) mod extra;
pub(super) mod id;
pub(super) mod json;
pub(super) mod json_items;
pub(super) mod number;
pub(super) mod object;
pub(super) mod plain_text;
pub(super) mod team_id;
pub(super) mod timestamp;
pub(super) mod uuid;
