//! Text columns: any string or binary type, as views of the bytes where they stand.

use arrow_array::builder::make_view;
use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, BinaryViewArray, RecordBatch};
use arrow_buffer::{Buffer, NullBuffer};
use arrow_cast::cast;
use arrow_schema::DataType;

use super::json;
use crate::backfill::map::mapping::find::{Found, Values};
use crate::backfill::map::reject::Faults;

/// A message shows up to this many characters of a bad value.
const VALUE_SHOWN: usize = 60;

/// The source of a text column of events.
#[derive(Debug, Clone)]
pub(crate) enum Texts {
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
    pub(crate) fn read(&self, batch: &RecordBatch, faults: &mut Faults) -> BinaryViewArray {
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
            BinaryViewArray::from_iter_values(fillers)
        })
    }
}

/// Whether a column of this type can be read as text.
pub(crate) fn is_text(data_type: &DataType) -> bool {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => true,
        DataType::Dictionary(_, values) => is_text(values),
        _ => false,
    }
}

/// The bytes of a column of any text type, or the decimal digits of an integer column.
pub(crate) fn bytes(array: &ArrayRef) -> Option<BinaryViewArray> {
    match array.data_type() {
        DataType::BinaryView => array.as_binary_view_opt().cloned(),
        // Through text: integers have no cast to bytes but that of their memory.
        other if other.is_integer() => bytes(&cast(array, &DataType::Utf8View).ok()?),
        _ => cast(array, &DataType::BinaryView).ok()?.as_binary_view_opt().cloned(),
    }
}

/// `texts` without nulls, every one of them UTF-8, as the texts of messages from Kafka are.
fn sound(
    target: &str,
    column: &str,
    default: Option<&str>,
    texts: BinaryViewArray,
    values: &Values,
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

/// A view of `text`, which is appended to `buffers`.
fn view_in(buffers: &mut Vec<Buffer>, text: &[u8]) -> u128 {
    let place = u32::try_from(buffers.len()).unwrap_or(u32::MAX);
    buffers.push(Buffer::from(text));
    make_view(text, place, 0)
}

/// The rows that `nulls` calls null, in ascending order.
pub(crate) fn null_rows(nulls: &NullBuffer) -> impl Iterator<Item = usize> + '_ {
    (0..nulls.len()).filter(|row| nulls.is_null(*row))
}

fn is_utf8(text: &[u8]) -> bool {
    is_ascii(text) || simdutf8::basic::from_utf8(text).is_ok()
}

/// Most texts are, and whole words show it quickest; the last of them lies over the end.
fn is_ascii(text: &[u8]) -> bool {
    const NOT_ASCII: u64 = u64::from_ne_bytes([0x80; 8]);
    let Some(last) = text.last_chunk() else { return text.is_ascii() };
    let words = text.as_chunks().0.iter();
    let seen = words.fold(u64::from_ne_bytes(*last), |seen, word| seen | u64::from_ne_bytes(*word));
    seen & NOT_ASCII == 0
}

/// `text` in every one of `rows` rows.
pub(crate) fn repeated(text: &[u8], rows: usize) -> BinaryViewArray {
    let mut buffers = Vec::new();
    let view = view_in(&mut buffers, text);
    BinaryViewArray::new(vec![view; rows].into(), buffers, None)
}

/// Every row of a batch that lacks `column` is a reject: nothing is made up for it.
pub(crate) fn absent<T: Clone>(column: &str, batch: &RecordBatch, faults: &mut Faults, filler: T) -> Vec<T> {
    for row in 0..batch.num_rows() {
        faults.add(row, &format!("column {column} can't be read from this batch"));
    }
    vec![filler; batch.num_rows()]
}

/// A bad value for a message: shortened, in quotes, nothing unprintable.
pub(crate) fn quoted(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let short: String = text.chars().take(VALUE_SHOWN).collect();
    let dots = if short.len() < text.len() { "…" } else { "" };
    format!("{short:?}{dots}")
}
