//! The `consumer` key: posthouse's own tables, or another program.

use super::reader::ConfigTable;
use super::{Consumer, DEFAULT_CONSUMER, rules};

const CONSUMER: &[(&str, Consumer)] = &[("own", Consumer::Own), ("none", Consumer::None)];

pub(super) fn consumer(table: &mut ConfigTable<'_>) -> Consumer {
    table.or("consumer", DEFAULT_CONSUMER, rules::one_of(CONSUMER))
}
