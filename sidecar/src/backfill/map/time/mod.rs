//! Timestamps from Arrow values and strings.

pub(super) mod range;

mod offset;
pub(super) mod zone;

pub(super) mod iso8601;
mod written;

pub(super) mod decode;
