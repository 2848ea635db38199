//! The reader of a topic: posthouse's own tables, or another program.

use super::reader::Table;
use super::{Consumer, DEFAULT_CONSUMER, rules};

const CONSUMER: &[(&str, Consumer)] = &[("own", Consumer::Own), ("none", Consumer::None)];

/// Who reads the topics of `[events]` or `[persons]`.
pub(super) fn consumer(table: &mut Table<'_>) -> Consumer {
    table.or("consumer", DEFAULT_CONSUMER, rules::one_of(CONSUMER))
}
