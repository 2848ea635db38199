//! Random timestamp columns of every type, with expected results.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::{
    ArrayRef, Date32Array, Date64Array, Decimal128Array, Float64Array, Int64Array, StringArray,
    TimestampMicrosecondArray, TimestampMillisecondArray, TimestampNanosecondArray, TimestampSecondArray,
};
use jiff::Timestamp;
use jiff::tz::Offset;
use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use super::columns::null;

const MICROS: i64 = 1_000_000;
/// 1900 and 2300 in seconds since 1970.
const YEARS: Range<i64> = -2_208_988_800..10_413_792_000;

/// Returns a column in a random unit; the last value is the mapping's `unit` for numbers.
pub(super) fn moment_column(random: &mut StdRng, rows: usize) -> (ArrayRef, Vec<Option<i64>>, &'static str) {
    // Includes some timestamps outside the supported years.
    let span = YEARS.start - 1000..YEARS.end + 1000;
    let edges = [YEARS.start, YEARS.start - 1, YEARS.end, YEARS.end - 1, 0, -1];
    let seconds: Vec<Option<i64>> = (0..rows)
        .map(|_| {
            let any = random.random_range(span.clone());
            let second = if random.random_ratio(1, 5) { *edges.choose(random).expect("some") } else { any };
            (!null(random)).then_some(second)
        })
        .collect();
    let within = |micros: i64| (YEARS.start * MICROS..YEARS.end * MICROS).contains(&micros).then_some(micros);
    let wanted =
        |micros: &[Option<i64>]| micros.iter().map(|micros| micros.and_then(within)).collect::<Vec<_>>();
    let micros: Vec<Option<i64>> = seconds
        .iter()
        .map(|second| second.map(|second| second * MICROS + random.random_range(0..MICROS)))
        .collect();
    let whole: Vec<Option<i64>> = seconds.iter().map(|second| second.map(|second| second * MICROS)).collect();
    let millis: Vec<Option<i64>> =
        micros.iter().map(|micro| micro.map(|micro| micro.div_euclid(1000))).collect();
    let in_millis = millis.iter().map(|milli| milli.map(|milli| milli * 1000)).collect::<Vec<_>>();
    let zone = *[None, Some("UTC"), Some("Asia/Tokyo")].choose(random).expect("some");
    let (array, instants, unit): (ArrayRef, Vec<Option<i64>>, _) = match random.random_range(0..12) {
        0 => (Arc::new(TimestampSecondArray::from(seconds).with_timezone_opt(zone)), whole, "s"),
        1 => (Arc::new(TimestampMillisecondArray::from(millis).with_timezone_opt(zone)), in_millis, "s"),
        2 => (Arc::new(TimestampMicrosecondArray::from(micros.clone()).with_timezone_opt(zone)), micros, "s"),
        3 => {
            // Nanoseconds cover only 1677 to 2262.
            let nanos: Vec<Option<i64>> =
                (0..rows).map(|_| (!null(random)).then(|| random.random())).collect();
            let micros = nanos.iter().map(|nano| nano.map(|nano| nano.div_euclid(1000))).collect();
            (Arc::new(TimestampNanosecondArray::from(nanos).with_timezone_opt(zone)), micros, "s")
        }
        4 => (Arc::new(Int64Array::from(seconds)), whole, "s"),
        5 => (Arc::new(Int64Array::from(millis)), in_millis, "ms"),
        6 => (Arc::new(Int64Array::from(micros.clone())), micros, "us"),
        7 => {
            let digits = micros.iter().map(|micro| micro.map(i128::from)).collect::<Decimal128Array>();
            (Arc::new(digits.with_precision_and_scale(30, 6).expect("fits")), micros, "s")
        }
        8 => {
            // Until 2106 a float of seconds distinguishes microseconds.
            let near = |milli: &Option<i64>| milli.filter(|milli| milli.abs() < 1000 << 32);
            let near: Vec<Option<i64>> = millis.iter().map(near).collect();
            let floats = near.iter().map(|milli| milli.map(|milli| milli as f64 / 1000.0));
            let exact = near.iter().map(|milli| milli.map(|milli| milli * 1000)).collect();
            (Arc::new(floats.collect::<Float64Array>()), exact, "s")
        }
        9 => {
            let days = seconds.iter().map(|second| second.map(|second| second.div_euclid(86_400)));
            let days: Vec<Option<i64>> = days.collect();
            let midnights = days.iter().map(|day| day.map(|day| day * 86_400 * MICROS)).collect();
            if random.random() {
                let days = days.iter().map(|day| day.map(|day| i32::try_from(day).expect("small")));
                (Arc::new(days.collect::<Date32Array>()), midnights, "s")
            } else {
                let millis = days.iter().map(|day| day.map(|day| day * 86_400_000));
                (Arc::new(millis.collect::<Date64Array>()), midnights, "s")
            }
        }
        _ => {
            let mut instants = micros;
            let texts: Vec<Option<String>> = instants.iter_mut().map(|micro| iso(random, micro)).collect();
            (Arc::new(StringArray::from(texts)), instants, "s")
        }
    };
    let wanted = wanted(&instants);
    (array, wanted, unit)
}

/// An ISO 8601 string of the timestamp, or an invalid one.
fn iso(random: &mut StdRng, micros: &mut Option<i64>) -> Option<String> {
    let value = (*micros)?;
    let moment = Offset::UTC.to_datetime(Timestamp::from_microsecond(value).ok()?);
    if random.random_ratio(1, 5) {
        *micros = None;
        return Some(
            [
                "",
                "10:42",
                "2026-02-30 00:00:00",
                "2026-1-1 00:00:00",
                "2026-01-01T",
                "2026-01-01 24:00:00",
                "2026-01-01 00:00:60",
                "2026-01-01 00:00:00.",
                "2026-01-01 00:00:00.1234567890",
                "2026-01-01 00:00:00 CET",
                "2026-01-01T00:00:00+25:00",
                "1899-12-31 23:59:59",
                "2300-01-01 00:00:00",
                "2023-02-29 00:00:00",
                "0000-00-00 00:00:00",
                "2026-01-01 00:00:00\n",
            ]
            .choose(random)?
            .to_string(),
        );
    }
    // The year in the text is checked too, regardless of its offset.
    let year = |text: &str| text[..4].parse::<i64>().is_ok_and(|year| (1900..2300).contains(&year));
    let text = match random.random_range(0..5) {
        0 => moment.strftime("%Y-%m-%d %H:%M:%S%.6f").to_string(),
        1 => moment.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string(),
        2 => format!("{}789", moment.strftime("%Y-%m-%dT%H:%M:%S%.6f")),
        3 => {
            let minutes: i32 = random.random_range(-12 * 60..=14 * 60);
            let east = Offset::from_seconds(minutes * 60).ok()?;
            let there = east.to_datetime(Timestamp::from_microsecond(value).ok()?);
            let (sign, minutes) = (if minutes < 0 { '-' } else { '+' }, minutes.abs());
            let (hour, minute) = (minutes / 60, minutes % 60);
            if random.random() {
                format!("{}{sign}{hour:02}:{minute:02}", there.strftime("%Y-%m-%dT%H:%M:%S%.6f"))
            } else {
                format!("{}{sign}{hour:02}{minute:02}", there.strftime("%Y-%m-%d %H:%M:%S%.9f"))
            }
        }
        _ => {
            *micros = Some(value.div_euclid(100_000) * 100_000);
            let tenth = value.rem_euclid(MICROS) / 100_000;
            format!("{}.{tenth}", moment.strftime("%Y-%m-%d %H:%M:%S"))
        }
    };
    if !year(&text) {
        *micros = None;
    }
    Some(text)
}
