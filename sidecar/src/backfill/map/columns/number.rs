//! Exact decoding of numeric columns of any width.

use std::fmt;

use arrow_array::cast::AsArray;
use arrow_array::types::{Decimal128Type, Float64Type, Int64Type, UInt64Type};
use arrow_array::{Array, ArrayRef, Decimal128Array, Float64Array, Int64Array, UInt64Array};
use arrow_cast::cast;
use arrow_schema::{DECIMAL128_MAX_PRECISION, DataType};

use crate::backfill::map::mapping::EpochUnit;

/// Largest number up to which a float holds every whole number: 2^53.
const EXACT_IN_A_FLOAT: f64 = 9_007_199_254_740_992.0;

pub(crate) enum Numbers {
    Signed(Int64Array),
    Unsigned(UInt64Array),
    Float(Float64Array),
    Decimal(Decimal128Array, i8),
}

/// A value of a numeric column.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Number {
    Whole(i128),
    Float(f64),
    /// The digits, and the number of digits after the decimal point.
    Decimal(i128, i8),
}

pub(crate) fn is_number(data_type: &DataType) -> bool {
    data_type.is_integer() || data_type.is_floating() || data_type.is_decimal()
}

impl Numbers {
    /// Returns `None` for a column that is not numeric.
    pub(crate) fn new(array: &ArrayRef) -> Option<Self> {
        let data_type = array.data_type();
        if data_type.is_signed_integer() {
            return Some(Self::Signed(
                cast(array, &DataType::Int64).ok()?.as_primitive_opt::<Int64Type>()?.clone(),
            ));
        }
        if data_type.is_unsigned_integer() {
            return Some(Self::Unsigned(
                cast(array, &DataType::UInt64).ok()?.as_primitive_opt::<UInt64Type>()?.clone(),
            ));
        }
        if data_type.is_floating() {
            return Some(Self::Float(
                cast(array, &DataType::Float64).ok()?.as_primitive_opt::<Float64Type>()?.clone(),
            ));
        }
        let scale = match data_type {
            DataType::Decimal32(_, scale) | DataType::Decimal64(_, scale) => *scale,
            DataType::Decimal128(_, scale) | DataType::Decimal256(_, scale) => *scale,
            _ => return None,
        };
        let wide = cast(array, &DataType::Decimal128(DECIMAL128_MAX_PRECISION, scale)).ok()?;
        Some(Self::Decimal(wide.as_primitive_opt::<Decimal128Type>()?.clone(), scale))
    }

    /// Value of `row`, which must not be null. `None` if it has too many digits.
    pub(crate) fn get(&self, row: usize) -> Option<Number> {
        match self {
            Self::Signed(values) => Some(Number::Whole((*values.values().get(row)?).into())),
            Self::Unsigned(values) => Some(Number::Whole((*values.values().get(row)?).into())),
            Self::Float(values) => Some(Number::Float(*values.values().get(row)?)),
            // The cast turns values that don't fit into null.
            Self::Decimal(values, _) if values.is_null(row) => None,
            Self::Decimal(values, scale) => Some(Number::Decimal(*values.values().get(row)?, *scale)),
        }
    }
}

impl Number {
    /// Returns the number if it is whole and fits 64 bits.
    pub(crate) fn whole(self) -> Option<i64> {
        self.integer()?.try_into().ok()
    }

    /// Returns the number if it is whole.
    pub(crate) fn integer(self) -> Option<i128> {
        match self {
            Self::Whole(value) => Some(value),
            Self::Decimal(digits, scale) => scaled(digits, 1, scale),
            Self::Float(value) => float_to_whole(value).map(i128::from),
        }
    }

    /// Converts a number that counts `unit`s to microseconds since 1970. Nanoseconds are truncated
    /// to microseconds. In the other units, the result must be a whole number of microseconds.
    pub(crate) fn micros(self, unit: EpochUnit) -> Option<i64> {
        let factor = match unit {
            EpochUnit::Second => 1_000_000,
            EpochUnit::Millisecond => 1_000,
            EpochUnit::Microsecond => 1,
            EpochUnit::Nanosecond => return Some(self.whole()?.div_euclid(1_000)),
        };
        match self {
            Self::Whole(value) => value.checked_mul(factor)?.try_into().ok(),
            Self::Decimal(digits, scale) => scaled(digits, factor, scale)?.try_into().ok(),
            Self::Float(value) => float_to_micros(value, f64::from(i32::try_from(factor).ok()?)),
        }
    }
}

/// Returns the microsecond whose nearest float is `value`, if exactly one exists. For seconds since
/// 1970 this holds until at least 2106. Later floats are too far apart to distinguish every
/// microsecond.
fn float_to_micros(value: f64, factor: f64) -> Option<i64> {
    let near = float_to_whole((value * factor).round())?;
    let mut nearest = (near - 1..=near + 1).filter(|micros| *micros as f64 / factor == value);
    nearest.next().filter(|_| nearest.next().is_none())
}

/// `digits` × `factor` ÷ 10^`scale`, if the result is whole.
fn scaled(digits: i128, factor: i128, scale: i8) -> Option<i128> {
    let power = 10_i128.checked_pow(scale.unsigned_abs().into())?;
    let product = digits.checked_mul(factor)?;
    if scale < 0 {
        return product.checked_mul(power);
    }
    (product % power == 0).then_some(product / power)
}

fn float_to_whole(value: f64) -> Option<i64> {
    // The conversion is exact within these bounds.
    (value.fract() == 0.0 && value.abs() <= EXACT_IN_A_FLOAT).then_some(value as i64)
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(value) => write!(f, "{value}"),
            Self::Float(value) => write!(f, "{value}"),
            Self::Decimal(digits, 0) => write!(f, "{digits}"),
            Self::Decimal(digits, scale) => write!(f, "{digits}e{}", -i16::from(*scale)),
        }
    }
}
