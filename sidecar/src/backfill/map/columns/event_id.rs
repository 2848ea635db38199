//! UUIDs of events, as in the file or derived from other values.

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, ArrayRef, BinaryViewArray, RecordBatch};
use arrow_cast::cast;
use arrow_schema::{DataType, TimeUnit};
use uuid::Uuid;

use super::id::id_texts;
use super::plain_text::is_id;
use super::text::{absent, quoted};
use super::uuid::Uuids;
use crate::backfill::map::mapping::find::{FoundColumn, ResolvedColumn};
use crate::backfill::map::reject::Faults;

const NANOS_A_DAY: i128 = 86_400_000_000_000;

#[derive(Debug, Clone)]
pub(crate) enum EventIds {
    File(Uuids),
    /// Of version 5, with the value as the name.
    Derived(Uuid, FoundColumn),
    /// Of version 5, with a JSON list of the values as the name.
    Joined(Uuid, Vec<FoundColumn>),
}

/// # Errors
/// Fails if values of this type can't be the name of a UUID.
pub(crate) fn check_name(data_type: &DataType) -> Result<(), String> {
    let wanted = "give a column of text or whole numbers";
    is_id(data_type).then_some(()).ok_or_else(|| format!("{data_type} is not an id: {wanted}"))
}

/// # Errors
/// Fails if values of this type can't be a part of the name of a UUID.
pub(crate) fn check_joined(data_type: &DataType) -> Result<(), String> {
    let known = is_id(data_type)
        || matches!(data_type, DataType::Boolean | DataType::Timestamp(..))
        || matches!(data_type, DataType::Date32 | DataType::Date64);
    let wanted = "give a column of text, whole numbers, booleans, timestamps or dates";
    known.then_some(()).ok_or_else(|| format!("{data_type} can't be a part of a UUID: {wanted}"))
}

impl EventIds {
    /// Returns one UUID per row, 0 for invalid rows.
    pub(crate) fn read(&self, batch: &RecordBatch, faults: &mut Faults) -> Vec<u128> {
        match self {
            Self::File(uuids) => uuids.read(batch, faults),
            Self::Derived(namespace, column) => {
                let read = derived(*namespace, column, batch, faults);
                read.unwrap_or_else(|| absent(&column.name, batch, faults, 0))
            }
            Self::Joined(namespace, columns) => {
                let read = joined(*namespace, columns, batch, faults);
                read.unwrap_or_else(|| absent(&names(columns), batch, faults, 0))
            }
        }
    }
}

fn derived(
    namespace: Uuid,
    column: &FoundColumn,
    batch: &RecordBatch,
    faults: &mut Faults,
) -> Option<Vec<u128>> {
    let values = column.values(batch)?;
    let texts = id_texts("uuid", column, &values, faults)?;
    let mut wrong = |row, problem| {
        faults.add(row, &format!("uuid {problem} (column {})", column.name));
        0
    };
    let uuid = |row| match texts.value(row) {
        _ if values.is_null(row) => wrong(row, "is null"),
        // All rows without an id would be the same event.
        b"" => wrong(row, "has an empty name"),
        name => Uuid::new_v5(&namespace, name).as_u128(),
    };
    Some((0..texts.len()).map(uuid).collect())
}

/// A column's values as text.
struct JoinedTexts<'a> {
    column: &'a FoundColumn,
    values: ResolvedColumn,
    texts: BinaryViewArray,
}

fn joined(
    namespace: Uuid,
    columns: &[FoundColumn],
    batch: &RecordBatch,
    faults: &mut Faults,
) -> Option<Vec<u128>> {
    let mut parts = Vec::with_capacity(columns.len());
    for column in columns {
        let values = column.values(batch)?;
        let texts = joined_texts(column, &values, faults)?;
        parts.push(JoinedTexts { column, values, texts });
    }
    let mut name = Vec::new();
    let mut uuid = |row| {
        name.clear();
        if let Err(problem) = write_name(&parts, row, &mut name) {
            faults.add(row, &problem);
            return 0;
        }
        Uuid::new_v5(&namespace, &name).as_u128()
    };
    Some((0..batch.num_rows()).map(&mut uuid).collect())
}

/// Writes the JSON list of the values, so that no two different rows have the same name.
fn write_name(parts: &[JoinedTexts<'_>], row: usize, name: &mut Vec<u8>) -> Result<(), String> {
    if parts.iter().all(|part| part.values.is_null(row)) {
        let columns: Vec<&str> = parts.iter().map(|part| part.column.name.as_str()).collect();
        return Err(format!("uuid is null (columns {})", columns.join(", ")));
    }
    let mut values = Vec::with_capacity(parts.len());
    for part in parts {
        let text = part.texts.value(row);
        values.push(match std::str::from_utf8(text) {
            _ if part.values.is_null(row) => None,
            Ok(text) => Some(text),
            Err(_) => {
                return Err(format!("uuid {} in column {} is not UTF-8", quoted(text), part.column.name));
            }
        });
    }
    // Into a buffer, where no write fails.
    serde_json::to_writer(name, &values).map_err(|error| error.to_string())
}

/// Timestamps and dates are nanoseconds since 1970, whatever their unit.
fn joined_texts(
    column: &FoundColumn,
    values: &ResolvedColumn,
    faults: &mut Faults,
) -> Option<BinaryViewArray> {
    let unit = match values.array.data_type() {
        DataType::Timestamp(TimeUnit::Second, _) => 1_000_000_000,
        DataType::Timestamp(TimeUnit::Millisecond, _) | DataType::Date64 => 1_000_000,
        DataType::Timestamp(TimeUnit::Microsecond, _) => 1_000,
        DataType::Timestamp(TimeUnit::Nanosecond, _) => 1,
        DataType::Date32 => NANOS_A_DAY,
        _ => return id_texts("uuid", column, values, faults),
    };
    let numbers: ArrayRef = match values.array.data_type() {
        DataType::Date32 => cast(&cast(&values.array, &DataType::Int32).ok()?, &DataType::Int64).ok()?,
        _ => cast(&values.array, &DataType::Int64).ok()?,
    };
    let numbers = numbers.as_primitive_opt::<Int64Type>()?;
    let text = |number: i64| (i128::from(number) * unit).to_string();
    let texts: Vec<Option<String>> = numbers.iter().map(|number| number.map(text)).collect();
    Some(texts.iter().map(Option::as_deref).map(|text| text.map(str::as_bytes)).collect())
}

fn names(columns: &[FoundColumn]) -> String {
    columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>().join(", ")
}
