//! String columns from any string or binary type.
//!
//! Values are views of the source's bytes, without a copy.

use std::sync::Arc;

use arrow_array::{Array, BinaryViewArray, RecordBatch};
use arrow_buffer::NullBuffer;

use super::id::id_texts;
use super::json;
pub(crate) use super::plain_text::{bytes, is_text};
use super::plain_text::{plain_texts, repeated, view_in};
use crate::backfill::map::mapping::find::{FoundColumn, ResolvedColumn};
use crate::backfill::map::reject::Faults;

/// Maximum number of characters of an invalid value in a message.
const VALUE_SHOWN: usize = 60;

/// Source of a string column of events.
#[derive(Debug, Clone)]
pub(crate) enum StringColumn {
    /// The same bytes in every row.
    Constant(String),
    Column {
        /// Column of events, for messages.
        target: Arc<str>,
        column: FoundColumn,
        /// Replaces null. Without a default, a null is rejected.
        default: Option<String>,
        floats: FloatText,
    },
}

/// Text of floats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FloatText {
    /// Digits of a whole number. Others are rejected.
    Whole,
    Shortest,
}

impl StringColumn {
    /// Returns one string per row, empty for invalid rows.
    pub(crate) fn read(&self, batch: &RecordBatch, faults: &mut Faults) -> BinaryViewArray {
        let (target, column, default, floats) = match self {
            Self::Constant(text) => return repeated(text.as_bytes(), batch.num_rows()),
            Self::Column { target, column, default, floats } => (target, column, default.as_deref(), floats),
        };
        let read = column.values(batch).and_then(|values| {
            let texts = if json::is_nested(column.field.data_type()) {
                json::texts(target, column, &values, faults)?
            } else if *floats == FloatText::Whole {
                id_texts(target, column, &values, faults)?
            } else {
                plain_texts(&column.field, &values.array)?
            };
            Some(sound(target, &column.name, default, texts, &values, faults))
        });
        read.unwrap_or_else(|| {
            let fillers = absent(&column.name, batch, faults, "");
            BinaryViewArray::from_iter_values(fillers)
        })
    }
}

/// Replaces nulls in `texts` and rejects values that are not UTF-8, like messages from Kafka.
fn sound(
    target: &str,
    column: &str,
    default: Option<&str>,
    texts: BinaryViewArray,
    values: &ResolvedColumn,
    faults: &mut Faults,
) -> BinaryViewArray {
    if default.is_none() {
        for row in values.nulls.iter().flat_map(null_rows) {
            faults.add(row, &format!("{target} is null (column {column})"));
        }
    }
    let texts = filled(texts, values.nulls.as_ref(), default.unwrap_or_default().as_bytes());
    for row in (0..texts.len()).filter(|row| !is_utf8(texts.value(*row))) {
        let shown = quoted(texts.value(row));
        faults.add(row, &format!("{target} {shown} in column {column} is not UTF-8"));
    }
    texts
}

/// `texts` with a view of `default` for every null.
fn filled(texts: BinaryViewArray, nulls: Option<&NullBuffer>, default: &[u8]) -> BinaryViewArray {
    let Some(nulls) = nulls else { return texts };
    let mut buffers = texts.data_buffers().to_vec();
    let default = view_in(&mut buffers, default);
    let view = |(row, view): (usize, &u128)| if nulls.is_null(row) { default } else { *view };
    BinaryViewArray::new(texts.views().iter().enumerate().map(view).collect(), buffers, None)
}

/// Null rows in ascending order.
pub(crate) fn null_rows(nulls: &NullBuffer) -> impl Iterator<Item = usize> + '_ {
    (0..nulls.len()).filter(|row| nulls.is_null(*row))
}

pub(super) fn is_utf8(text: &[u8]) -> bool {
    is_ascii(text) || simdutf8::basic::from_utf8(text).is_ok()
}

/// Most strings are ASCII, and testing 8 bytes at a time is fastest. The last chunk overlaps the
/// previous one.
fn is_ascii(text: &[u8]) -> bool {
    const NOT_ASCII: u64 = u64::from_ne_bytes([0x80; 8]);
    let Some(last) = text.last_chunk() else { return text.is_ascii() };
    let words = text.as_chunks().0.iter();
    let seen = words.fold(u64::from_ne_bytes(*last), |seen, word| seen | u64::from_ne_bytes(*word));
    seen & NOT_ASCII == 0
}

/// Rejects every row of a batch that lacks `column`. No values are invented for it.
pub(crate) fn absent<T: Clone>(column: &str, batch: &RecordBatch, faults: &mut Faults, filler: T) -> Vec<T> {
    for row in 0..batch.num_rows() {
        faults.add(row, &format!("column {column} can't be read from this batch"));
    }
    vec![filler; batch.num_rows()]
}

/// An invalid value for a message: shortened, quoted, with unprintable characters escaped.
pub(crate) fn quoted(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let short: String = text.chars().take(VALUE_SHOWN).collect();
    let dots = if short.len() < text.len() { "…" } else { "" };
    format!("{short:?}{dots}")
}
