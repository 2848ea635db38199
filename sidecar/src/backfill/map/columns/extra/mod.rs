//! Columns of events beyond the core, from any column of a file.
//!
//! Values follow the rules for fields of messages.

mod builder;
mod fixed;
mod lists;
mod text_value;

use std::sync::Arc;

use arrow_array::{Array, BinaryViewArray, RecordBatch};
use arrow_schema::DataType;

use self::builder::CellRows;
pub(in crate::backfill::map) use self::text_value::value_of_text;
use super::json;
use super::plain_text::is_id;
use super::text::{FloatText, StringColumn, absent, is_text};
use super::timestamp::check_type;
use crate::backfill::extra::{CellLayout, CellValue, Cells, ExtraColumn, ExtraValues};
use crate::backfill::map::mapping::Reading;
use crate::backfill::map::mapping::find::FoundColumn;
use crate::backfill::map::reject::Faults;
use crate::event_columns::Conversion;

/// A column beyond the core, with the source of its values.
#[derive(Debug, Clone)]
pub(crate) struct ExtraReader {
    pub(crate) column: Arc<ExtraColumn>,
    source: ExtraSource,
}

#[derive(Debug, Clone)]
enum ExtraSource {
    /// The same in every row.
    Constant(CellValue),
    Column {
        column: FoundColumn,
        /// Replaces null. Without a default, a null is rejected.
        default: Option<CellValue>,
        reading: Reading,
    },
}

impl ExtraReader {
    pub(crate) fn constant(column: Arc<ExtraColumn>, value: CellValue) -> Self {
        Self { column, source: ExtraSource::Constant(value) }
    }

    /// `default` replaces null; without one, the column's own rule applies.
    ///
    /// # Errors
    /// Fails if the type of `found` can't be read as the column's.
    pub(crate) fn new(
        column: Arc<ExtraColumn>,
        found: FoundColumn,
        default: Option<CellValue>,
        reading: Reading,
    ) -> Result<Self, String> {
        check(&column, found.field.data_type(), &reading)?;
        let default = default.or_else(|| (!column.is_required()).then(|| column.default_value()));
        Ok(Self { column, source: ExtraSource::Column { column: found, default, reading } })
    }

    /// Returns one value per row.
    pub(crate) fn read(&self, batch: &RecordBatch, faults: &mut Faults) -> ExtraValues {
        let (found, default, reading) = match &self.source {
            ExtraSource::Constant(value) => {
                return ExtraValues::repeated(&self.column, value, batch.num_rows());
            }
            ExtraSource::Column { column, default, reading } => (column, default.as_ref(), reading),
        };
        if self.column.layout == CellLayout::Text {
            return self.texts(batch, found, default, faults);
        }
        let read = found.values(batch).and_then(|values| {
            let rows = CellRows { column: &self.column, source: &found.name, values: &values, default };
            match self.column.layout {
                CellLayout::Fixed(_) => fixed::read(&rows, found, reading, faults),
                _ => lists::read(&rows, found, faults),
            }
        });
        read.unwrap_or_else(|| {
            absent(&found.name, batch, faults, ());
            ExtraValues::repeated(&self.column, &self.column.default_value(), batch.num_rows())
        })
    }

    /// Texts are views of the source's bytes, without a copy.
    fn texts(
        &self,
        batch: &RecordBatch,
        found: &FoundColumn,
        default: Option<&CellValue>,
        faults: &mut Faults,
    ) -> ExtraValues {
        let text = match default {
            Some(CellValue::Text(text)) => Some(text.clone()),
            Some(_) => Some(String::new()),
            None => None,
        };
        let strings = StringColumn::Column {
            target: self.column.name.as_str().into(),
            column: found.clone(),
            default: text,
            floats: FloatText::Shortest,
        };
        let texts: BinaryViewArray = strings.read(batch, faults);
        let nulls = self.column.is_nullable.then(|| {
            let nulls = found.values(batch).and_then(|values| values.nulls);
            let nulls = nulls.filter(|_| default == Some(&CellValue::Null));
            (0..texts.len()).map(|row| nulls.as_ref().is_some_and(|nulls| nulls.is_null(row))).collect()
        });
        ExtraValues { column: self.column.clone(), nulls, cells: Cells::Texts(texts) }
    }
}

/// # Errors
/// Fails if values of `data_type` can't be read as the column's.
fn check(column: &ExtraColumn, data_type: &DataType, reading: &Reading) -> Result<(), String> {
    let is_number = data_type.is_integer() || data_type.is_floating() || data_type.is_decimal();
    let known = match &column.field.conversion {
        Conversion::Timestamp { .. } | Conversion::Seconds => {
            return check_type(&column.name, data_type, reading);
        }
        Conversion::Uuid => matches!(data_type, DataType::FixedSizeBinary(16 | 32 | 36)),
        Conversion::Integer { .. } | Conversion::Float { .. } => is_number,
        Conversion::Boolean => *data_type == DataType::Boolean || data_type.is_integer(),
        Conversion::Enumeration { .. } => data_type.is_integer(),
        _ if json::is_nested(data_type) => return json::check(data_type),
        Conversion::StringArray | Conversion::StringMap => false,
        _ => is_id(data_type) || *data_type == DataType::Boolean,
    };
    let wanted = &column.sql_type;
    (known || is_text(data_type)).then_some(()).ok_or_else(|| {
        format!("{data_type} can't be read as {wanted}: give another column, or leave {} out", column.name)
    })
}
