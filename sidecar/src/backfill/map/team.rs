//! Teams from integers of any width, decimals and floats without a fraction, or text.

use arrow_array::{Array, RecordBatch};

use super::find::{Found, Values};
use super::mapper::Faults;
use super::number::{Numbers, is_number};
use super::text::{absent, bytes, is_text, quoted};

/// The source of `team_id`.
#[derive(Debug, Clone)]
pub(super) enum Teams {
    /// One team for all rows.
    Constant(i64),
    /// A column of the file.
    Column {
        column: Found,
        /// In place of null; where there is none, null is a fault.
        default: Option<i64>,
    },
}

impl Teams {
    /// # Errors
    /// What the type would have to be.
    pub(super) fn new(column: Found, default: Option<i64>) -> Result<Self, String> {
        let data_type = column.field.data_type();
        if is_number(data_type) || is_text(data_type) {
            return Ok(Self::Column { column, default });
        }
        Err(format!("{data_type} is no team: give a column of whole numbers"))
    }

    /// One team a row, 0 where it is a fault.
    pub(super) fn read(&self, batch: &RecordBatch, faults: &mut Faults) -> Vec<i64> {
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

fn rows(column: &str, values: &Values, default: Option<i64>, faults: &mut Faults) -> Option<Vec<i64>> {
    let rows = values.array.len();
    if let Some(numbers) = Numbers::new(&values.array) {
        if let (Numbers::Signed(whole), None) = (&numbers, &values.nulls) {
            return Some(whole.values().to_vec());
        }
        return Some(
            (0..rows)
                .map(|row| {
                    let null = values.is_null(row);
                    let number = if null { None } else { numbers.get(row) };
                    let shown =
                        || number.map_or_else(|| "(too many digits)".to_owned(), |number| number.to_string());
                    team(column, row, null, default, number.and_then(|number| number.whole()), shown, faults)
                })
                .collect(),
        );
    }
    let texts = bytes(&values.array)?;
    Some(
        (0..rows)
            .map(|row| {
                let text = texts.value(row);
                team(column, row, values.is_null(row), default, parse(text), || quoted(text), faults)
            })
            .collect(),
    )
}

fn team(
    column: &str,
    row: usize,
    null: bool,
    default: Option<i64>,
    team: Option<i64>,
    shown: impl FnOnce() -> String,
    faults: &mut Faults,
) -> i64 {
    let found = if null { default } else { team };
    found.unwrap_or_else(|| {
        let reason = if null {
            format!("team_id is null (column {column})")
        } else {
            format!("team_id {} in column {column} is no whole number of 64 bits", shown())
        };
        faults.add(row, &reason);
        0
    })
}

/// Digits with or without a minus, nothing else.
fn parse(text: &[u8]) -> Option<i64> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}
