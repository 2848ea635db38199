//! Timestamps from Arrow timestamps, dates, strings and numbers.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Date64Type, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType,
};
use arrow_array::{Array, ArrayRef, BinaryViewArray};
use arrow_buffer::ScalarBuffer;
use arrow_cast::cast;
use arrow_schema::{DataType, TimeUnit};
use jiff::Timestamp;
use jiff::tz::Offset;

use super::iso8601;
use super::written;
use super::zone::Zone;
use crate::backfill::map::columns::number::{Number, Numbers};
use crate::backfill::map::columns::text::{bytes, quoted};
use crate::backfill::map::mapping::{EpochUnit, Reading};

const MICROS: i64 = 1_000_000;
const MILLIS_A_SECOND: i64 = 1_000;
const NANOS_A_MICROSECOND: i64 = 1_000;
const SECONDS_A_DAY: i64 = 86_400;

/// Problem of a value that overflows 64 bits of microseconds.
const OUT_OF_RANGE: &str = "is out of range";

/// Column of one batch, typed for conversion to timestamps.
pub(crate) struct TimestampDecoder<'a> {
    values: TimestampArray,
    zone: &'a Zone,
}

enum TimestampArray {
    /// Counted from 1970, in UTC if `zoned`, else in the mapping's zone.
    Timestamps {
        values: ScalarBuffer<i64>,
        unit: TimeUnit,
        zoned: bool,
    },
    /// Days since 1970.
    Days(Vec<i64>),
    Numbers(Numbers, EpochUnit),
    Strings(BinaryViewArray),
}

impl<'a> TimestampDecoder<'a> {
    /// Returns `None` for a column of another type.
    pub(crate) fn new(array: &ArrayRef, reading: &'a Reading) -> Option<Self> {
        let array = match array.data_type() {
            DataType::Dictionary(_, values) => &cast(array, values).ok()?,
            _ => array,
        };
        let values = if let DataType::Timestamp(unit, zone) = array.data_type() {
            TimestampArray::Timestamps { values: stamps(array, *unit)?, unit: *unit, zoned: zone.is_some() }
        } else if let DataType::Date32 | DataType::Date64 = array.data_type() {
            TimestampArray::Days(days(array)?)
        } else if let Some(numbers) = Numbers::new(array) {
            TimestampArray::Numbers(numbers, reading.unit?)
        } else {
            TimestampArray::Strings(bytes(array)?)
        };
        Some(Self { values, zone: &reading.zone })
    }

    /// Returns all rows without conversion if they are already microseconds in UTC within the
    /// supported years.
    pub(crate) fn as_they_are(&self) -> Option<Vec<i64>> {
        match &self.values {
            TimestampArray::Timestamps { values, unit: TimeUnit::Microsecond, zoned }
                if *zoned || self.zone.is_utc() =>
            {
                let all_fit = values.iter().all(|micros| (iso8601::FIRST..=iso8601::LAST).contains(micros));
                all_fit.then(|| values.to_vec())
            }
            _ => None,
        }
    }

    /// Microseconds since 1970 in UTC for a row that is not null.
    ///
    /// # Errors
    /// The value for display, and the problem with it.
    pub(crate) fn get(&self, row: usize) -> Result<i64, (String, String)> {
        match &self.values {
            TimestampArray::Timestamps { values, unit, zoned } => {
                let raw = values.get(row).copied().unwrap_or_default();
                self.of_stamp(raw, *unit, *zoned).map_err(|problem| (shown(raw, *unit), problem))
            }
            TimestampArray::Days(days) => {
                let day = days.get(row).copied().unwrap_or_default();
                self.of_day(day).map_err(|problem| (format!("{day} days since 1970"), problem))
            }
            TimestampArray::Numbers(numbers, unit) => {
                let Some(number) = numbers.get(row) else {
                    return Err(("(too many digits)".to_owned(), OUT_OF_RANGE.to_owned()));
                };
                let micros =
                    number.micros(*unit).ok_or_else(|| "is not a whole number of microseconds".to_owned());
                micros.and_then(iso8601::in_bounds).map_err(|problem| (number.to_string(), problem))
            }
            TimestampArray::Strings(texts) => {
                let text = texts.value(row);
                written::parse(text, self.zone).map_err(|problem| (quoted(text), problem))
            }
        }
    }

    /// Nanoseconds beyond the microseconds of a row that [`TimestampDecoder::get`] accepts.
    pub(crate) fn nanos_below(&self, row: usize) -> i64 {
        let below = |nanos: Option<i64>| nanos.unwrap_or_default().rem_euclid(NANOS_A_MICROSECOND);
        match &self.values {
            TimestampArray::Timestamps { values, unit: TimeUnit::Nanosecond, .. } => {
                below(values.get(row).copied())
            }
            TimestampArray::Numbers(numbers, EpochUnit::Nanosecond) => {
                below(numbers.get(row).and_then(Number::whole))
            }
            TimestampArray::Strings(texts) => written::nanos_below(texts.value(row)),
            _ => 0,
        }
    }

    fn of_stamp(&self, raw: i64, unit: TimeUnit, zoned: bool) -> Result<i64, String> {
        let micros = micros(raw, unit).ok_or(OUT_OF_RANGE)?;
        iso8601::in_bounds(if zoned { micros } else { self.zone.utc(micros)? })
    }

    fn of_day(&self, day: i64) -> Result<i64, String> {
        let midnight = day.checked_mul(SECONDS_A_DAY * MICROS).ok_or(OUT_OF_RANGE)?;
        iso8601::in_bounds(self.zone.utc(midnight)?)
    }
}

/// The type of the values of a dictionary, or the type itself.
pub(crate) fn plain(data_type: &DataType) -> &DataType {
    match data_type {
        DataType::Dictionary(_, values) => values,
        other => other,
    }
}

fn stamps(array: &ArrayRef, unit: TimeUnit) -> Option<ScalarBuffer<i64>> {
    let values = match unit {
        TimeUnit::Second => array.as_primitive_opt::<TimestampSecondType>()?.values(),
        TimeUnit::Millisecond => array.as_primitive_opt::<TimestampMillisecondType>()?.values(),
        TimeUnit::Microsecond => array.as_primitive_opt::<TimestampMicrosecondType>()?.values(),
        TimeUnit::Nanosecond => array.as_primitive_opt::<TimestampNanosecondType>()?.values(),
    };
    Some(values.clone())
}

/// Truncates to microseconds, as ClickHouse does for a message.
fn micros(raw: i64, unit: TimeUnit) -> Option<i64> {
    match unit {
        TimeUnit::Second => raw.checked_mul(MICROS),
        TimeUnit::Millisecond => raw.checked_mul(MICROS / MILLIS_A_SECOND),
        TimeUnit::Microsecond => Some(raw),
        TimeUnit::Nanosecond => Some(raw.div_euclid(NANOS_A_MICROSECOND)),
    }
}

/// Formats as date and time within the supported years, else as a raw number.
fn shown(raw: i64, unit: TimeUnit) -> String {
    let known = micros(raw, unit).filter(|micros| iso8601::in_bounds(*micros).is_ok());
    match known.and_then(|micros| Timestamp::from_microsecond(micros).ok()) {
        Some(moment) => Offset::UTC.to_datetime(moment).strftime("%Y-%m-%d %H:%M:%S%.f").to_string(),
        None => format!("{raw} {}", name(unit)),
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
