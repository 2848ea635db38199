//! Moments from timestamps of any unit, dates, ISO 8601 text and numbers since 1970.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Date64Type, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType,
};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_cast::cast;
use arrow_schema::{DataType, TimeUnit};

use super::find::{Found, Values};
use super::iso;
use super::mapper::Faults;
use super::mapping::{Instant, Reading};
use super::number::{Numbers, is_number};
use super::text::{absent, bytes, is_text, quoted};

const MICROS: i64 = 1_000_000;
const MILLIS_A_SECOND: i64 = 1_000;
const NANOS_A_MICROSECOND: i64 = 1_000;
const SECONDS_A_DAY: i64 = 86_400;

/// The source of `timestamp`, `created_at` or `_timestamp`.
#[derive(Debug, Clone)]
pub(super) enum Moments {
    /// The same in every row, or that of the row's own timestamp.
    Constant(Instant),
    /// A column of the file.
    Column {
        /// The events' column, for messages.
        target: &'static str,
        column: Found,
        /// In place of null; where there is none, null is a fault.
        default: Option<Instant>,
        reading: Reading,
    },
}

impl Moments {
    /// # Errors
    /// What the type or the mapping would have to be.
    pub(super) fn new(
        target: &'static str,
        column: Found,
        default: Option<Instant>,
        reading: Reading,
    ) -> Result<Self, String> {
        let data_type = plain(column.field.data_type());
        let known = matches!(data_type, DataType::Timestamp(..) | DataType::Date32 | DataType::Date64);
        if is_number(data_type) && reading.unit.is_none() {
            return Err(format!(
                "{data_type} may count anything: add unit = \"s\", \"ms\", \"us\" or \"ns\" to {target} in the mapping"
            ));
        }
        if known || is_number(data_type) || is_text(data_type) {
            return Ok(Self::Column { target, column, default, reading });
        }
        Err(format!(
            "{data_type} is no moment: give a column of timestamps, dates, text or numbers since 1970"
        ))
    }

    /// The column's name, where it is one.
    pub(super) fn column(&self) -> Option<&str> {
        match self {
            Self::Constant(_) => None,
            Self::Column { column, .. } => Some(&column.name),
        }
    }

    /// Microseconds since 1970 in UTC for each row, 0 where it is a fault; `timestamp` holds the rows' own timestamps.
    pub(super) fn read(&self, batch: &RecordBatch, timestamp: &[i64], faults: &mut Faults) -> Vec<i64> {
        match self {
            Self::Constant(Instant::At(micros)) => vec![*micros; batch.num_rows()],
            Self::Constant(Instant::Timestamp) => timestamp.to_vec(),
            Self::Column { target, column, default, reading } => {
                let read = column.values(batch).and_then(|values| {
                    let row_values =
                        Rows { target, column: &column.name, default: *default, values: &values };
                    row_values.read(reading, timestamp, faults)
                });
                read.unwrap_or_else(|| absent(&column.name, batch, faults, 0))
            }
        }
    }
}

/// Seconds since 1970 as `DateTime` holds them, from moments that `source` gave.
pub(super) fn seconds(micros: &[i64], source: &Moments, faults: &mut Faults) -> Vec<u32> {
    let convert = |(row, micros): (usize, &i64)| {
        u32::try_from(micros.div_euclid(MICROS)).unwrap_or_else(|_| {
            let column = match source {
                Moments::Column { column, .. } => format!(" in column {}", column.name),
                Moments::Constant(_) => String::new(),
            };
            faults.add(
                row,
                &format!("_timestamp {micros} µs since 1970{column} is outside the years 1970 to 2106"),
            );
            0
        })
    };
    micros.iter().enumerate().map(convert).collect()
}

/// A column's rows on their way to moments.
struct Rows<'a> {
    target: &'static str,
    column: &'a str,
    default: Option<Instant>,
    values: &'a Values,
}

impl Rows<'_> {
    fn read(&self, reading: &Reading, timestamp: &[i64], faults: &mut Faults) -> Option<Vec<i64>> {
        let array = unpacked(&self.values.array)?;
        match array.data_type() {
            DataType::Timestamp(unit, zone) => {
                let numbers = stamps(&array, *unit)?;
                if let (TimeUnit::Microsecond, true) = (unit, zone.is_some() || reading.zone.is_utc())
                    && self.values.nulls.is_none()
                    && numbers.iter().all(|micros| (iso::FIRST..=iso::LAST).contains(micros))
                {
                    return Some(numbers.to_vec());
                }
                let zoned = zone.is_some();
                Some(self.each(timestamp, faults, |row| {
                    let raw = numbers.get(row).copied().unwrap_or_default();
                    let micros = micros(raw, *unit).ok_or_else(|| "is out of range".to_owned());
                    let instant =
                        if zoned { micros } else { micros.and_then(|local| reading.zone.utc(local)) };
                    instant
                        .and_then(iso::in_bounds)
                        .map_err(|problem| (format!("{raw} {}", name(*unit)), problem))
                }))
            }
            DataType::Date32 | DataType::Date64 => {
                let days = days(&array)?;
                Some(self.each(timestamp, faults, |row| {
                    let day = days.get(row).copied().unwrap_or_default();
                    let local =
                        day.checked_mul(SECONDS_A_DAY * MICROS).ok_or_else(|| "is out of range".to_owned());
                    let instant = local.and_then(|local| reading.zone.utc(local)).and_then(iso::in_bounds);
                    instant.map_err(|problem| (format!("{day} days since 1970"), problem))
                }))
            }
            other if is_number(other) => {
                let (numbers, unit) = (Numbers::new(&array)?, reading.unit?);
                Some(self.each(timestamp, faults, |row| {
                    let Some(number) = numbers.get(row) else {
                        return Err(("(too many digits)".to_owned(), "is out of range".to_owned()));
                    };
                    let micros =
                        number.micros(unit).ok_or_else(|| "is no whole number of microseconds".to_owned());
                    micros.and_then(iso::in_bounds).map_err(|problem| (number.to_string(), problem))
                }))
            }
            _ => {
                let texts = bytes(&array)?;
                Some(self.each(timestamp, faults, |row| {
                    let text = texts.value(row);
                    iso::parse(text, &reading.zone).map_err(|problem| (quoted(text), problem))
                }))
            }
        }
    }

    /// Has `instant` read every row that is not null; its errors are the value as shown and what is wrong with it.
    fn each(
        &self,
        timestamp: &[i64],
        faults: &mut Faults,
        instant: impl Fn(usize) -> Result<i64, (String, String)>,
    ) -> Vec<i64> {
        let (target, column) = (self.target, self.column);
        let mut read = Vec::with_capacity(self.values.array.len());
        for row in 0..self.values.array.len() {
            let micros = match (self.values.is_null(row), self.default) {
                (false, _) => instant(row)
                    .map_err(|(shown, problem)| format!("{target} {shown} in column {column} {problem}")),
                (true, Some(Instant::At(micros))) => Ok(micros),
                (true, Some(Instant::Timestamp)) => Ok(timestamp.get(row).copied().unwrap_or_default()),
                (true, None) => Err(format!("{target} is null (column {column})")),
            };
            read.push(micros.unwrap_or_else(|reason| {
                faults.add(row, &reason);
                0
            }));
        }
        read
    }
}

/// The type of the values, if they are kept in a dictionary.
fn plain(data_type: &DataType) -> &DataType {
    match data_type {
        DataType::Dictionary(_, values) => values,
        other => other,
    }
}

fn unpacked(array: &ArrayRef) -> Option<ArrayRef> {
    match array.data_type() {
        DataType::Dictionary(_, values) => cast(array, values).ok(),
        _ => Some(array.clone()),
    }
}

fn stamps(array: &ArrayRef, unit: TimeUnit) -> Option<&[i64]> {
    Some(match unit {
        TimeUnit::Second => array.as_primitive_opt::<TimestampSecondType>()?.values(),
        TimeUnit::Millisecond => array.as_primitive_opt::<TimestampMillisecondType>()?.values(),
        TimeUnit::Microsecond => array.as_primitive_opt::<TimestampMicrosecondType>()?.values(),
        TimeUnit::Nanosecond => array.as_primitive_opt::<TimestampNanosecondType>()?.values(),
    })
}

/// What is finer than a microsecond is cut off, as ClickHouse does for a message.
fn micros(raw: i64, unit: TimeUnit) -> Option<i64> {
    match unit {
        TimeUnit::Second => raw.checked_mul(MICROS),
        TimeUnit::Millisecond => raw.checked_mul(MICROS / MILLIS_A_SECOND),
        TimeUnit::Microsecond => Some(raw),
        TimeUnit::Nanosecond => Some(raw.div_euclid(NANOS_A_MICROSECOND)),
    }
}

fn name(unit: TimeUnit) -> &'static str {
    match unit {
        TimeUnit::Second => "s since 1970",
        TimeUnit::Millisecond => "ms since 1970",
        TimeUnit::Microsecond => "µs since 1970",
        TimeUnit::Nanosecond => "ns since 1970",
    }
}

fn days(array: &ArrayRef) -> Option<Vec<i64>> {
    if let Some(days) = array.as_primitive_opt::<Date32Type>() {
        return Some(days.values().iter().map(|day| i64::from(*day)).collect());
    }
    let millis = array.as_primitive_opt::<Date64Type>()?;
    Some(millis.values().iter().map(|milli| milli.div_euclid(SECONDS_A_DAY * MILLIS_A_SECOND)).collect())
}
