//! posthouse under a profile that changes every setting its statements rely on.

use std::fmt::Write;

use anyhow::ensure;
use posthouse::parts::SETTINGS;
use posthouse_tests::daemon::Daemon;
use posthouse_tests::people::Rules;
use posthouse_tests::site::Site;

use crate::backfill::{ROWS, STORED, history, loaded};
use crate::persons_audit::PEOPLE;
use crate::persons_source::{person_database, same};
use crate::schema::json;

tests! {
    Single everything_is_done_and_proven_under_a_strange_profile,
}

/// A user of that profile for the nodes of the shared stack.
pub(crate) const STRANGER: &str = "<stranger><password></password><networks><ip>127.0.0.1</ip></networks>\
    <profile>strange</profile><quota>default</quota></stranger>";

/// Most of these made a command fail or would make a result wrong here. For a reached limit, a
/// skipped shard and lightweight deletes only the settings are covered, because the test has no
/// matching data.
const STRANGE: &[(&str, &str)] = &[
    ("final", "1"),
    ("apply_deleted_mask", "0"),
    ("limit", "1"),
    ("offset", "1"),
    ("use_query_cache", "1"),
    ("skip_unavailable_shards", "1"),
    ("optimize_skip_unused_shards", "1"),
    ("enable_parallel_replicas", "1"),
    ("distributed_group_by_no_merge", "1"),
    ("read_overflow_mode", "break"),
    ("read_overflow_mode_leaf", "break"),
    ("result_overflow_mode", "break"),
    ("timeout_overflow_mode", "break"),
    ("timeout_overflow_mode_leaf", "break"),
    ("group_by_overflow_mode", "any"),
    ("sort_overflow_mode", "break"),
    ("distinct_overflow_mode", "break"),
    ("set_overflow_mode", "break"),
    ("join_overflow_mode", "break"),
    ("transfer_overflow_mode", "break"),
    ("aggregate_functions_null_for_empty", "1"),
    ("empty_result_for_aggregation_by_empty_set", "1"),
    ("join_use_nulls", "1"),
    ("join_default_strictness", "ANY"),
    ("data_type_default_nullable", "1"),
    ("enable_global_with_statement", "0"),
    ("prefer_column_name_to_alias", "1"),
    ("force_primary_key", "1"),
    ("show_table_uuid_in_table_create_query_if_not_nil", "1"),
    ("input_format_native_decode_types_in_binary_format", "1"),
    ("input_format_native_allow_types_conversion", "0"),
    ("input_format_defaults_for_omitted_fields", "0"),
    ("input_format_force_null_for_omitted_fields", "1"),
    ("input_format_tsv_enum_as_number", "1"),
    ("output_format_json_array_of_rows", "1"),
    ("output_format_json_quote_64bit_integers", "1"),
    ("output_format_json_quote_64bit_floats", "1"),
    ("date_time_output_format", "iso"),
    ("send_progress_in_http_headers", "1"),
];

/// The profile, for the nodes of the shared stack.
pub(crate) fn profile() -> String {
    let mut xml = "<strange><profile>default</profile>".to_owned();
    for (name, value) in STRANGE {
        // Writing to a string does not fail.
        let _ = write!(xml, "<{name}>{value}</{name}>");
    }
    xml + "</strange>"
}

fn everything_is_done_and_proven_under_a_strange_profile(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN that posthouse sends the server's defaults, and a user whose profile has another value
    // for each
    for ((name, value), (strange, other)) in SETTINGS.iter().zip(STRANGE) {
        let default = site.query(&format!("SELECT default FROM system.settings WHERE name = '{name}'"))?;
        ensure!(default == *value, "{name} is {default:?} by default, not {value:?}");
        ensure!(
            name == strange && other != value,
            "{name} = {value}, but in the profile {strange} = {other}"
        );
    }
    ensure!(SETTINGS.len() == STRANGE.len(), "{} settings, {} in the profile", SETTINGS.len(), STRANGE.len());
    let settings = site.query("SELECT count() FROM system.settings_profile_elements WHERE profile_name = 'strange' AND value IS NOT NULL")?;
    ensure!(settings == STRANGE.len().to_string(), "{settings} settings");
    site.set("clickhouse", "user", "stranger");
    // WHEN topics and schema are applied, persons are copied, and an audit is made THEN every node
    // matches PostgreSQL
    let person_db = person_database(site, Rules::default())?;
    let daemon = Daemon::start(site, "off")?;
    person_db.admin()?.batch_execute(PEOPLE)?;
    same(site, &person_db, &daemon)?;
    site.must(&["schema", "check"])?;
    // WHEN functions are installed THEN their check succeeds
    site.must(&["udf", "install"])?;
    site.must(&["udf", "check"])?;
    // WHEN a history is loaded by either route THEN every row is stored once, on its shard, and
    // counted
    for (number, route) in [(1, "direct"), (2, "distributed")] {
        let (folder, _) = history(&format!("{}_{route}", site.name()), ROWS)?;
        let done = loaded(site, &folder, &["--route", route, "--slice", "1"])?;
        ensure!(done["stored"] == ROWS && done["proof"]["found"] == ROWS, "{done:#}");
        ensure!(site.query(STORED)? == format!("{0}\t{0}\t0", ROWS * number), "{}", site.query(STORED)?);
    }
    // THEN the list of jobs shows all rows, although the files had several slices
    let jobs = json(&site.must(&["backfill", "list", "--json"])?)?;
    let stored = jobs.as_array().map(|jobs| jobs.iter().map(|job| job["stored"].clone()).collect::<Vec<_>>());
    ensure!(stored == Some(vec![ROWS.into(), ROWS.into()]), "{jobs:#}");
    Ok(())
}
