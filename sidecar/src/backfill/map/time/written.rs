//! Texts of timestamps as databases write them, beyond those of messages.

use std::borrow::Cow;

use super::iso8601;
use super::zone::Zone;

/// Bytes of a date such as `2026-11-01`.
const DATE: usize = 10;

/// Like [`iso8601::parse`], but also of a date alone (its midnight), a time without seconds, the
/// form without hyphens and colons, small letters, a comma before the fraction, an offset in whole
/// hours such as `+00`, a space before the offset, `UTC` and `+0000 UTC`.
///
/// # Errors
/// The problem, as the end of a sentence that starts with the value.
pub(super) fn parse(text: &[u8], zone: &Zone) -> Result<i64, String> {
    let parsed = iso8601::parse(text, zone);
    match (parsed, standard(text)) {
        (Err(_), Cow::Owned(standard)) => iso8601::parse(&standard, zone),
        (parsed, _) => parsed,
    }
}

/// Nanoseconds beyond the microseconds of a timestamp that [`parse`] accepts.
pub(super) fn nanos_below(text: &[u8]) -> i64 {
    iso8601::nanos_below(&standard(text))
}

/// The text as messages have it, or any invalid text.
fn standard(text: &[u8]) -> Cow<'_, [u8]> {
    let Some((date, rest)) = date(text) else { return text.into() };
    let Some((separator, rest)) = rest.split_first() else { return [&*date, b"T00:00:00"].concat().into() };
    let (time, zone) = without_zone(rest);
    let mut standard = [&*date, &[separator.to_ascii_uppercase()], &*time_of_day(time), &zone].concat();
    standard.iter_mut().filter(|byte| **byte == b',').for_each(|comma| *comma = b'.');
    if standard == text { text.into() } else { standard.into() }
}

/// The date with hyphens, and the rest of the text.
fn date(text: &[u8]) -> Option<(Cow<'_, [u8]>, &[u8])> {
    if let Some((digits @ [a, b, c, d, e, f, g, h], rest @ [b'T' | b't', ..])) = text.split_first_chunk()
        && digits.iter().all(u8::is_ascii_digit)
    {
        return Some((vec![*a, *b, *c, *d, b'-', *e, *f, b'-', *g, *h].into(), rest));
    }
    text.split_at_checked(DATE).map(|(date, rest)| (date.into(), rest))
}

/// The time of day with colons and seconds.
fn time_of_day(time: &[u8]) -> Cow<'_, [u8]> {
    match time {
        [a, b, b':', c, d] => vec![*a, *b, b':', *c, *d, b':', b'0', b'0'].into(),
        [a, b, c, d, e, f, rest @ ..] if time.iter().take(6).all(u8::is_ascii_digit) => {
            [&[*a, *b, b':', *c, *d, b':', *e, *f], rest].concat().into()
        }
        _ => time.into(),
    }
}

/// The time, and its zone as messages have it.
fn without_zone(time: &[u8]) -> (&[u8], Cow<'_, [u8]>) {
    let utc = [b"UTC".as_slice(), b"Z", b"z"].into_iter().find_map(|name| time.strip_suffix(name));
    let rest = utc.map_or(time, |rest| rest.strip_suffix(b" ").unwrap_or(rest));
    let sign = rest.iter().rposition(|byte| matches!(byte, b'+' | b'-'));
    match sign.and_then(|sign| rest.split_at_checked(sign)) {
        Some((rest, offset)) if utc.is_none() || offset == b"+0000" => {
            let minute: &[u8] = if offset.len() == b"+00".len() { b":00" } else { b"" };
            (rest.strip_suffix(b" ").unwrap_or(rest), [offset, minute].concat().into())
        }
        _ if utc.is_some() => (rest, Cow::from(b"Z".as_slice())),
        _ => (time, Cow::default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_databases_write() {
        let second = 1_704_164_645_000_000;
        for (text, expected) in [
            ("2024-01-02 03:04:05", Some(second)),
            ("2024-01-02 03:04:05+00", Some(second)),
            ("2024-01-02 05:34:05.25+02:30", Some(second + 250_000)),
            ("2024-01-02 01:04:05-02", Some(second)),
            ("2024-01-02 03:04:05.123456 UTC", Some(second + 123_456)),
            ("2024-01-02T03:04:05UTC", Some(second)),
            ("2024-01-02 03:04:05 Z", Some(second)),
            ("2024-01-02 04:04:05 +0100", Some(second)),
            ("2024-01-02 03:04:05,5", Some(second + 500_000)),
            ("2024-01-02 03:04", Some(second - 5_000_000)),
            ("2024-01-02T03:04+00", Some(second - 5_000_000)),
            ("2024-01-02", Some(1_704_153_600_000_000)),
            ("2024-01-02t03:04:05z", Some(second)),
            ("20240102T030405Z", Some(second)),
            ("20240102T030405.5", Some(second + 500_000)),
            ("2024-01-02 03:04:05.000000 +0000 UTC", Some(second)),
            ("2024-01-02 03:04:05.000000 +0100 UTC", None),
            ("2024-01-02 24:00:00", None),
            ("2024-01-02 23:59:60", None),
            ("02/01/2024 03:04:05", None),
            (" 2024-01-02 03:04:05", None),
            ("1704164645", None),
            ("2024-01-02T", None),
            ("2024-01-02 ", None),
            ("2024-01-02 03", None),
            ("2024-01-02+00", None),
            ("2024-01-02 03:04:05 CET", None),
            ("2024-01-02 03:04:05+0", None),
            ("2024-01-02 03:04:05+24", None),
            ("2024-01-02 03:04:05  UTC", None),
            ("2024-02-30", None),
            ("20240102", None),
            ("ü24-01-02é", None),
            ("", None),
        ] {
            assert_eq!(parse(text.as_bytes(), &Zone::default()).ok(), expected, "{text}");
        }
        assert_eq!(nanos_below(b"2024-01-02 03:04:05,123456789 UTC"), 789);
        assert_eq!(nanos_below(b"2024-01-02"), 0);
    }
}
