//! Event columns beyond the core: values, hashes, and their record in the ledger.
//!
//! The registry of event columns defines them. Each is handled column by column, so that a load of
//! core columns alone does the same work as without them.

mod column;
mod filled;
mod hash;
mod value;
mod values;

pub(crate) use self::column::{CellLayout, ExtraColumn};
pub(crate) use self::filled::{FilledColumn, HashedColumn, UnknownColumns};
pub(crate) use self::hash::CellHasher;
pub(crate) use self::value::CellValue;
pub(crate) use self::values::{Cells, ExtraValues};
