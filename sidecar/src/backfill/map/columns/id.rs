//! Ids of rows as text.

use arrow_array::builder::BinaryViewBuilder;
use arrow_array::{Array, BinaryViewArray};

use super::number::{Number, Numbers};
use super::plain_text::plain_texts;
use crate::backfill::map::mapping::find::{FoundColumn, ResolvedColumn};
use crate::backfill::map::reject::Faults;

/// Like [`plain_texts`], but floats are the digits of whole numbers, and others are rejected.
pub(super) fn id_texts(
    target: &str,
    column: &FoundColumn,
    values: &ResolvedColumn,
    faults: &mut Faults,
) -> Option<BinaryViewArray> {
    if !values.array.data_type().is_floating() {
        return plain_texts(&column.field, &values.array);
    }
    let numbers = Numbers::new(&values.array)?;
    let mut texts = BinaryViewBuilder::with_capacity(values.array.len());
    for row in 0..values.array.len() {
        let number = numbers.get(row).filter(|_| !values.is_null(row));
        match (number, number.and_then(Number::integer)) {
            (_, Some(whole)) => texts.append_value(whole.to_string()),
            (None, _) => texts.append_null(),
            (Some(number), None) => {
                faults.add(
                    row,
                    &format!(
                        "{target} {number} in column {} is not a whole number that a float holds exactly",
                        column.name
                    ),
                );
                texts.append_value("");
            }
        }
    }
    Some(texts.finish())
}
