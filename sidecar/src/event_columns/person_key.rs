//! Column with the key of an event's distinct id in the person index.

use super::{ColumnOrigin, Derivation, EventColumn};

/// Path below `sql/` of the expression, which is also [`posthouse_udf::snapshot::person_key`].
pub(crate) const PERSON_KEY_FILE: &str = "events/person_key.sql";

/// The column of `events.person_key`. A built-in computes it, so an insert needs no functions.
pub(crate) fn person_key() -> EventColumn {
    EventColumn::new("person_key", "UInt64", ColumnOrigin::Materialized(Derivation::File(PERSON_KEY_FILE)))
}
