//! ISO 8601 timestamps, by the rules of `sql/events/timestamp.sql`.

use super::offset::{number, offset};
use super::zone::Zone;

const MICROS: i64 = 1_000_000;
const SECONDS_A_DAY: i64 = 86_400;
/// Range of years that `DateTime64` holds in every version.
const FIRST_YEAR: i64 = 1900;
const LAST_YEAR: i64 = 2299;
/// Nanoseconds. Digits beyond the column's microseconds are cut off, as ClickHouse does for a
/// message.
const MAX_DIGITS: usize = 9;
/// Position of the fraction, behind a date and time of fixed length.
const FRACTION: usize = 19;

/// First microsecond of 1900 in UTC.
pub(crate) const FIRST: i64 = -2_208_988_800 * MICROS;
/// Last microsecond of 2299 in UTC.
pub(crate) const LAST: i64 = 10_413_792_000 * MICROS - 1;

/// Parses a timestamp into microseconds since 1970 in UTC. A timestamp has a full date and time, up
/// to nine fractional digits, and optionally `Z` or an offset. `zone` applies without an offset.
///
/// # Errors
/// The problem, as the end of a sentence that starts with the value.
pub(crate) fn parse(text: &[u8], zone: &Zone) -> Result<i64, String> {
    let shape = || "is not a full date and time such as 2026-11-01 10:42:06.502".to_owned();
    let (date, rest) = date(text).ok_or_else(shape)?;
    let (second, rest) = time(rest).ok_or_else(shape)?;
    let (micros, rest) = fraction(rest).ok_or_else(shape)?;
    let local = (date * SECONDS_A_DAY + second) * MICROS + micros;
    let instant = match rest {
        [] => zone.utc(local)?,
        b"Z" => local,
        _ => local - offset(rest).ok_or_else(shape)? * MICROS,
    };
    in_bounds(instant)
}

/// Nanoseconds beyond the microseconds of a timestamp that [`parse`] accepts.
pub(crate) fn nanos_below(text: &[u8]) -> i64 {
    let digit = |place: usize| match text.get(FRACTION..)? {
        [b'.', digits @ ..] if digits.iter().take(place + 1).all(u8::is_ascii_digit) => digits.get(place),
        _ => None,
    };
    (6..MAX_DIGITS).fold(0, |sum, place| sum * 10 + digit(place).map_or(0, |digit| i64::from(digit - b'0')))
}

/// Returns `instant` if `DateTime64(6)` holds it in every version.
pub(crate) fn in_bounds(instant: i64) -> Result<i64, String> {
    if (FIRST..=LAST).contains(&instant) {
        return Ok(instant);
    }
    Err(format!("is outside the years {FIRST_YEAR} to {LAST_YEAR} in UTC"))
}

/// Days since 1970, and the rest of the text.
fn date(text: &[u8]) -> Option<(i64, &[u8])> {
    let [a, b, c, d, b'-', e, f, b'-', g, h, rest @ ..] = text else { return None };
    let (year, month, day) = (number(&[*a, *b, *c, *d])?, number(&[*e, *f])?, number(&[*g, *h])?);
    if !(FIRST_YEAR..=LAST_YEAR).contains(&year) || !(1..=12).contains(&month) {
        return None;
    }
    let days = match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    };
    (1..=days).contains(&day).then(|| (days_since_1970(year, month, day), rest))
}

/// Counts years from March, so that the leap day is the last day of a year.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let before_the_month = (153 * month + 2) / 5;
    let before_the_year = 365 * year + year / 4 - year / 100 + year / 400;
    // 719,468 days lie between March 1 of the year 0 and 1970.
    before_the_year + before_the_month + day - 1 - 719_468
}

/// Seconds of the day, and the rest of the text.
fn time(text: &[u8]) -> Option<(i64, &[u8])> {
    let [b'T' | b' ', a, b, b':', c, d, b':', e, f, rest @ ..] = text else { return None };
    let (hour, minute, second) = (number(&[*a, *b])?, number(&[*c, *d])?, number(&[*e, *f])?);
    (hour < 24 && minute < 60 && second < 60).then_some((hour * 3600 + minute * 60 + second, rest))
}

/// Microseconds, and the rest of the text.
fn fraction(text: &[u8]) -> Option<(i64, &[u8])> {
    let [b'.', rest @ ..] = text else { return Some((0, text)) };
    let length = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = rest.split_at_checked(length)?;
    if !(1..=MAX_DIGITS).contains(&length) {
        return None;
    }
    let micros = (0..6).fold(0, |sum, place| {
        let digit = digits.get(place).map_or(0, |digit| i64::from(digit - b'0'));
        sum * 10 + digit
    });
    Some((micros, rest))
}
