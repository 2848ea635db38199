//! Values of a column in a batch.

use arrow_array::{ArrayRef, BooleanArray};
use arrow_buffer::NullBuffer;
use arrow_select::zip::zip;

pub(crate) struct ResolvedColumn {
    pub(crate) array: ArrayRef,
    /// Nulls of the column combined with the nulls of the enclosing structs.
    pub(crate) nulls: Option<NullBuffer>,
}

impl ResolvedColumn {
    pub(crate) fn is_null(&self, row: usize) -> bool {
        self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row))
    }
}

/// Returns the first value of each row that is not null. `None` if there is no column. The columns
/// have one type.
pub(super) fn coalesce(mut columns: Vec<ResolvedColumn>) -> Option<ResolvedColumn> {
    let last = columns.pop()?;
    columns.into_iter().rev().try_fold(last, |rest, first| {
        let Some(nulls) = first.nulls else { return Some(first) };
        let has_value = BooleanArray::new(nulls.inner().clone(), None);
        let array = zip(&has_value, &first.array, &rest.array).ok()?;
        let nulls = rest.nulls.map(|rest| NullBuffer::new(nulls.inner() | rest.inner()));
        Some(ResolvedColumn { array, nulls: nulls.filter(|nulls| nulls.null_count() > 0) })
    })
}
