//! Backfills of files with the types and row groups of odd writers.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use arrow_array::builder::{MapBuilder, StringBuilder};
use arrow_array::{ArrayRef, BinaryArray, NullArray, RecordBatch, StringArray, StructArray};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;
use posthouse_tests::site::Site;
use uuid::Uuid;

use crate::schema::json;

tests! {
    Shared files_of_odd_writers_are_stored_row_by_row,
}

const MAPPING: &str = r#"
uuid = "id"
event = { constant = "e" }
distinct_id = "who"
properties = { column = "p", default = "none" }
elements_chain = { column = "chain", default = "-" }
timestamp = { constant = "2026-01-02 03:04:05" }
team_id = { constant = 7 }
"#;

/// Text of a row of a large page.
const LONG: usize = 2_000;
const LONG_ROWS: usize = 50_000;

fn write(path: &Path, columns: Vec<(&str, ArrayRef)>) -> anyhow::Result<()> {
    let columns = columns.into_iter().map(|(name, array)| (name, array, true));
    let batch = RecordBatch::try_from_iter_with_nullable(columns)?;
    // One page for each column, as DuckDB writes it.
    let properties = WriterProperties::builder()
        .set_dictionary_enabled(false)
        .set_data_page_size_limit(1 << 30)
        .set_data_page_row_count_limit(1 << 30)
        .build();
    let mut writer = ArrowWriter::try_new(File::create(path)?, batch.schema(), Some(properties))?;
    writer.write(&batch)?;
    writer.close()?;
    Ok(())
}

fn ids(first: usize, rows: usize) -> ArrayRef {
    let ids = (first..first + rows).map(|id| Uuid::from_u128(id as u128 + 1).to_string());
    Arc::new(StringArray::from_iter_values(ids))
}

fn whos(name: &str, rows: usize) -> ArrayRef {
    Arc::new(StringArray::from_iter_values((0..rows).map(|row| format!("{name} {row}"))))
}

/// Structs with bytes, of which row 1 is not UTF-8, and a text of sixteen letters as row 2's id.
fn bytes(path: &Path) -> anyhow::Result<()> {
    let plans = BinaryArray::from_iter_values([b"pro".as_slice(), b"\xff", b"x", b"\"\n"]);
    let first = Uuid::from_u128(101).to_string();
    let ids = StringArray::from(vec![first.as_str(), &first, "not-a-uuid-12345", &first.replace("65", "66")]);
    let plan: ArrayRef = Arc::new(plans);
    let properties = StructArray::from(RecordBatch::try_from_iter([("plan", plan)])?);
    write(path, vec![("id", Arc::new(ids)), ("who", whos("bytes", 4)), ("p", Arc::new(properties))])
}

/// Columns of type Null, and maps that repeat a key.
fn nulls(path: &Path) -> anyhow::Result<()> {
    let mut map = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
    for (key, value) in [("k", "1"), ("j", "2"), ("k", "3")] {
        map.keys().append_value(key);
        map.values().append_value(value);
    }
    map.append(true)?;
    map.append(true)?;
    let chain: ArrayRef = Arc::new(NullArray::new(2));
    write(
        path,
        vec![("id", ids(200, 2)), ("who", whos("nulls", 2)), ("p", Arc::new(map.finish())), ("chain", chain)],
    )
}

/// A page of 100 MB, more than the memory for decoding.
fn large_page(path: &Path) -> anyhow::Result<()> {
    let text = "t".repeat(LONG);
    let texts = StringArray::from_iter_values((0..LONG_ROWS).map(|_| &text));
    write(
        path,
        vec![("id", ids(1_000, LONG_ROWS)), ("who", whos("large", LONG_ROWS)), ("p", Arc::new(texts))],
    )
}

fn files_of_odd_writers_are_stored_row_by_row(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN files with bytes in a struct, columns of nulls, repeated keys, one large page, and no
    // rows
    site.apply()?;
    let folder = tempfile::tempdir()?;
    let mapping = folder.path().join("mapping.toml");
    std::fs::write(&mapping, MAPPING)?;
    let mapping = mapping.to_string_lossy();
    let file = |name: &str| folder.path().join(name);
    bytes(&file("bytes.parquet"))?;
    nulls(&file("nulls.parquet"))?;
    large_page(&file("large.parquet"))?;
    site.query(&format!(
        "INSERT INTO FUNCTION file('{}', Parquet) SELECT '' AS id, '' AS who WHERE 0",
        file("empty.parquet").display()
    ))?;
    let (path, rejects) = (folder.path().to_string_lossy(), tempfile::tempdir()?);
    let rejects = rejects.path().to_string_lossy();
    let (plan, load) = (["backfill", "plan"], ["backfill", "run"]);
    let arguments = |verb: &[&str], more: &[&str]| -> Vec<String> {
        let arguments = [verb, &["--json", "--mapping"], &[&mapping, &path], more].concat();
        arguments.into_iter().map(str::to_owned).collect()
    };
    let posthouse = |arguments: Vec<String>| -> anyhow::Result<_> {
        site.posthouse(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    };
    // WHEN the load is planned with too little memory for the page
    let refused = posthouse(arguments(&plan, &["--memory", "128"]))?;
    // THEN the plan names the file and a memory that is enough
    let hint = refused.stderr.split("--memory ").nth(1).and_then(|rest| rest.split("MiB").next());
    let needed = hint.and_then(|hint| hint.parse::<u64>().ok());
    let names_file = refused.stderr.contains("large.parquet: its pages need ");
    ensure!(refused.code == 1 && names_file && needed.is_some_and(|needed| needed <= 512), "{refused}");
    // WHEN all files are loaded
    let loaded = posthouse(arguments(&load, &["--max-rejects", "2", "--quarantine", &rejects]))?;
    // THEN every row is stored and proven, or rejected
    ensure!(loaded.code == 0, "{loaded}");
    let done = json(&loaded)?;
    let rows = LONG_ROWS + 4;
    ensure!(done["stored"] == rows && done["rejected"] == 2 && done["proof"]["found"] == rows, "{done:#}");
    // THEN the values are those of the files
    site.answers(
        "SELECT distinct_id, properties, elements_chain FROM {db}.events WHERE distinct_id NOT LIKE 'large%' \
         ORDER BY distinct_id FORMAT TSVRaw",
        "bytes 0\t{\"plan\":\"pro\"}\t-\nbytes 3\t{\"plan\":\"\\\"\\n\"}\t-\n\
         nulls 0\t{\"j\":\"2\",\"k\":\"3\"}\t-\nnulls 1\t{}\t-",
        Duration::from_secs(10),
    )?;
    site.answers(
        "SELECT count(), uniqExact(uuid), uniqExact(distinct_id), any(length(properties)) FROM {db}.events \
         WHERE distinct_id LIKE 'large%'",
        &format!("{LONG_ROWS}\t{LONG_ROWS}\t{LONG_ROWS}\t{LONG}"),
        Duration::from_secs(10),
    )
}
