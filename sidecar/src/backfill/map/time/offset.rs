//! UTC offsets in ISO 8601 notation.

/// Seconds east of Greenwich. `None` if more text follows.
pub(super) fn offset(text: &[u8]) -> Option<i64> {
    let (sign, hour, minute) = match text {
        [sign, a, b, b':', c, d] | [sign, a, b, c, d] => (sign, number(&[*a, *b])?, number(&[*c, *d])?),
        _ => return None,
    };
    let seconds = (hour < 24 && minute < 60).then_some(hour * 3600 + minute * 60)?;
    match sign {
        b'+' => Some(seconds),
        b'-' => Some(-seconds),
        _ => None,
    }
}

pub(super) fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0, |sum, digit| digit.is_ascii_digit().then(|| sum * 10 + i64::from(digit - b'0')))
}
