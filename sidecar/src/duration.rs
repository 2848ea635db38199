//! Durations in the form that people write, such as `1h 30m`; a day has 24 hours.

use std::time::Duration;

use jiff::{Span, SpanRelativeTo, SpanRound, Unit};

/// Parses `500ms`, `90s`, `1h 30m`, `7d` and ISO 8601 (`PT1H`). `None` for other text, negative
/// durations, and months and years, whose lengths vary.
pub(crate) fn parse(text: &str) -> Option<Duration> {
    let span = text.parse::<Span>().ok()?;
    let duration = span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()?;
    Duration::try_from(duration).ok()
}

/// [`parse`] for an option of the command line.
///
/// # Errors
/// An example, for other text.
pub(crate) fn option(text: &str) -> Result<Duration, String> {
    parse(text).ok_or_else(|| "give a duration such as 90s, 12h or 3d".to_owned())
}

/// Formats in days, hours, minutes and smaller units, for example `1d 2h`.
pub(crate) fn shown(duration: Duration) -> String {
    let days = SpanRound::new().largest(Unit::Day).days_are_24_hours();
    let span = Span::try_from(duration).and_then(|span| span.round(days));
    span.map_or_else(|_| format!("{} s", duration.as_secs()), |span| format!("{span:#}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_parsed() {
        for (text, seconds) in [("90s", 90), ("1h 30m", 5_400), ("3d", 259_200), ("PT1H", 3_600)] {
            let duration = Duration::from_secs(seconds);
            assert_eq!(parse(text), Some(duration), "{text}");
            assert_eq!(parse(&shown(duration)), Some(duration), "{}", shown(duration));
        }
        assert_eq!(shown(Duration::from_secs(93_600)), "1d 2h");
        assert_eq!(shown(Duration::from_millis(1_500)), "1s 500ms");
        assert_eq!(shown(Duration::ZERO), "0s");
        for wrong in ["", "1", "-1d", "1 month", "2h3", "yesterday"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
        assert!(!shown(Duration::MAX).is_empty());
    }
}
