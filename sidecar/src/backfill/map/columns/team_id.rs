//! Teams from integers, decimals, floats or strings.
//!
//! Integers may have any width. Decimals and floats must be whole.

use arrow_array::{Array, RecordBatch};

use super::number::{Number, Numbers, is_number};
use super::text::{absent, bytes, is_text, quoted};
use crate::backfill::map::mapping::find::{FoundColumn, ResolvedColumn};
use crate::backfill::map::reject::Faults;

#[derive(Debug, Clone)]
pub(crate) enum Teams {
    Constant(i64),
    Column {
        column: FoundColumn,
        /// Replaces null. Without a default, a null is rejected.
        default: Option<i64>,
    },
}

impl Teams {
    /// # Errors
    /// Fails if the column is neither numeric nor a string.
    pub(crate) fn new(column: FoundColumn, default: Option<i64>) -> Result<Self, String> {
        let data_type = column.field.data_type();
        if is_number(data_type) || is_text(data_type) {
            return Ok(Self::Column { column, default });
        }
        Err(format!("{data_type} is not a team id: give a column of whole numbers"))
    }

    /// Returns one team per row, 0 for invalid rows.
    pub(crate) fn read(&self, batch: &RecordBatch, faults: &mut Faults) -> Vec<i64> {
        match self {
            Self::Constant(team) => vec![*team; batch.num_rows()],
            Self::Column { column, default } => {
                let read =
                    column.values(batch).and_then(|values| rows(&column.name, &values, *default, faults));
                read.unwrap_or_else(|| absent(&column.name, batch, faults, 0))
            }
        }
    }
}

fn rows(
    column: &str,
    values: &ResolvedColumn,
    default: Option<i64>,
    faults: &mut Faults,
) -> Option<Vec<i64>> {
    let mut wrong = |row: usize, reason: String| {
        faults.add(row, &reason);
        0
    };
    let mut team =
        |row: usize, team: Option<i64>, shown: &dyn Fn() -> String| match (values.is_null(row), team) {
            (false, Some(team)) => team,
            (false, None) => {
                wrong(row, format!("team_id {} in column {column} is not a 64-bit integer", shown()))
            }
            (true, _) => default.unwrap_or_else(|| wrong(row, format!("team_id is null (column {column})"))),
        };
    let rows = 0..values.array.len();
    let Some(numbers) = Numbers::new(&values.array) else {
        let texts = bytes(&values.array)?;
        return Some(
            rows.map(|row| team(row, parse(texts.value(row)), &|| quoted(texts.value(row)))).collect(),
        );
    };
    if let (Numbers::Signed(whole), None) = (&numbers, &values.nulls) {
        return Some(whole.values().to_vec());
    }
    let number = |row| numbers.get(row);
    let shown = |row| number(row).map_or_else(|| "(too many digits)".to_owned(), |number| number.to_string());
    Some(rows.map(|row| team(row, number(row).and_then(Number::whole), &|| shown(row))).collect())
}

/// Parses digits with an optional minus sign.
fn parse(text: &[u8]) -> Option<i64> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}
