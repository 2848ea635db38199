//! Values of a column beyond the core from text, by the rules of `sql/events/conversions.sql`.

use crate::backfill::events::wire_uuid;
use crate::backfill::extra::{CellLayout, CellValue, ExtraColumn};
use crate::backfill::map::columns::json_items::{json_list, json_map};
use crate::backfill::map::columns::uuid;
use crate::backfill::map::time::iso8601;
use crate::backfill::map::time::zone::Zone;
use crate::event_columns::Conversion;

const MICROS: i64 = 1_000_000;
const NANOS_A_MICROSECOND: i64 = 1_000;
/// Last second of `DateTime64` with more than six digits, in microseconds: the end of 2261.
const LAST_OF_NANOSECONDS: i64 = 9_214_646_399 * MICROS;

/// Returns the value of `text`, for the defaults and constants of a mapping.
///
/// # Errors
/// The problem, as the end of a sentence that starts with the value.
pub(in crate::backfill::map) fn value_of_text(column: &ExtraColumn, text: &str) -> Result<CellValue, String> {
    let conversion = &column.field.conversion;
    let wrong = || expected(conversion);
    Ok(match (column.layout, conversion) {
        (CellLayout::Fixed(_), Conversion::Timestamp { .. } | Conversion::Seconds) => {
            let micros = iso8601::parse(text.as_bytes(), &Zone::default())?;
            CellValue::Fixed(timestamp_bytes(conversion, micros, iso8601::nanos_below(text.as_bytes()))?)
        }
        (CellLayout::Fixed(_), _) => CellValue::Fixed(fixed_of_text(conversion, text.as_bytes())?),
        (CellLayout::Text, _) => CellValue::Text(text.to_owned()),
        (CellLayout::TextList, _) => CellValue::List(json_list(text.as_bytes()).ok_or_else(wrong)?),
        (CellLayout::TextMap, _) => CellValue::Map(json_map(text.as_bytes()).ok_or_else(wrong)?),
    })
}

/// Like [`value_of_text`], for a size that is fixed and no timestamp.
pub(super) fn fixed_of_text(conversion: &Conversion, text: &[u8]) -> Result<[u8; 16], String> {
    let known = std::str::from_utf8(text).ok();
    let value = match (conversion, known) {
        (Conversion::Uuid, _) => uuid::of_text(text).map(wire_uuid),
        (Conversion::Integer { integer }, Some(text)) => of_digits(integer, text),
        (Conversion::Float { float }, Some(text)) => float_bytes(float, text),
        (Conversion::Boolean, Some("true" | "1")) => Some(1_u128.to_le_bytes()),
        (Conversion::Boolean, Some("false" | "0")) => Some([0; 16]),
        (Conversion::Enumeration { names, numbers, .. }, Some(text)) => {
            let named = names.iter().zip(numbers).find(|(name, _)| *name == text);
            named.map(|(_, number)| i128::from(*number).to_le_bytes())
        }
        _ => None,
    };
    value.ok_or_else(|| expected(conversion))
}

/// A minus is none of an unsigned integer, not even of 0.
fn of_digits(integer: &str, text: &str) -> Option<[u8; 16]> {
    if integer.starts_with('U') && text.starts_with('-') {
        return None;
    }
    integer_bytes(integer, text.parse().ok()?)
}

/// Returns `None` if an integer type of up to 64 bits does not hold the value.
pub(super) fn integer_bytes(integer: &str, value: i128) -> Option<[u8; 16]> {
    let bits: u32 = integer.trim_start_matches(['U', 'I', 'n', 't']).parse().ok()?;
    let range = match integer.strip_prefix('U') {
        Some(_) => 0..=(1_i128 << bits) - 1,
        None => -(1_i128 << (bits - 1))..=(1_i128 << (bits - 1)) - 1,
    };
    range.contains(&value).then(|| value.to_le_bytes())
}

/// Returns `None` for a text that is no number, or not finite in the type.
pub(super) fn float_bytes(float: &str, text: &str) -> Option<[u8; 16]> {
    match float {
        "Float32" => finite_bytes(float, text.parse::<f32>().ok()?.into()),
        _ => finite_bytes(float, text.parse().ok()?),
    }
}

/// Returns `None` for a value that is not finite in the type.
pub(super) fn finite_bytes(float: &str, value: f64) -> Option<[u8; 16]> {
    let mut bytes = [0; 16];
    if float == "Float32" {
        let value = Some(value as f32).filter(|value| value.is_finite())?;
        bytes[..4].copy_from_slice(&value.to_le_bytes());
    } else {
        let value = Some(value).filter(|value| value.is_finite())?;
        bytes[..8].copy_from_slice(&value.to_le_bytes());
    }
    Some(bytes)
}

/// Digits beyond the type's are cut off. `nanos` are those below the microsecond.
///
/// # Errors
/// Fails if the type does not hold the timestamp.
pub(super) fn timestamp_bytes(conversion: &Conversion, micros: i64, nanos: i64) -> Result<[u8; 16], String> {
    let wrong = || expected(conversion);
    let value = match conversion {
        Conversion::Seconds => u32::try_from(micros.div_euclid(MICROS)).map_err(|_| wrong())?.into(),
        Conversion::Timestamp { digits } if *digits > 6 => {
            let is_late = micros > LAST_OF_NANOSECONDS || (micros == LAST_OF_NANOSECONDS && nanos > 0);
            let all = micros.checked_mul(NANOS_A_MICROSECOND).filter(|_| !is_late).ok_or_else(wrong)?;
            (all + nanos).div_euclid(10_i64.pow(9_u32.saturating_sub(u32::from(*digits))))
        }
        Conversion::Timestamp { digits } => micros.div_euclid(10_i64.pow(6 - u32::from(*digits))),
        _ => return Err(wrong()),
    };
    Ok(i128::from(value).to_le_bytes())
}

/// The problem of a value that is not of the type.
pub(super) fn expected(conversion: &Conversion) -> String {
    match conversion {
        Conversion::Uuid => "is not a UUID".to_owned(),
        Conversion::Integer { integer } => format!("is not an integer of type {integer}"),
        Conversion::Timestamp { digits } if *digits > 6 => {
            "is not from 1900-01-01 00:00:00 to 2261-12-31 23:59:59 UTC".to_owned()
        }
        Conversion::Timestamp { .. } => "is not a date and time from 1900 to 2299 UTC".to_owned(),
        Conversion::Seconds => "is not from 1970-01-01 00:00:00 to 2106-02-07 06:28:15 UTC".to_owned(),
        Conversion::Float { .. } => "is not a finite number".to_owned(),
        Conversion::Boolean => "is not true or false".to_owned(),
        Conversion::Enumeration { names, .. } => format!("is not one of {}", names.join(", ")),
        Conversion::StringArray => "is not a list".to_owned(),
        Conversion::StringMap => "is not an object".to_owned(),
        _ => "is not a text".to_owned(),
    }
}
