//! Structs, maps and lists as JSON strings.

mod encoders;
mod pairs;

use std::sync::Arc;

use arrow_array::builder::BinaryViewBuilder;
use arrow_array::{Array, BinaryViewArray, new_empty_array};
use arrow_json::writer::{EncoderOptions, make_encoder};
use arrow_schema::{DataType, Field};

use self::encoders::EventEncoders;
pub(super) use self::pairs::PairsOfMap;
use crate::backfill::map::mapping::find::{FoundColumn, ResolvedColumn};
use crate::backfill::map::reject::Faults;
use crate::backfill::map::time::range;
use crate::backfill::read::DeclaredType;

/// Output of the encoder for a timestamp that it can't write. A valid value may contain this text
/// too, so it is searched for only if some value may not be a date.
const NO_DATE: &[u8] = b"\"ERROR: ";

/// Whether values of this type become JSON.
pub(crate) fn is_nested(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Struct(_)
            | DataType::Map(..)
            | DataType::List(_)
            | DataType::LargeList(_)
            | DataType::FixedSizeList(..)
            | DataType::ListView(_)
            | DataType::LargeListView(_)
    )
}

/// Whether a struct, map or list has bytes at any depth.
pub(crate) fn has_bytes(field: &Field) -> bool {
    let is_bytes = |field: &Field| match field.data_type() {
        DataType::Binary | DataType::LargeBinary | DataType::FixedSizeBinary(_) => true,
        DataType::BinaryView => !DeclaredType::is_text(field),
        _ => has_bytes(field),
    };
    match field.data_type() {
        DataType::Struct(children) => children.iter().any(|child| is_bytes(child)),
        DataType::List(item) | DataType::LargeList(item) | DataType::Map(item, _) => is_bytes(item),
        _ => false,
    }
}

/// # Errors
/// Fails if values of this type can't be written as JSON.
pub(crate) fn check(data_type: &DataType) -> Result<(), String> {
    let field = Arc::new(Field::new("", data_type.clone(), true));
    let empty = new_empty_array(data_type);
    let encoder = make_encoder(&field, &empty, &options()).map(drop);
    encoder.map_err(|error| format!("can't be written as JSON ({error}): give another column"))
}

/// Returns one JSON string per row, empty for null. Numbers, booleans and nulls are unchanged,
/// except that NaN and infinity become null because JSON lacks them. Timestamps become ISO 8601,
/// bytes become text as at the top level, and a map has the last value of a repeated key. The JSON
/// of bytes other than UTF-8 is not UTF-8 either, which the caller rejects.
pub(crate) fn texts(
    target: &str,
    column: &FoundColumn,
    values: &ResolvedColumn,
    faults: &mut Faults,
) -> Option<BinaryViewArray> {
    let options = options();
    let mut encoder = make_encoder(&column.field, &values.array, &options).ok()?;
    let all_are_dates = range::all_are_dates(&values.array);
    let mut texts = BinaryViewBuilder::with_capacity(values.array.len());
    let mut text = Vec::new();
    for row in 0..values.array.len() {
        text.clear();
        if !values.is_null(row) {
            encoder.encode(row, &mut text);
        }
        if !all_are_dates && text.windows(NO_DATE.len()).any(|part| part == NO_DATE) {
            let name = &column.name;
            faults.add(row, &format!("{target} has a timestamp in column {name} that is out of range"));
        }
        if texts.try_append_value(&text).is_err() {
            faults.add(row, &format!("{target} has more than 4 GiB as JSON (column {})", column.name));
            texts.append_null();
        }
    }
    Some(texts.finish())
}

/// Inner nulls are written so that no key of the source is dropped.
fn options() -> EncoderOptions {
    EncoderOptions::default().with_explicit_nulls(true).with_encoder_factory(Arc::new(EventEncoders))
}
