//! Conversions of columns beyond the core, with the reason of each rejected row.

use std::sync::Arc;

use arrow_array::{
    ArrayRef, BinaryArray, BooleanArray, Decimal128Array, Float64Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray, TimestampNanosecondArray, UInt64Array,
};

use crate::backfill::extra::{Cells, ExtraColumn, ExtraValues};
use crate::backfill::map::columns::extra::{ExtraReader, value_of_text};
use crate::backfill::map::mapping::Reading;
use crate::backfill::map::mapping::find::find;
use crate::backfill::map::reject::{Faults, Reject};

/// Reads `array` as a column of `sql_type`.
fn read(sql_type: &str, array: ArrayRef) -> (ExtraValues, Vec<Reject>) {
    let batch = RecordBatch::try_from_iter_with_nullable([("a", array, true)]).expect("one column");
    let found = find(&batch.schema().fields, "a").expect("no ambiguity").expect("it is there");
    let column = ExtraColumn::of_type("x", sql_type);
    let reader = ExtraReader::new(column, found, None, Reading::default());
    let reader = reader.unwrap_or_else(|problem| panic!("{sql_type}: {problem}"));
    let mut faults = Faults::default();
    let values = reader.read(&batch, &mut faults);
    (values, faults.into_rejects())
}

/// Values of a fixed size as little-endian numbers, `None` for NULL.
fn numbers(values: &ExtraValues) -> Vec<Option<u128>> {
    let Cells::Fixed { width, bytes } = &values.cells else { panic!("{values:?}") };
    let number = |bytes: &[u8]| bytes.iter().rev().fold(0, |sum, byte| sum << 8 | u128::from(*byte));
    let rows = bytes.chunks_exact(*width).enumerate();
    rows.map(|(row, bytes)| (!values.is_null(row)).then(|| number(bytes))).collect()
}

/// Every value is one of the type.
fn all(sql_type: &str, array: impl arrow_array::Array + 'static, wanted: &[Option<u128>]) {
    let (values, rejects) = read(sql_type, Arc::new(array));
    assert_eq!((numbers(&values).as_slice(), rejects.len()), (wanted, 0), "{sql_type}: {rejects:?}");
}

/// Every value is rejected, and the reason ends with `problem`.
fn none(sql_type: &str, array: impl arrow_array::Array + 'static, problem: &str) {
    let rows = array.len();
    let (_, rejects) = read(sql_type, Arc::new(array));
    assert_eq!(rejects.len(), rows, "{sql_type}: {rejects:?}");
    for Reject { reason, .. } in rejects {
        assert!(reason.starts_with("x ") && reason.ends_with(problem), "{reason:?} of {sql_type}");
        assert!(reason.contains(" in column a "), "{reason:?}");
    }
}

fn texts(texts: &[&str]) -> StringArray {
    StringArray::from(texts.to_vec())
}

#[test]
fn numbers_are_of_the_type_or_rejected() {
    all("Int8", Int64Array::from(vec![Some(-128), None, Some(127)]), &[Some(128), Some(0), Some(127)]);
    all("Nullable(UInt64)", UInt64Array::from(vec![Some(u64::MAX), None]), &[Some(u64::MAX.into()), None]);
    all("UInt16", texts(&["+5", "007", "65535"]), &[Some(5), Some(7), Some(65_535)]);
    all("Int32", Float64Array::from(vec![-1.0]), &[Some(u32::MAX.into())]);
    let decimals = |digits| Decimal128Array::from(vec![digits]).with_precision_and_scale(9, 2).expect("fits");
    all("UInt8", decimals(700), &[Some(7)]);
    none("UInt8", decimals(701), "is not an integer of type UInt8");
    none("Int8", Int64Array::from(vec![128, -129]), "is not an integer of type Int8");
    none("UInt8", texts(&["-0", "256", "", " 1", "1.0", "x"]), "is not an integer of type UInt8");
    none("Int64", Float64Array::from(vec![0.5, f64::NAN]), "is not an integer of type Int64");
    let half = |value: f64| Some(value.to_bits().into());
    all("Float64", texts(&["1.5", "2e3", ".5"]), &[half(1.5), half(2_000.0), half(0.5)]);
    all("Float64", decimals(-150), &[half(-1.5)]);
    all("Float32", Float64Array::from(vec![0.1]), &[Some(0.1_f32.to_bits().into())]);
    none("Float32", Float64Array::from(vec![1e39, f64::INFINITY, f64::NAN]), "is not a finite number");
    none("Float64", texts(&["nan", "inf", "1e400", "", "1_0"]), "is not a finite number");
}

#[test]
fn booleans_names_and_uuids_are_of_the_type_or_rejected() {
    all("Bool", BooleanArray::from(vec![Some(true), None]), &[Some(1), Some(0)]);
    all("Bool", texts(&["true", "0"]), &[Some(1), Some(0)]);
    all("Bool", Int64Array::from(vec![1, 0]), &[Some(1), Some(0)]);
    none("Bool", texts(&["True", "2", ""]), "is not true or false");
    none("Bool", Int64Array::from(vec![2, -1]), "is not true or false");
    let names = "Enum8('full' = 0, 'x y' = -3)";
    all(names, StringArray::from(vec![Some("full"), Some("x y"), None]), &[Some(0), Some(253), Some(253)]);
    all(names, Int64Array::from(vec![-3]), &[Some(253)]);
    none(names, texts(&["", "0", "Full"]), "is not one of full, x y");
    none(names, Int64Array::from(vec![1, 253]), "is not one of full, x y");
    let raw: Vec<u8> = (1..=16).collect();
    let text = "01020304-0506-0708-090a-0b0c0d0e0f10";
    let wire = u128::from_be_bytes(raw.clone().try_into().expect("16 bytes")).rotate_left(64);
    all("UUID", texts(&[text, &text.replace('-', "").to_uppercase()]), &[Some(wire); 2]);
    all("Nullable(UUID)", BinaryArray::from_opt_vec(vec![Some(&raw[..]), None]), &[Some(wire), None]);
    none("UUID", texts(&["", "0123456789abcdef", "\u{1}23456789abcdef", "x"]), "is not a UUID");
}

#[test]
fn timestamps_lose_digits_and_keep_their_range() {
    let micros = TimestampMicrosecondArray::from(vec![1_999, -1]);
    all("DateTime64(3, 'UTC')", micros.clone(), &[Some(1), Some(u64::MAX.into())]);
    all("DateTime64(0, 'UTC')", micros.clone(), &[Some(0), Some(u64::MAX.into())]);
    all("DateTime64(9, 'UTC')", TimestampNanosecondArray::from(vec![1_234_567_891]), &[Some(1_234_567_891)]);
    all("DateTime64(7)", texts(&["1970-01-01 00:00:01.123456789"]), &[Some(11_234_567)]);
    all("DateTime64(9)", texts(&["1970-01-01T00:00:00.1234567Z"]), &[Some(123_456_700)]);
    all(
        "DateTime",
        texts(&["1970-01-01 00:00:09.9", "2106-02-07 06:28:15"]),
        &[Some(9), Some(u32::MAX.into())],
    );
    none("DateTime", micros.slice(1, 1), "is not from 1970-01-01 00:00:00 to 2106-02-07 06:28:15 UTC");
    none("DateTime64(9)", texts(&["2261-12-31 23:59:59.1"]), "to 2261-12-31 23:59:59 UTC");
    none(
        "DateTime64(3)",
        texts(&["10:42", ""]),
        "is not a full date and time such as 2026-11-01 10:42:06.502",
    );
}

#[test]
fn defaults_of_a_mapping_are_checked_like_texts() {
    let checked = |sql_type: &str, text: &str| value_of_text(&ExtraColumn::of_type("x", sql_type), text);
    for (sql_type, text) in [
        ("UUID", "01020304-0506-0708-090a-0b0c0d0e0f10"),
        ("Array(String)", "[\"a\"]"),
        ("Map(String, String)", "{}"),
        ("DateTime64(9)", "2026-01-01 00:00:00"),
        ("LowCardinality(Nullable(String))", ""),
    ] {
        assert!(checked(sql_type, text).is_ok(), "{sql_type}");
    }
    for (sql_type, text) in [
        ("UUID", "x"),
        ("Array(String)", "a"),
        ("Map(String, String)", "[]"),
        ("DateTime", "2200-01-01 00:00:00"),
    ] {
        assert!(checked(sql_type, text).is_err(), "{sql_type}");
    }
}
