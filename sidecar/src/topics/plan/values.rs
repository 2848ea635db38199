//! Comparison and display of topic config values.

use std::collections::BTreeSet;

/// Whether two texts mean the same to a broker, because brokers normalize numbers and lists.
pub(crate) fn same(a: &str, b: &str) -> bool {
    let (a, b) = (a.trim(), b.trim());
    a == b || numbers(a, b).unwrap_or_else(|| list(a) == list(b))
}

/// Whether both are the same number; `None` if one is no number.
fn numbers(a: &str, b: &str) -> Option<bool> {
    if let (Ok(a), Ok(b)) = (a.parse::<i64>(), b.parse::<i64>()) {
        return Some(a == b);
    }
    Some(a.parse::<f64>().ok()? == b.parse::<f64>().ok()?)
}

fn list(text: &str) -> BTreeSet<&str> {
    text.split(',').map(str::trim).collect()
}

/// Value with its unit, if the key implies one: `604800000 (7 days)`.
pub(crate) fn shown(key: &str, value: &str) -> String {
    let meaning = match value.parse::<i64>() {
        Ok(-1) if key.ends_with(".ms") || key.ends_with(".bytes") => Some("no limit".to_owned()),
        Ok(number @ 1_000..) if key.ends_with(".ms") => Some(duration(number)),
        Ok(number @ 1_024..) if key.ends_with(".bytes") => Some(bytes(number.unsigned_abs())),
        _ => None,
    };
    match meaning {
        Some(meaning) => format!("{value} ({meaning})"),
        None => value.to_owned(),
    }
}

/// Milliseconds in their two largest units.
pub(crate) fn duration(milliseconds: i64) -> String {
    const UNITS: [(i64, &str); 4] =
        [(86_400_000, "day"), (3_600_000, "hour"), (60_000, "minute"), (1_000, "second")];
    let mut rest = milliseconds;
    let mut parts = Vec::new();
    for (unit, name) in UNITS {
        let count = rest / unit;
        rest %= unit;
        if count > 0 {
            parts.push(format!("{count} {name}{}", if count == 1 { "" } else { "s" }));
        }
    }
    parts.truncate(2);
    if parts.is_empty() { format!("{milliseconds} ms") } else { parts.join(" ") }
}

/// Bytes in the largest unit with a value of at least 1.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{count} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_broker_writes_in_its_own_way_is_the_same() {
        for (a, b) in
            [("0.5", "0.50"), ("1000", " 1000"), ("compact,delete", "delete, compact"), ("1", "1.0")]
        {
            assert!(same(a, b), "{a} {b}");
        }
        for (a, b) in
            [("0.5", "0.51"), ("compact", "delete"), ("a,b", "a"), ("9007199254740993", "9007199254740992")]
        {
            assert!(!same(a, b), "{a} {b}");
        }
    }

    #[test]
    fn values_are_shown_with_what_they_mean() {
        assert_eq!(shown("retention.ms", "604800000"), "604800000 (7 days)");
        assert_eq!(shown("retention.ms", "90061000"), "90061000 (1 day 1 hour)");
        assert_eq!(shown("retention.ms", "-1"), "-1 (no limit)");
        assert_eq!(shown("segment.bytes", "1073741824"), "1073741824 (1.0 GiB)");
        assert_eq!(shown("cleanup.policy", "delete"), "delete");
        assert_eq!(shown("retention.ms", "5"), "5");
    }
}
