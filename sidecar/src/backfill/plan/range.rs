//! From when to when a file's events are, as the statistics of its footer say.

use arrow_schema::DataType;
use parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use serde::Serialize;

use super::File;

/// The earliest and the latest of some timestamps, in microseconds since 1970 in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Range {
    /// The earliest.
    pub first: i64,
    /// The latest.
    pub last: i64,
}

impl Range {
    /// Both.
    pub fn joined(self, other: Self) -> Self {
        Self { first: self.first.min(other.first), last: self.last.max(other.last) }
    }
}

/// The range of a file; `None` where the column is no timestamp, date or number, or has no statistics in a row group that has rows.
pub(super) fn of_file(file: &File) -> Option<Range> {
    let column = file.mapper.timestamp_column()?;
    let metadata = file.footer.metadata();
    let schema = file.footer.declared();
    let data_type = schema.field_with_name(column).ok()?.data_type();
    // Statistics of texts may be cut off.
    if !(data_type.is_integer() || matches!(data_type, DataType::Timestamp(..) | DataType::Date32)) {
        return None;
    }
    let parquet_schema = metadata.file_metadata().schema_descr();
    let converter = StatisticsConverter::try_new(column, schema, parquet_schema).ok()?;
    let groups = || metadata.row_groups().iter().filter(|group| group.num_rows() > 0);
    let (earliest, latest) =
        (converter.row_group_mins(groups()).ok()?, converter.row_group_maxes(groups()).ok()?);
    // By the mapping's zone and unit: the footer has them as the file has.
    let (earliest, latest) = (file.mapper.timestamps(&earliest)?, file.mapper.timestamps(&latest)?);
    Some(Range { first: earliest.into_iter().min()?, last: latest.into_iter().max()? })
}
