//! String timestamps, from the list that also tests messages.

use jiff::Timestamp;
use jiff::civil::date;
use jiff::tz::Offset;

use crate::backfill::map::time::iso8601;
use crate::backfill::map::time::zone::{Ambiguous, Zone};

const CASES: &str = include_str!("../../../../../tests/fixtures/timestamps.json");

#[test]
fn reads_timestamps_as_messages_are_read() {
    let cases: Vec<(String, Option<String>)> = serde_json::from_str(CASES).expect("a list");
    for (text, expected) in cases {
        let micros = iso8601::parse(text.as_bytes(), &Zone::default());
        let read = micros.as_ref().ok().map(|micros| {
            let timestamp = Timestamp::from_microsecond(*micros).expect("a date");
            Offset::UTC.to_datetime(timestamp).strftime("%Y-%m-%d %H:%M:%S%.6f").to_string()
        });
        assert_eq!(read, expected, "{text}: {micros:?}");
    }
}

#[test]
fn rejects_zones_that_do_not_exist() {
    for name in ["+24:00", "+99:99", "+02:60", "-24:00", "+2:00"] {
        let zone = Zone::new(name, Ambiguous::Reject);
        assert!(zone.is_err(), "{name}: {zone:?}");
    }
    let noon = Offset::UTC.to_timestamp(date(2026, 11, 1).at(12, 0, 0, 0)).expect("a date");
    let zone = Zone::new("+23:59", Ambiguous::Reject).expect("a zone");
    let micros = noon.as_microsecond();
    assert_eq!(zone.utc(micros), Ok(micros - (23 * 60 + 59) * 60_000_000));
}
