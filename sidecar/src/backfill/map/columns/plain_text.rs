//! Strings, numbers, UUIDs and bytes as plain text.

use arrow_array::builder::make_view;
use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, BinaryViewArray};
use arrow_buffer::Buffer;
use arrow_cast::cast;
use arrow_schema::extension::{ExtensionType, Uuid as UuidType};
use arrow_schema::{DataType, Field};
use uuid::Uuid;

/// Whether values of this type are read as text. A column of nulls has any type.
pub(crate) fn is_text(data_type: &DataType) -> bool {
    match data_type {
        DataType::Null => true,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => true,
        DataType::Dictionary(_, values) => is_text(values),
        _ => false,
    }
}

/// The bytes of a string or binary column of any length, or numbers and booleans as text.
pub(crate) fn bytes(array: &ArrayRef) -> Option<BinaryViewArray> {
    match array.data_type() {
        DataType::BinaryView => array.as_binary_view_opt().cloned(),
        // By way of strings, because a cast from numbers to bytes gives their memory.
        DataType::Boolean => bytes(&cast(array, &DataType::Utf8View).ok()?),
        other if other.is_integer() || other.is_floating() => bytes(&cast(array, &DataType::Utf8View).ok()?),
        other if other.is_decimal() => bytes(&cast(array, &DataType::LargeUtf8).ok()?),
        DataType::FixedSizeBinary(_) => Some(array.as_fixed_size_binary_opt()?.iter().collect()),
        _ => cast(array, &DataType::BinaryView).ok()?.as_binary_view_opt().cloned(),
    }
}

/// Whether values of this type can be ids: strings, bytes, integers, decimals without a fraction,
/// and floats, of which only whole ones are.
pub(crate) fn is_id(data_type: &DataType) -> bool {
    match data_type {
        DataType::Decimal32(_, scale) | DataType::Decimal64(_, scale) => *scale == 0,
        DataType::Decimal128(_, scale) | DataType::Decimal256(_, scale) => *scale == 0,
        DataType::FixedSizeBinary(_) => true,
        other => is_text(other) || other.is_integer() || other.is_floating(),
    }
}

/// Whether the file declares the field's bytes as UUIDs.
pub(super) fn is_uuid(field: &Field) -> bool {
    field.extension_type_name() == Some(UuidType::NAME)
}

/// Values of `field` as text. UUIDs have hyphens, other bytes are as they are.
pub(crate) fn plain_texts(field: &Field, array: &ArrayRef) -> Option<BinaryViewArray> {
    match array.as_fixed_size_binary_opt() {
        Some(fixed) if is_uuid(field) => {
            let hyphenated = |raw: &[u8]| Uuid::from_slice(raw).map(|uuid| uuid.to_string()).ok();
            let texts: Vec<Option<String>> = fixed.iter().map(|raw| hyphenated(raw?)).collect();
            Some(texts.iter().map(Option::as_deref).map(|text| text.map(str::as_bytes)).collect())
        }
        _ => bytes(array),
    }
}

/// `text` in each of `rows` rows.
pub(crate) fn repeated(text: &[u8], rows: usize) -> BinaryViewArray {
    let mut buffers = Vec::new();
    let view = view_in(&mut buffers, text);
    BinaryViewArray::new(vec![view; rows].into(), buffers, None)
}

/// Appends `text` to `buffers` and returns a view of it.
pub(super) fn view_in(buffers: &mut Vec<Buffer>, text: &[u8]) -> u128 {
    let place = u32::try_from(buffers.len()).unwrap_or(u32::MAX);
    buffers.push(Buffer::from(text));
    make_view(text, place, 0)
}
