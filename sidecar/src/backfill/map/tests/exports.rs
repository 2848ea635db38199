//! Exports of vendors, by their presets.
//!
//! `tests/fixtures/exports/make.sql` writes the files.

use std::path::Path;

use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Event, Mapping, events, map_file};
use crate::backfill::map::PRESETS;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/exports");

/// Presets of files that are no export of a vendor.
const OWN: [&str; 2] = ["posthog-export", "identity"];

/// An event as the fixtures have it.
fn shown(event: &Event) -> Value {
    let time =
        |micros: i64| Timestamp::from_microsecond(micros).expect("a time").strftime("%F %T%.6f").to_string();
    json!({
        "uuid": Uuid::from_u128(event.uuid).to_string(),
        "event": event.event,
        "properties": event.properties,
        "timestamp": time(event.timestamp),
        "distinct_id": event.distinct_id,
        "created_at": time(event.created_at),
    })
}

#[test]
fn every_export_of_a_vendor_has_a_preset_that_gives_its_rows() {
    for (name, _) in PRESETS.iter().filter(|(name, _)| !OWN.contains(name)) {
        let preset = Mapping::preset(name, &[]).unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut read = Vec::new();
        for (_, mapped) in map_file(&Path::new(FOLDER).join(format!("{name}.parquet")), &preset, Some(7)) {
            assert_eq!(mapped.rejects, [], "{name}");
            read.extend(events(&mapped).iter().map(|event| shown(event).to_string()));
        }
        let rows = std::fs::read_to_string(Path::new(FOLDER).join(format!("{name}.jsonl")));
        assert_eq!(
            read,
            rows.expect("it is there").lines().collect::<Vec<_>>(),
            "{name}:\n{}",
            read.join("\n")
        );
    }
}
