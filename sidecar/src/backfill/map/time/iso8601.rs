//! ISO 8601 timestamps, by the rules that `sql/events/moment.sql` has for messages.

use super::offset::{number, offset};
use super::zone::Zone;

const MICROS: i64 = 1_000_000;
const SECONDS_A_DAY: i64 = 86_400;
/// The years that every version's `DateTime64` holds.
const FIRST_YEAR: i64 = 1900;
const LAST_YEAR: i64 = 2299;
/// Nanoseconds; what is finer than the column's microseconds is cut off, as ClickHouse does for a message.
const MOST_DIGITS: usize = 9;

/// First microsecond of 1900 in UTC.
pub(crate) const FIRST: i64 = -2_208_988_800 * MICROS;
/// Last microsecond of 2299 in UTC.
pub(crate) const LAST: i64 = 10_413_792_000 * MICROS - 1;

/// The instant in microseconds since 1970 in UTC: full date and time, up to nine digits after the second, `Z` or an
/// offset at will; `zone` where there is none.
///
/// # Errors
/// What is wrong, for a sentence that begins with the value.
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

/// `instant`, if `DateTime64(6)` holds it on every version.
pub(crate) fn in_bounds(instant: i64) -> Result<i64, String> {
    if (FIRST..=LAST).contains(&instant) {
        return Ok(instant);
    }
    Err(format!("is outside the years {FIRST_YEAR} to {LAST_YEAR} in UTC"))
}

/// Days since 1970 and what follows the date.
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

/// Counted in years that begin in March, so that the leap day is a year's last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let before_the_month = (153 * month + 2) / 5;
    let before_the_year = 365 * year + year / 4 - year / 100 + year / 400;
    // 719,468 days lie between the first of March of the year 0 and 1970.
    before_the_year + before_the_month + day - 1 - 719_468
}

/// Seconds of the day and what follows them.
fn time(text: &[u8]) -> Option<(i64, &[u8])> {
    let [b'T' | b' ', a, b, b':', c, d, b':', e, f, rest @ ..] = text else { return None };
    let (hour, minute, second) = (number(&[*a, *b])?, number(&[*c, *d])?, number(&[*e, *f])?);
    (hour < 24 && minute < 60 && second < 60).then_some((hour * 3600 + minute * 60 + second, rest))
}

/// Microseconds and what follows them.
fn fraction(text: &[u8]) -> Option<(i64, &[u8])> {
    let [b'.', rest @ ..] = text else { return Some((0, text)) };
    let length = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = rest.split_at_checked(length)?;
    if !(1..=MOST_DIGITS).contains(&length) {
        return None;
    }
    let micros = (0..6).fold(0, |sum, place| {
        let digit = digits.get(place).map_or(0, |digit| i64::from(digit - b'0'));
        sum * 10 + digit
    });
    Some((micros, rest))
}
