//! Text columns: any string or binary type, without a copy where Arrow has the same layout.

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, LargeBinaryArray, RecordBatch};
use arrow_buffer::{NullBuffer, OffsetBuffer};
use arrow_cast::cast;
use arrow_schema::DataType;

use super::find::{Found, Values};
use super::json;
use super::mapper::Faults;

/// A message shows up to this many characters of a bad value.
const VALUE_SHOWN: usize = 60;

/// The source of a text column of events.
#[derive(Debug, Clone)]
pub(super) enum Texts {
    /// The same bytes in every row.
    Constant(String),
    /// A column of the file.
    Column {
        /// The events' column, for messages.
        target: &'static str,
        column: Found,
        /// In place of null; where there is none, null is a fault.
        default: Option<String>,
    },
}

impl Texts {
    /// One text a row, empty where it is a fault.
    pub(super) fn read(&self, batch: &RecordBatch, faults: &mut Faults) -> LargeBinaryArray {
        let (target, column, default) = match self {
            Self::Constant(text) => return repeated(text.as_bytes(), batch.num_rows()),
            Self::Column { target, column, default } => (target, column, default.as_deref()),
        };
        let read = column.values(batch).and_then(|values| {
            let texts = if json::is_nested(column.field.data_type()) {
                json::texts(target, column, &values, faults)?
            } else {
                bytes(&values.array)?
            };
            Some(sound(target, &column.name, default, texts, &values, faults))
        });
        read.unwrap_or_else(|| {
            let fillers = absent(&column.name, batch, faults, "");
            LargeBinaryArray::from_iter_values(fillers)
        })
    }
}

/// Whether a column of this type can be read as text.
pub(super) fn is_text(data_type: &DataType) -> bool {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => true,
        DataType::Dictionary(_, values) => is_text(values),
        _ => false,
    }
}

/// The bytes of a column of any text type, or the decimal digits of an integer column.
pub(super) fn bytes(array: &ArrayRef) -> Option<LargeBinaryArray> {
    match array.data_type() {
        DataType::LargeBinary => array.as_binary_opt().cloned(),
        DataType::LargeUtf8 => {
            let (offsets, values, nulls) = array.as_string_opt::<i64>()?.clone().into_parts();
            LargeBinaryArray::try_new(offsets, values, nulls).ok()
        }
        // Through text: integers have no cast to bytes but that of their memory.
        other if other.is_integer() => bytes(&cast(array, &DataType::LargeUtf8).ok()?),
        _ => cast(array, &DataType::LargeBinary).ok()?.as_binary_opt().cloned(),
    }
}

/// `texts` without nulls, every one of them UTF-8, as the texts of messages from Kafka are.
fn sound(
    target: &str,
    column: &str,
    default: Option<&str>,
    texts: LargeBinaryArray,
    values: &Values,
    faults: &mut Faults,
) -> LargeBinaryArray {
    if default.is_none() {
        for row in values.nulls.iter().flat_map(null_rows) {
            faults.add(row, &format!("{target} is null (column {column})"));
        }
    }
    let texts = filled(texts, values.nulls.as_ref(), default.unwrap_or_default().as_bytes());
    if !is_utf8(&texts) {
        for row in (0..texts.len()).filter(|row| simdutf8::basic::from_utf8(texts.value(*row)).is_err()) {
            let shown = quoted(texts.value(row));
            faults.add(row, &format!("{target} {shown} in column {column} is not UTF-8"));
        }
    }
    texts
}

/// `texts` with `default` for every null; the same memory where that is already so.
fn filled(texts: LargeBinaryArray, nulls: Option<&NullBuffer>, default: &[u8]) -> LargeBinaryArray {
    let Some(nulls) = nulls else {
        let (offsets, values, _) = texts.into_parts();
        return LargeBinaryArray::new(offsets, values, None);
    };
    if default.is_empty() && null_rows(nulls).all(|row| texts.value_length(row) == 0) {
        let (offsets, values, _) = texts.into_parts();
        return LargeBinaryArray::new(offsets, values, None);
    }
    LargeBinaryArray::from_iter_values(
        (0..texts.len()).map(|row| if nulls.is_null(row) { default } else { texts.value(row) }),
    )
}

/// The rows that `nulls` calls null, in ascending order.
pub(super) fn null_rows(nulls: &NullBuffer) -> impl Iterator<Item = usize> + '_ {
    (0..nulls.len()).filter(|row| nulls.is_null(*row))
}

/// Whether every text is UTF-8: all bytes in one go, then that no text begins within a character.
fn is_utf8(texts: &LargeBinaryArray) -> bool {
    let offsets = texts.value_offsets();
    let (Some(first), Some(last)) = (offsets.first(), offsets.last()) else { return true };
    let (Ok(first), Ok(last)) = (usize::try_from(*first), usize::try_from(*last)) else { return false };
    let Some(Ok(all)) = texts.value_data().get(first..last).map(simdutf8::basic::from_utf8) else {
        return false;
    };
    let place = |offset: &i64| usize::try_from(*offset).ok()?.checked_sub(first);
    offsets.iter().all(|offset| place(offset).is_some_and(|place| all.is_char_boundary(place)))
}

/// `text` in every one of `rows` rows.
pub(super) fn repeated(text: &[u8], rows: usize) -> LargeBinaryArray {
    LargeBinaryArray::new(
        OffsetBuffer::from_repeated_length(text.len(), rows),
        text.repeat(rows).into(),
        None,
    )
}

/// Every row of a batch that lacks `column` is a reject: nothing is made up for it.
pub(super) fn absent<T: Clone>(column: &str, batch: &RecordBatch, faults: &mut Faults, filler: T) -> Vec<T> {
    for row in 0..batch.num_rows() {
        faults.add(row, &format!("column {column} can't be read from this batch"));
    }
    vec![filler; batch.num_rows()]
}

/// A bad value for a message: shortened, in quotes, nothing unprintable.
pub(super) fn quoted(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let short: String = text.chars().take(VALUE_SHOWN).collect();
    let dots = if short.len() < text.len() { "…" } else { "" };
    format!("{short:?}{dots}")
}
