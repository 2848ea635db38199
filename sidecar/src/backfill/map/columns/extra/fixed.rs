//! Values of a fixed size: UUIDs, numbers, timestamps, booleans and names of enumerations.

use arrow_array::cast::AsArray;

use super::builder::{CellProblem, CellRows};
use super::text_value::{expected, finite_bytes, fixed_of_text, float_bytes, integer_bytes, timestamp_bytes};
use crate::backfill::events::wire_uuid;
use crate::backfill::extra::ExtraValues;
use crate::backfill::map::columns::number::{Number, Numbers};
use crate::backfill::map::columns::text::{bytes, quoted};
use crate::backfill::map::columns::uuid;
use crate::backfill::map::mapping::Reading;
use crate::backfill::map::mapping::find::FoundColumn;
use crate::backfill::map::reject::Faults;
use crate::backfill::map::time::decode::TimestampDecoder;
use crate::event_columns::Conversion;

/// Returns `None` if the column has another type than at plan time.
pub(super) fn read(
    rows: &CellRows<'_>,
    found: &FoundColumn,
    reading: &Reading,
    faults: &mut Faults,
) -> Option<ExtraValues> {
    let (array, conversion) = (&rows.values.array, &rows.column.field.conversion);
    if let Conversion::Timestamp { .. } | Conversion::Seconds = conversion {
        let decoder = TimestampDecoder::new(array, reading)?;
        return Some(build(rows, faults, |row| {
            let micros = decoder.get(row)?;
            let shown = |problem| (format!("{micros} µs since 1970"), problem);
            timestamp_bytes(conversion, micros, decoder.nanos_below(row)).map_err(shown)
        }));
    }
    if let Some(fixed) = array.as_fixed_size_binary_opt() {
        let parse = uuid::parser(&found.field);
        return Some(build(rows, faults, |row| {
            let uuid = parse(fixed.value(row));
            uuid.map(wire_uuid).ok_or_else(|| (quoted(fixed.value(row)), expected(conversion)))
        }));
    }
    if let Some(booleans) = array.as_boolean_opt() {
        return Some(build(rows, faults, |row| Ok(first_byte(booleans.value(row).into()))));
    }
    if let Some(numbers) = Numbers::new(array) {
        return Some(build(rows, faults, |row| {
            let number = numbers.get(row);
            let shown = || number.map_or_else(|| "(too many digits)".to_owned(), |number| number.to_string());
            number
                .and_then(|number| of_number(conversion, number))
                .ok_or_else(|| (shown(), expected(conversion)))
        }));
    }
    let texts = bytes(array)?;
    if *conversion == Conversion::Uuid {
        let parse = uuid::parser(&found.field);
        return Some(build(rows, faults, |row| {
            let uuid = parse(texts.value(row)).map(wire_uuid);
            uuid.ok_or_else(|| (quoted(texts.value(row)), expected(conversion)))
        }));
    }
    Some(build(rows, faults, |row| {
        let text = texts.value(row);
        fixed_of_text(conversion, text).map_err(|problem| (quoted(text), problem))
    }))
}

fn build(
    rows: &CellRows<'_>,
    faults: &mut Faults,
    value: impl Fn(usize) -> Result<[u8; 16], CellProblem>,
) -> ExtraValues {
    rows.build(faults, |row, builder| {
        builder.push_fixed(value(row)?);
        Ok(())
    })
}

fn first_byte(byte: u8) -> [u8; 16] {
    u128::from(byte).to_le_bytes()
}

/// Numbers are exact for integers, and rounded to the nearest for floats, as in messages. An
/// enumeration has its numbers.
fn of_number(conversion: &Conversion, number: Number) -> Option<[u8; 16]> {
    match conversion {
        Conversion::Integer { integer } => integer_bytes(integer, number.integer()?),
        Conversion::Float { float } => match number {
            Number::Float(value) => finite_bytes(float, value),
            // Exact up to the last rounding.
            Number::Whole(_) | Number::Decimal(..) => float_bytes(float, &number.to_string()),
        },
        Conversion::Boolean => {
            let byte = u8::try_from(number.integer()?).ok().filter(|byte| *byte < 2)?;
            Some(first_byte(byte))
        }
        Conversion::Enumeration { numbers, .. } => {
            let number = i16::try_from(number.integer()?).ok().filter(|number| numbers.contains(number))?;
            Some(i128::from(number).to_le_bytes())
        }
        _ => None,
    }
}
