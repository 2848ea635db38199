//! Arrow batches as events, by a mapping that is checked before the first row.
