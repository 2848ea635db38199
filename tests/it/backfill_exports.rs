//! Loads of other vendors' exports by their presets.

use std::fs;
use std::path::Path;

use anyhow::{Context, ensure};
use posthouse_tests::site::Site;
use serde_json::Value;

use crate::schema::json;

tests! {
    Shared exports_of_vendors_are_stored_as_their_presets_say,
    Shared values_of_the_path_are_columns,
}

/// Files of `make.sql`, with the rows that are right.
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/exports");

const PRESETS: [&str; 6] =
    ["segment-tracks", "segment-pages", "segment-identifies", "amplitude", "mixpanel", "snowplow"];

/// The right rows of a preset's file, sorted.
fn wanted(preset: &str) -> anyhow::Result<Vec<Value>> {
    let rows = fs::read_to_string(Path::new(FOLDER).join(format!("{preset}.jsonl")))?;
    let mut rows = rows.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>()?;
    rows.sort_by_key(ToString::to_string);
    Ok(rows)
}

/// The stored rows of a team, sorted.
fn stored(site: &Site<'_>, team: usize) -> anyhow::Result<Vec<Value>> {
    let rows = site.query(&format!(
        "SELECT uuid, event, properties, timestamp, distinct_id, created_at FROM {{db}}.events WHERE team_id = {team} \
         FORMAT JSONEachRow SETTINGS output_format_json_escape_forward_slashes = 0"
    ))?;
    let mut rows = rows.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>()?;
    rows.sort_by_key(ToString::to_string);
    Ok(rows)
}

fn exports_of_vendors_are_stored_as_their_presets_say(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN a file of each vendor
    site.apply()?;
    for (team, preset) in (1..).zip(PRESETS) {
        let file = format!("{FOLDER}/{preset}.parquet");
        let arguments =
            ["backfill", "run", &file, "--mapping", preset, "--team-id", &team.to_string(), "--json"];
        // WHEN it is loaded by its preset
        let done = json(&site.must(&arguments)?)?;
        // THEN the rows are those of the fixture, and proven
        let (stored, wanted) = (stored(site, team)?, wanted(preset)?);
        ensure!(stored == wanted, "{preset}: {stored:#?} are stored, not {wanted:#?}");
        ensure!(done["proof"]["found"] == wanted.len(), "{done:#}");
        // THEN the plan knows their times, unless they are inside a struct
        let plan = json(&site.must(&[
            "backfill",
            "plan",
            &file,
            "--mapping",
            preset,
            "--team-id",
            &team.to_string(),
            "--json",
        ])?)?;
        ensure!(plan["timestamps"].is_null() == (preset == "mixpanel"), "{plan:#}");
        // WHEN it is loaded again THEN nothing is stored
        let again = json(&site.must(&arguments)?)?;
        ensure!(again["stored"] == 0 && again["before"] == wanted.len(), "{again:#}");
    }
    Ok(())
}

fn values_of_the_path_are_columns(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN copies of a file in folders of two teams and days, and a mapping with both
    site.apply()?;
    let folder = tempfile::tempdir()?;
    for path in ["team_id=21/day=2025-05-06", "team_id=22/day=2025-05-07%2012%3A00%3A00"] {
        let path = folder.path().join(path);
        fs::create_dir_all(&path)?;
        fs::copy(format!("{FOLDER}/segment-pages.parquet"), path.join("a.parquet"))?;
    }
    let mapping = folder.path().join("mapping.toml");
    let preset = "uuid = { column = \"id\", namespace = \"5d3f0f0f-54a5-5c2e-9d3b-5a0b1c6f7a01\" }\n\
                  event = \"name\"\ndistinct_id = \"anonymous_id\"\nteam_id = \"team_id\"\ntimestamp = \"day\"\n\
                  properties = { columns = [\"day\"] }\n";
    fs::write(&mapping, preset.replace("\"name\"", "{ column = \"name\", default = \"page\" }"))?;
    let (source, mapping) = (folder.path().to_string_lossy(), mapping.to_string_lossy());
    // WHEN they are loaded
    let arguments = ["backfill", "run", &source, "--mapping", &mapping, "--json"];
    let done = json(&site.must(&arguments)?)?;
    // THEN the rows have the values of their paths
    ensure!(done["stored"] == 4 && done["proof"]["found"] == 4, "{done:#}");
    let rows = site.query(
        "SELECT team_id, toString(timestamp), properties, count() FROM {db}.events GROUP BY ALL ORDER BY team_id",
    )?;
    ensure!(
        rows == "21\t2025-05-06 00:00:00.000000\t{\"day\":\"2025-05-06\"}\t2\n\
                 22\t2025-05-07 12:00:00.000000\t{\"day\":\"2025-05-07 12:00:00\"}\t2",
        "{rows}"
    );
    // WHEN they are loaded again THEN they are done. WHEN the job is verified THEN paths are read
    let again = json(&site.must(&arguments)?)?;
    ensure!(again["stored"] == 0 && again["job"] == done["job"], "{again:#}");
    let job = done["job"].as_str().context("a job")?;
    let proof = json(&site.must(&["backfill", "verify", job, "--json"])?)?;
    ensure!(proof["found"] == 4, "{proof:#}");
    Ok(())
}
