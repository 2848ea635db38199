//! UUIDs from strings, also of a fixed length, or sixteen bytes.

use arrow_array::cast::AsArray;
use arrow_array::{Array, BinaryViewArray, RecordBatch};
use arrow_schema::{DataType, Field};

use super::text::{bytes, is_text, quoted};
use crate::backfill::map::mapping::find::{FoundColumn, ResolvedColumn};
use crate::backfill::map::reject::Faults;
use crate::backfill::read::DeclaredType;

/// Length of a binary UUID.
const BYTES: usize = 16;
/// Positions of the hyphens in a string of 36 characters.
const HYPHENS: [usize; 4] = [8, 13, 18, 23];

#[derive(Debug, Clone)]
pub(crate) struct Uuids {
    column: FoundColumn,
}

impl Uuids {
    /// # Errors
    /// Fails if the column is neither a string nor of a UUID's width.
    pub(crate) fn new(column: FoundColumn) -> Result<Self, String> {
        match column.field.data_type() {
            DataType::FixedSizeBinary(16 | 32 | 36) => Ok(Self { column }),
            other if is_text(other) => Ok(Self { column }),
            other => Err(format!(
                "{other} is not a UUID: give a column of text or of 16 bytes, or a namespace, which makes UUIDs of any ids"
            )),
        }
    }

    /// Returns one UUID per row, 0 for invalid rows.
    pub(crate) fn read(&self, batch: &RecordBatch, faults: &mut Faults) -> Vec<u128> {
        let column = &self.column.name;
        let read = self.column.values(batch).and_then(|values| {
            if let Some(fixed) = values.array.as_fixed_size_binary_opt() {
                let texts = (0..fixed.len()).map(|row| fixed.value(row));
                return Some(rows(column, &values, texts, of_bytes, faults));
            }
            let texts = bytes(&values.array)?;
            let texts = texts_of(&texts);
            Some(if DeclaredType::is_text(&self.column.field) {
                rows(column, &values, texts, of_text, faults)
            } else {
                rows(column, &values, texts, of_bytes, faults)
            })
        });
        read.unwrap_or_else(|| super::text::absent(column, batch, faults, 0))
    }
}

fn texts_of(array: &BinaryViewArray) -> impl Iterator<Item = &[u8]> {
    (0..array.len()).map(|row| array.value(row))
}

fn rows<'a>(
    column: &str,
    values: &ResolvedColumn,
    texts: impl Iterator<Item = &'a [u8]>,
    parse: impl Fn(&[u8]) -> Option<u128>,
    faults: &mut Faults,
) -> Vec<u128> {
    let mut uuids = Vec::with_capacity(values.array.len());
    for (row, text) in texts.enumerate() {
        let uuid = if values.is_null(row) { None } else { parse(text) };
        if uuid.is_none() {
            let reason = if values.is_null(row) {
                format!("uuid is null (column {column})")
            } else {
                format!("uuid {} in column {column} is not a UUID", quoted(text))
            };
            faults.add(row, &reason);
        }
        uuids.push(uuid.unwrap_or_default());
    }
    uuids
}

/// Returns the parser of a column's values. A text of sixteen letters may be any id, so only bytes
/// that the file does not declare as text are raw UUIDs.
pub(super) fn parser(field: &Field) -> fn(&[u8]) -> Option<u128> {
    if DeclaredType::is_text(field) { of_text } else { of_bytes }
}

/// Parses 16 raw bytes, or a text.
fn of_bytes(bytes: &[u8]) -> Option<u128> {
    let raw = <[u8; BYTES]>::try_from(bytes).map(u128::from_be_bytes);
    raw.ok().or_else(|| of_text(bytes))
}

/// Parses 36 characters with hyphens, or 32 without.
pub(super) fn of_text(text: &[u8]) -> Option<u128> {
    let mut digits = [0_u8; 32];
    if let Ok(plain) = <&[u8; 32]>::try_from(text) {
        digits = *plain;
    } else {
        let text = <&[u8; 36]>::try_from(text).ok()?;
        if HYPHENS.iter().any(|place| text.get(*place) != Some(&b'-')) {
            return None;
        }
        let hyphenless = text.iter().enumerate().filter(|(place, _)| !HYPHENS.contains(place));
        for (digit, (_, byte)) in digits.iter_mut().zip(hyphenless) {
            *digit = *byte;
        }
    }
    hexadecimal(&digits)
}

/// Marks a character that is not a digit. Larger than any digit.
const NONE: u8 = 0xff;

/// Value of each character as a hexadecimal digit.
const DIGITS: [u8; 256] = {
    let mut digits = [NONE; 256];
    let mut value = 0;
    while value < 16 {
        digits[b"0123456789abcdef"[value] as usize] = value as u8;
        digits[b"0123456789ABCDEF"[value] as usize] = value as u8;
        value += 1;
    }
    digits
};

/// Checks validity once after all digits, so that the loop has no branch.
fn hexadecimal(digits: &[u8; 32]) -> Option<u128> {
    let mut value = 0_u128;
    let mut seen = 0;
    for digit in digits {
        let digit = DIGITS[usize::from(*digit)];
        seen |= digit;
        value = value << 4 | u128::from(digit & 0x0f);
    }
    (seen < 16).then_some(value)
}
