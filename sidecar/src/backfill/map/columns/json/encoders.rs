//! JSON encoders of texts, bytes, UUIDs, lists and maps.
//!
//! Arrow's own encoders write bytes as hexadecimal digits, and every pair of a map.

use std::io::Write;

use arrow_array::cast::AsArray;
use arrow_array::{
    Array, ArrayAccessor, BinaryViewArray, FixedSizeBinaryArray, GenericListArray, MapArray, OffsetSizeTrait,
};
use arrow_buffer::OffsetBuffer;
use arrow_json::writer::{Encoder, EncoderFactory, EncoderOptions, NullableEncoder, make_encoder};
use arrow_schema::{ArrowError, DataType, FieldRef};

use super::pairs::PairsOfMap;
use crate::backfill::map::columns::plain_text::{bytes, is_uuid};

/// Encoders of this module, where they differ from Arrow's.
#[derive(Debug)]
pub(super) struct EventEncoders;

impl EncoderFactory for EventEncoders {
    fn make_default_encoder<'a>(
        &self,
        field: &'a FieldRef,
        array: &'a dyn Array,
        options: &'a EncoderOptions,
    ) -> Result<Option<NullableEncoder<'a>>, ArrowError> {
        let encoder: Box<dyn Encoder + 'a> = match array.data_type() {
            DataType::Binary => Box::new(TextEncoder(array.as_binary::<i32>())),
            DataType::LargeBinary => Box::new(TextEncoder(array.as_binary::<i64>())),
            DataType::BinaryView => Box::new(TextEncoder(array.as_binary_view())),
            DataType::FixedSizeBinary(16) if is_uuid(field) => {
                Box::new(UuidEncoder(array.as_fixed_size_binary()))
            }
            DataType::FixedSizeBinary(_) => Box::new(TextEncoder(array.as_fixed_size_binary())),
            DataType::List(item) => Box::new(ListEncoder::<i32>::new(item, array.as_list::<i32>(), options)?),
            DataType::LargeList(item) => {
                Box::new(ListEncoder::<i64>::new(item, array.as_list::<i64>(), options)?)
            }
            DataType::Map(entries, _) => Box::new(MapEncoder::new(entries, array.as_map(), options)?),
            _ => return Ok(None),
        };
        Ok(Some(NullableEncoder::new(encoder, array.nulls().cloned())))
    }
}

/// Bytes as text, as at the top level. Bytes other than UTF-8 are copied, and the row is rejected
/// later because its JSON is not UTF-8.
struct TextEncoder<T>(T);

impl<'a, T: ArrayAccessor<Item = &'a [u8]>> Encoder for TextEncoder<T> {
    fn encode(&mut self, row: usize, output: &mut Vec<u8>) {
        write_text(self.0.value(row), output);
    }
}

struct UuidEncoder<'a>(&'a FixedSizeBinaryArray);

impl Encoder for UuidEncoder<'_> {
    fn encode(&mut self, row: usize, output: &mut Vec<u8>) {
        let raw = <[u8; 16]>::try_from(self.0.value(row)).unwrap_or_default();
        let hyphenated = uuid::Uuid::from_bytes(raw).hyphenated();
        write_text(hyphenated.encode_lower(&mut uuid::Uuid::encode_buffer()).as_bytes(), output);
    }
}

/// Passes the item's own field on, which Arrow's encoder does not.
struct ListEncoder<'a, O: OffsetSizeTrait> {
    offsets: &'a OffsetBuffer<O>,
    items: NullableEncoder<'a>,
}

impl<'a, O: OffsetSizeTrait> ListEncoder<'a, O> {
    fn new(
        item: &'a FieldRef,
        list: &'a GenericListArray<O>,
        options: &'a EncoderOptions,
    ) -> Result<Self, ArrowError> {
        Ok(Self { offsets: list.offsets(), items: make_encoder(item, list.values(), options)? })
    }
}

impl<O: OffsetSizeTrait> Encoder for ListEncoder<'_, O> {
    fn encode(&mut self, row: usize, output: &mut Vec<u8>) {
        let (start, end) = (self.offsets[row].as_usize(), self.offsets[row + 1].as_usize());
        output.push(b'[');
        for item in start..end {
            if item > start {
                output.push(b',');
            }
            encode_or_null(&mut self.items, item, output);
        }
        output.push(b']');
    }
}

/// A map as an object. Of a repeated key it has the last value, as the format demands.
struct MapEncoder<'a> {
    pairs: PairsOfMap,
    keys: BinaryViewArray,
    values: NullableEncoder<'a>,
}

impl<'a> MapEncoder<'a> {
    fn new(
        entries: &'a FieldRef,
        map: &'a MapArray,
        options: &'a EncoderOptions,
    ) -> Result<Self, ArrowError> {
        let wrong = |problem: &str| ArrowError::JsonError(problem.to_owned());
        let DataType::Struct(fields) = entries.data_type() else { return Err(wrong("a map without pairs")) };
        let [_, value] = fields.iter().as_slice() else { return Err(wrong("a map without pairs")) };
        let keys = bytes(map.keys()).ok_or_else(|| wrong("keys of a map that are no text"))?;
        if keys.null_count() > 0 {
            return Err(wrong("keys of a map that are null"));
        }
        Ok(Self {
            pairs: PairsOfMap::new(map.offsets().clone()),
            keys,
            values: make_encoder(value, map.values(), options)?,
        })
    }
}

impl Encoder for MapEncoder<'_> {
    fn encode(&mut self, row: usize, output: &mut Vec<u8>) {
        output.push(b'{');
        for (index, pair) in self.pairs.of_row(row, &self.keys).iter().enumerate() {
            if index > 0 {
                output.push(b',');
            }
            write_text(self.keys.value(*pair), output);
            output.push(b':');
            encode_or_null(&mut self.values, *pair, output);
        }
        output.push(b'}');
    }
}

fn encode_or_null(encoder: &mut NullableEncoder<'_>, row: usize, output: &mut Vec<u8>) {
    if encoder.is_null(row) {
        output.extend_from_slice(b"null");
    } else {
        encoder.encode(row, output);
    }
}

/// Writes a JSON string, with the escapes of `serde_json`.
fn write_text(text: &[u8], output: &mut Vec<u8>) {
    output.push(b'"');
    let mut written = 0;
    for (place, byte) in text.iter().enumerate().filter(|(_, byte)| ESCAPED[usize::from(**byte)]) {
        output.extend_from_slice(&text[written..place]);
        written = place + 1;
        match byte {
            b'"' | b'\\' => output.extend_from_slice(&[b'\\', *byte]),
            b'\n' => output.extend_from_slice(b"\\n"),
            b'\r' => output.extend_from_slice(b"\\r"),
            b'\t' => output.extend_from_slice(b"\\t"),
            0x08 => output.extend_from_slice(b"\\b"),
            0x0c => output.extend_from_slice(b"\\f"),
            // Writing to memory can't fail.
            control => drop(write!(output, "\\u{control:04x}")),
        }
    }
    output.extend_from_slice(&text[written..]);
    output.push(b'"');
}

/// Whether a byte of a JSON string is escaped.
const ESCAPED: [bool; 256] = {
    let mut escaped = [false; 256];
    let mut control = 0;
    while control < 0x20 {
        escaped[control] = true;
        control += 1;
    }
    escaped[b'"' as usize] = true;
    escaped[b'\\' as usize] = true;
    escaped
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_like_serde_json() {
        let all: String = (0..=0x2ff).filter_map(char::from_u32).collect();
        for text in ["", "plain", "\"", "a\\b\"c\n", "☃\u{7f}", &all] {
            let mut output = Vec::new();
            write_text(text.as_bytes(), &mut output);
            assert_eq!(String::from_utf8_lossy(&output), serde_json::to_string(text).expect("a string"));
        }
    }
}
