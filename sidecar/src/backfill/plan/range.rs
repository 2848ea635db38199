//! Time range of a file's events, from its footer's statistics.

use arrow_schema::DataType;
use parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use serde::Serialize;

use crate::backfill::map::Mapper;
use crate::backfill::read::Footer;

/// Earliest and latest timestamp, in microseconds since 1970 in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct TimeRange {
    pub(crate) first: i64,
    pub(crate) last: i64,
}

impl TimeRange {
    /// Returns the range that covers both.
    pub(crate) fn joined(self, other: Self) -> Self {
        Self { first: self.first.min(other.first), last: self.last.max(other.last) }
    }
}

/// Returns the range of a file. `None` if a column is no timestamp, date or number, or if a row
/// group with rows has no statistics for it.
pub(super) fn of_file(mapper: &Mapper, footer: &Footer) -> Option<TimeRange> {
    let mut range: Option<TimeRange> = None;
    for column in mapper.timestamp_columns() {
        let (found, has_nulls) = of_column(mapper, footer, column)?;
        range = range.into_iter().chain([found]).reduce(TimeRange::joined);
        // Later columns are for rows in which this one is null.
        if !has_nulls {
            break;
        }
    }
    range
}

/// Returns the range of a column, and whether it may have nulls.
fn of_column(mapper: &Mapper, footer: &Footer, column: &str) -> Option<(TimeRange, bool)> {
    let metadata = footer.metadata();
    let schema = footer.declared();
    let field = schema.field_with_name(column).ok()?;
    let data_type = field.data_type();
    // Statistics of strings may be truncated.
    if !(data_type.is_integer() || matches!(data_type, DataType::Timestamp(..) | DataType::Date32)) {
        return None;
    }
    let parquet_schema = metadata.file_metadata().schema_descr();
    let converter = StatisticsConverter::try_new(column, schema, parquet_schema).ok()?;
    let converter = converter.with_missing_null_counts_as_zero(false);
    let groups = || metadata.row_groups().iter().filter(|group| group.num_rows() > 0);
    let (earliest, latest) =
        (converter.row_group_mins(groups()).ok()?, converter.row_group_maxes(groups()).ok()?);
    // Converted by the mapping's zone and unit, because the footer has the file's raw values.
    let (earliest, latest) = (mapper.timestamps(&earliest)?, mapper.timestamps(&latest)?);
    let nulls = converter.row_group_null_counts(groups()).ok()?;
    let has_nulls = field.is_nullable() && nulls.iter().any(|nulls| nulls != Some(0));
    Some((TimeRange { first: earliest.into_iter().min()?, last: latest.into_iter().max()? }, has_nulls))
}
