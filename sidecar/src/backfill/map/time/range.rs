//! Calendar range of timestamps inside nested columns.
//!
//! The check exists because the JSON encoder writes its error into the text of the value.

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, Int64Array};
use arrow_cast::cast;
use arrow_schema::{DataType, TimeUnit};

const SECONDS_A_DAY: i64 = 86_400;
/// Well within the calendar of the encoder, a quarter of a million years in each direction.
const MAX_SECONDS: i64 = 200_000 * 365 * SECONDS_A_DAY;

/// Returns `false` if any value at any depth might not be a date or a time of day. Values under a
/// null count too.
pub(crate) fn all_are_dates(array: &ArrayRef) -> bool {
    match array.data_type() {
        DataType::Struct(_) => array.as_struct().columns().iter().all(all_are_dates),
        DataType::Map(..) => array.as_map().entries().columns().iter().all(all_are_dates),
        DataType::List(_) => all_are_dates(array.as_list::<i32>().values()),
        DataType::LargeList(_) => all_are_dates(array.as_list::<i64>().values()),
        DataType::FixedSizeList(..) => all_are_dates(array.as_fixed_size_list().values()),
        DataType::Timestamp(unit, _) => within(array, per_second(*unit), MAX_SECONDS),
        DataType::Date32 => within(array, 1, MAX_SECONDS / SECONDS_A_DAY),
        DataType::Date64 => within(array, per_second(TimeUnit::Millisecond), MAX_SECONDS),
        DataType::Time32(unit) | DataType::Time64(unit) => {
            within(array, per_second(*unit), SECONDS_A_DAY - 1)
        }
        // Other types are not dates, or too rare for a check of the values. Their JSON is searched
        // for the encoder's error.
        other => !other.is_temporal() && !other.is_nested() && !matches!(other, DataType::Dictionary(..)),
    }
}

fn within(array: &ArrayRef, factor: i64, most: i64) -> bool {
    let Some(numbers) = cast(array, &DataType::Int64).ok() else { return false };
    let numbers: Option<&Int64Array> = numbers.as_primitive_opt();
    let is_near = |number: &i64| (number.div_euclid(factor)).abs() <= most;
    numbers.is_some_and(|numbers| numbers.values().iter().all(is_near))
}

fn per_second(unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => 1,
        TimeUnit::Millisecond => 1_000,
        TimeUnit::Microsecond => 1_000_000,
        TimeUnit::Nanosecond => 1_000_000_000,
    }
}
