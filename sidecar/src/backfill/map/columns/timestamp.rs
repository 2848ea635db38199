//! Timestamp columns of events.

use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::DataType;

use super::number::is_number;
use super::text::{absent, is_text};
use crate::backfill::map::mapping::find::{FoundColumn, ResolvedColumn};
use crate::backfill::map::mapping::{Instant, Reading};
use crate::backfill::map::reject::Faults;
use crate::backfill::map::time::decode::{TimestampDecoder, plain};

const MICROS: i64 = 1_000_000;

/// Source of `timestamp`, `created_at` or `_timestamp`.
#[derive(Debug, Clone)]
pub(crate) enum TimestampColumn {
    /// The same in every row, or the row's own timestamp.
    Constant(Instant),
    Column {
        /// Column of events, for messages.
        target: &'static str,
        column: FoundColumn,
        /// Replaces null. Without a default, a null is rejected.
        default: Option<Instant>,
        reading: Reading,
    },
}

impl TimestampColumn {
    /// # Errors
    /// Fails if the type can't be read as a timestamp, or if numbers have no unit in the mapping.
    pub(crate) fn new(
        target: &'static str,
        column: FoundColumn,
        default: Option<Instant>,
        reading: Reading,
    ) -> Result<Self, String> {
        check_type(target, column.field.data_type(), &reading)?;
        Ok(Self::Column { target, column, default, reading })
    }

    /// Names of the source columns, none if the source is a constant.
    pub(crate) fn columns(&self) -> Vec<&str> {
        match self {
            Self::Constant(_) => Vec::new(),
            Self::Column { column, .. } => column.names(),
        }
    }

    /// Decodes `values` of the column outside a batch. Returns `None` if one is null or not a
    /// timestamp.
    pub(crate) fn of(&self, values: &ArrayRef) -> Option<Vec<i64>> {
        let Self::Column { reading, .. } = self else { return None };
        let instants = TimestampDecoder::new(values, reading).filter(|_| values.null_count() == 0)?;
        (0..values.len()).map(|row| instants.get(row).ok()).collect()
    }

    /// Microseconds since 1970 in UTC for each row, 0 for invalid rows. `timestamp` holds the rows'
    /// own timestamps.
    pub(crate) fn read(&self, batch: &RecordBatch, timestamp: &[i64], faults: &mut Faults) -> Vec<i64> {
        match self {
            Self::Constant(Instant::At(micros)) => vec![*micros; batch.num_rows()],
            Self::Constant(Instant::Timestamp) => timestamp.to_vec(),
            Self::Column { target, column, default, reading } => {
                let read = column.values(batch).and_then(|values| {
                    let row_values =
                        TimestampRows { target, column: &column.name, default: *default, values: &values };
                    row_values.read(reading, timestamp, faults)
                });
                read.unwrap_or_else(|| absent(&column.name, batch, faults, 0))
            }
        }
    }
}

/// # Errors
/// Fails if `data_type` can't be read as a timestamp, or if numbers have no unit in the mapping.
pub(super) fn check_type(target: &str, data_type: &DataType, reading: &Reading) -> Result<(), String> {
    let data_type = plain(data_type);
    let known = matches!(data_type, DataType::Timestamp(..) | DataType::Date32 | DataType::Date64);
    if is_number(data_type) && reading.unit.is_none() {
        return Err(format!(
            "{data_type} has no unit: add unit = \"s\", \"ms\", \"us\" or \"ns\" to {target} in the mapping"
        ));
    }
    if known || is_number(data_type) || is_text(data_type) {
        return Ok(());
    }
    Err(format!(
        "{data_type} is not a timestamp: give a column of timestamps, dates, text or numbers since 1970"
    ))
}

/// Seconds since 1970, as stored in `DateTime`. `source` is the origin of `micros`, for messages.
pub(crate) fn seconds(micros: &[i64], source: &TimestampColumn, faults: &mut Faults) -> Vec<u32> {
    let convert = |(row, micros): (usize, &i64)| {
        u32::try_from(micros.div_euclid(MICROS)).unwrap_or_else(|_| {
            let column = match source {
                TimestampColumn::Column { column, .. } => format!(" in column {}", column.name),
                TimestampColumn::Constant(_) => String::new(),
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

/// A column's rows during decoding.
struct TimestampRows<'a> {
    target: &'static str,
    column: &'a str,
    default: Option<Instant>,
    values: &'a ResolvedColumn,
}

impl TimestampRows<'_> {
    fn read(&self, reading: &Reading, timestamp: &[i64], faults: &mut Faults) -> Option<Vec<i64>> {
        let instants = TimestampDecoder::new(&self.values.array, reading)?;
        if let (Some(micros), None) = (instants.as_they_are(), &self.values.nulls) {
            return Some(micros);
        }
        Some(self.each(timestamp, faults, |row| instants.get(row)))
    }

    /// Calls `instant` for every row that is not null. Its error is the value for display and the
    /// problem.
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
