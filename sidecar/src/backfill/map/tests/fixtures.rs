//! Files written by pyarrow, DuckDB, Polars, fastparquet and ClickHouse.
//!
//! `tests/fixtures/parquet/make.py` writes the same six events with each writer's types.

use std::path::{Path, PathBuf};

use super::{Event, Mapped, Mapping, events, map_file, parse};
use crate::backfill::map::{Quarantine, Reject};
use crate::backfill::read::Batch;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/parquet");

/// Timestamps of the events in milliseconds since 1970.
const TIMES: [i64; 6] =
    [1_793_529_726_502, -1, 1_709_164_800_000, 1_782_907_200_001, 946_684_800_000, 7_289_654_399_000];
/// 2026-11-01 11:00:00.
const INGESTED: u32 = 1_793_530_800;

fn file(name: &str) -> PathBuf {
    Path::new(FOLDER).join(format!("{name}.parquet"))
}

/// The events of `make.py`.
fn wanted() -> Vec<Event> {
    let names = ["$pageview", "$pageview", "sign up", "ünïcode ☃", "", "$autocapture"];
    let teams = [1, 2, 2, 9_007_199_254_740_992, 5, 1];
    let ids = ["user-1", "user-2", "user-2", "müller", "", "user-1"];
    let chains = ["", "a:text=\"x\"", "", "", "", "button.btn"];
    (0..6)
        .map(|n| Event {
            uuid: 0x018f_3e5a_7b1c_7def_8abc_0000_0000_0000 + n as u128,
            event: names[n].to_owned(),
            properties: format!("{{\"browser\":\"Firefox\",\"n\":{n},\"ok\":{},\"none\":null}}", n % 2 == 0),
            timestamp: TIMES[n] * 1000,
            team_id: teams[n],
            distinct_id: ids[n].to_owned(),
            elements_hash: String::new(),
            // The third event has no `created_at` and therefore gets its timestamp.
            created_at: TIMES[n] * 1000 + if n == 2 { 0 } else { 1_000_000 },
            ingested_at: 0,
            elements_chain: chains[n].to_owned(),
        })
        .collect()
}

/// All events of a file without rejected rows. A quarantine file of the same rows must give the
/// same events.
fn all(name: &str, mapping: &Mapping, team: Option<i64>) -> Vec<Event> {
    let folder = tempfile::tempdir().expect("a folder");
    let kept = folder.path().join("kept.parquet");
    let batches = map_file(&file(name), mapping, team);
    keep_all(&batches, &kept);
    let [first, second] = [batches, map_file(&kept, mapping, team)].map(|batches| {
        let mut all = Vec::new();
        for (_, mapped) in batches {
            assert_eq!(mapped.rejects, [], "{name}");
            all.extend(events(&mapped));
        }
        all
    });
    assert_eq!(first, second, "{name}, from its quarantine");
    first
}

/// Writes every row of `batches` to a quarantine file, although the rows are valid.
fn keep_all(batches: &[(Batch, Mapped)], kept: &Path) {
    let (first, _) = batches.first().expect("some rows");
    let mut quarantine = Quarantine::create(kept, &first.rows.schema()).expect("a quarantine");
    for (batch, _) in batches {
        let rejects = (0..batch.rows.num_rows()).map(|row| Reject { row, reason: "none".to_owned() });
        quarantine
            .add("source", batch, &rejects.collect::<Vec<_>>())
            .unwrap_or_else(|error| panic!("{error}: {error:?}"));
    }
    quarantine.finish().expect("in its place");
}

/// The identity preset with replaced entries.
fn identity_but(entries: &str) -> Mapping {
    let identity = include_str!("../presets/identity.toml");
    let replaced = |line: &&str| {
        entries
            .lines()
            .any(|entry| entry.split(' ').next().is_some_and(|key| line.starts_with(&format!("{key} "))))
    };
    let kept: Vec<&str> = identity.lines().filter(|line| !replaced(line)).collect();
    parse(&format!("{}\n{entries}", kept.join("\n"))).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn plain_files_of_every_writer_are_read_by_the_identity() {
    let identity = Mapping::preset("identity", &[]).expect("it is there");
    for name in [
        "pyarrow-none",
        "pyarrow-snappy",
        "pyarrow-zstd",
        "pyarrow-lz4",
        "pyarrow-gzip",
        "pyarrow-brotli",
        "pyarrow-plain",
        "pyarrow-delta",
        "pyarrow-large",
        "pyarrow-dictionary",
        "pyarrow-fixed",
        "pyarrow-uuid",
        "pyarrow-int96",
        "duckdb-v1",
        "duckdb-v2",
        "duckdb-lz4",
        "duckdb-brotli",
        "duckdb-struct",
        "polars-zstd",
        "polars-lz4",
        "polars-struct",
        "fastparquet-snappy",
    ] {
        assert_eq!(all(name, &identity, None), wanted(), "{name}");
    }
}

#[test]
fn what_clickhouse_wrote_comes_back_with_its_time_of_ingestion() {
    let mut wanted = wanted();
    for event in &mut wanted {
        event.ingested_at = INGESTED;
    }
    assert_eq!(all("clickhouse-zstd", &Mapping::preset("identity", &[]).expect("it is there"), None), wanted);
}

#[test]
fn timestamps_in_zones_texts_and_numbers_are_the_same_instants() {
    let zone = "{ column = \"created_at\", zone = \"Europe/Berlin\" }";
    for (name, entries) in [
        ("pyarrow-zones", format!("created_at = {zone}")),
        ("pyarrow-texts", format!("created_at = {zone}")),
        (
            "pyarrow-epochs",
            "timestamp = { column = \"timestamp\", unit = \"ms\" }\n\
             created_at = { column = \"created_at\", unit = \"s\" }"
                .to_owned(),
        ),
    ] {
        assert_eq!(all(name, &identity_but(&entries), None), wanted(), "{name}");
    }
}

#[test]
fn columns_inside_a_struct_are_named_by_their_path() {
    let nested: String = include_str!("../presets/identity.toml")
        .lines()
        .filter(|line| !line.starts_with("elements_hash") && !line.starts_with("_timestamp"))
        .map(|line| line.replacen('"', "\"payload.", 1) + "\n")
        .collect();
    let mapping = parse(&nested).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(all("pyarrow-nested", &mapping, None), wanted());
}

#[test]
fn uuids_of_a_file_are_ids_with_hyphens() {
    for name in ["pyarrow-uuid", "clickhouse-zstd"] {
        let read = all(name, &identity_but("distinct_id = \"uuid\""), None);
        let ids: Vec<&str> = read.iter().map(|event| event.distinct_id.as_str()).collect();
        let wanted = (0..6).map(|n| format!("018f3e5a-7b1c-7def-8abc-00000000000{n}"));
        assert_eq!(ids, wanted.collect::<Vec<_>>(), "{name}");
    }
}

#[test]
fn maps_and_lists_become_json() {
    let read = all("pyarrow-map", &Mapping::preset("identity", &[]).expect("it is there"), None);
    let properties: Vec<&str> = read.iter().map(|event| event.properties.as_str()).collect();
    assert_eq!(properties, ["{\"a\":\"1\",\"b\":null}", "{}", "{\"☃\":\"x\\\"y\"}", "{}", "{}", "{}"]);
    let chains: Vec<&str> = read.iter().map(|event| event.elements_chain.as_str()).collect();
    assert_eq!(chains, ["[1,2]", "[]", "", "[3]", "[]", "[]"]);
}

#[test]
fn an_export_of_the_product_needs_a_team() {
    let export = Mapping::preset("posthog-export", &[]).expect("it is there");
    let mut wanted = wanted();
    for (row, event) in wanted.iter_mut().enumerate() {
        event.team_id = 42;
        event.ingested_at = if row == 5 { 0 } else { INGESTED };
    }
    assert_eq!(all("pyarrow-export", &export, Some(42)), wanted);
}
