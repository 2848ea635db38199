//! Structs, maps and lists as JSON text.

use std::sync::Arc;

use arrow_array::builder::LargeBinaryBuilder;
use arrow_array::{Array, LargeBinaryArray, new_empty_array};
use arrow_json::writer::{EncoderOptions, make_encoder};
use arrow_schema::{DataType, Field, FieldRef};

use super::find::Values;

/// Whether values of this type become JSON.
pub(super) fn is_nested(data_type: &DataType) -> bool {
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

/// # Errors
/// Why values of this type have no form in JSON.
pub(super) fn check(data_type: &DataType) -> Result<(), String> {
    let field = Arc::new(Field::new("", data_type.clone(), true));
    let empty = new_empty_array(data_type);
    let encoder = make_encoder(&field, &empty, &options()).map(drop);
    encoder.map_err(|error| format!("has no form in JSON ({error}): give another column"))
}

/// One JSON text a row, empty where the value is null. Numbers, booleans and nulls stay what they are, timestamps
/// become ISO 8601, bytes hexadecimal digits.
pub(super) fn objects(field: &FieldRef, values: &Values) -> Option<LargeBinaryArray> {
    let options = options();
    let mut encoder = make_encoder(field, &values.array, &options).ok()?;
    let mut texts =
        LargeBinaryBuilder::with_capacity(values.array.len(), values.array.get_array_memory_size());
    let mut text = Vec::new();
    for row in 0..values.array.len() {
        text.clear();
        if !values.is_null(row) {
            encoder.encode(row, &mut text);
        }
        texts.append_value(&text);
    }
    Some(texts.finish())
}

/// Nulls inside are written: a key that the source has is not dropped.
fn options() -> EncoderOptions {
    EncoderOptions::default().with_explicit_nulls(true)
}
