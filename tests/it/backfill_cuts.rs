//! Backfills whose connection breaks in the middle of an insert block.
//!
//! The same run rereads the block's rows.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::ops::ControlFlow;
use std::thread;
use std::time::Duration;

use anyhow::{Context, anyhow, ensure};
use posthouse_tests::site::Site;
use posthouse_tests::stack::{Proxy, wait_until};
use tempfile::TempDir;
use toml::Value;

use crate::produce::LIMIT;
use crate::schema::json;

tests! {
    Shared a_block_that_was_cut_on_its_way_is_read_again_by_the_same_run,
    Shared a_load_that_waits_for_a_shard_ends_when_it_is_cancelled,
    Shared a_body_that_ends_early_is_stored_whole_or_not_at_all,
    Shared a_block_that_another_run_has_stored_meanwhile_is_not_ended,
}

/// Rows of a history of one month, with every hundredth invalid. Three quarters of them go to the
/// second shard.
const ROWS: u64 = 20_000;
const REJECTS: u64 = ROWS / 100;
/// Bytes to the second shard before its connection is cut: in the middle of the first block, which
/// has twice as many.
const CARRIED: u64 = 2_000_000;

/// A history, and the folder for its rejected rows.
struct Source {
    folder: TempDir,
}

impl Source {
    fn write(site: &Site<'_>) -> anyhow::Result<Self> {
        Self::with_properties(site, 10)
    }

    /// Properties have `length` times 32 bytes.
    fn with_properties(site: &Site<'_>, length: u32) -> anyhow::Result<Self> {
        let source = Self { folder: tempfile::tempdir()? };
        site.query(&format!(
            "INSERT INTO FUNCTION file('{}', Parquet) SELECT if(number % 100 = 7, concat('no-', toString(number)), \
             toString(generateUUIDv4())) AS uuid, 'e' AS event, repeat(hex(sipHash128(number)), {length}) AS properties, \
             toDateTime64('2026-03-01 00:00:00', 6, 'UTC') + number AS timestamp, 7 AS team_id, toString(number) AS distinct_id, \
             '' AS elements_hash, timestamp AS created_at, '' AS elements_chain FROM numbers({ROWS})",
            source.place("events.parquet")
        ))?;
        Ok(source)
    }

    fn place(&self, name: &str) -> String {
        self.folder.path().join(name).to_string_lossy().into_owned()
    }

    /// The command that loads it, if no row is rejected twice.
    fn command<'a>(&self, file: &'a str, quarantine: &'a str, more: &[&'a str]) -> Vec<&'a str> {
        let arguments = [
            "backfill",
            "run",
            file,
            "--mapping",
            "identity",
            "--max-rejects",
            "1%",
            "--quarantine",
            quarantine,
        ];
        [&arguments[..], more].concat()
    }
}

/// Replaces the second shard's node in the site's config with a proxy.
fn line_to_the_second_shard(site: &mut Site<'_>) -> anyhow::Result<Proxy> {
    let shards = site.config_mut().get_mut("shards").and_then(Value::as_array_mut).context("shards")?;
    let replicas = shards[1].get_mut("replicas").and_then(Value::as_array_mut).context("replicas")?;
    let replica = replicas[0].as_table_mut().context("a replica")?;
    let url = replica.get("url").and_then(Value::as_str).context("a url")?;
    let line = Proxy::start(url.trim_start_matches("http://").trim_end_matches('/').parse()?)?;
    replica.insert("url".to_owned(), format!("http://{}", line.address()).into());
    Ok(line)
}

fn is_cut(line: &Proxy) -> anyhow::Result<()> {
    wait_until("the line to be cut", LIMIT, || match line.is_cut() {
        true => ControlFlow::Break(Ok(())),
        false => ControlFlow::Continue(anyhow!("{} bytes went through", line.carried())),
    })
}

fn a_block_that_was_cut_on_its_way_is_read_again_by_the_same_run(site: &mut Site<'_>) -> anyhow::Result<()> {
    site.apply()?;
    let line = line_to_the_second_shard(site)?;
    for (number, route) in [(1, "direct"), (2, "distributed")] {
        // GIVEN a history with the maximum of rejected rows
        let source = Source::write(site)?;
        let (file, quarantine) = (source.place("events.parquet"), source.place("quarantine"));
        // WHEN the connection to a shard breaks in the middle of a block and is restored then
        line.cut_after(CARRIED);
        let command = source.command(&file, &quarantine, &["--route", route, "--json"]);
        let outcome = thread::scope(|scope| {
            let run = scope.spawn(|| site.posthouse(&command));
            is_cut(&line)?;
            line.restore();
            run.join().map_err(|_| anyhow!("a thread panicked"))?
        })?;
        // THEN the same run rereads the unit, reports this, and counts each row once
        ensure!(outcome.code == 0 && outcome.stderr.contains("reading its unit again"), "{outcome}");
        let (done, stored) = (json(&outcome)?, ROWS - REJECTS);
        ensure!(done["stored"] == stored && done["before"] == 0 && done["rejected"] == REJECTS, "{done:#}");
        ensure!(done["proof"]["found"] == stored && done["proof"]["complete"] == true, "{done:#}");
        // THEN every row is stored once, and every rejected one is in quarantine once
        let all = number * stored;
        site.answers("SELECT count(), uniqExact(uuid) FROM {db}.events", &format!("{all}\t{all}"), LIMIT)?;
        let aside =
            site.query(&format!("SELECT count(), uniqExact(_row) FROM file('{quarantine}/*/*.parquet')"))?;
        ensure!(aside == format!("{REJECTS}\t{REJECTS}"), "{aside}");
    }
    Ok(())
}

fn a_load_that_waits_for_a_shard_ends_when_it_is_cancelled(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN a load whose connection to a shard breaks in the middle of a block, and stays broken
    site.apply()?;
    let line = line_to_the_second_shard(site)?;
    let source = Source::write(site)?;
    let (file, quarantine) = (source.place("events.parquet"), source.place("quarantine"));
    line.cut_after(CARRIED);
    let outcome = thread::scope(|scope| {
        let run = scope.spawn(|| site.posthouse(&source.command(&file, &quarantine, &["--no-verify"])));
        is_cut(&line)?;
        // WHEN it is cancelled from elsewhere
        let jobs = json(&site.must(&["backfill", "list", "--json"])?)?;
        site.must(&["backfill", "cancel", jobs[0]["job"].as_str().context("a job")?])?;
        run.join().map_err(|_| anyhow!("a thread panicked"))?
    })?;
    // THEN it ends, and reports that it was not complete
    ensure!(outcome.code == 1 && outcome.stderr.contains("cancelled before the end"), "{outcome}");
    // WHEN the connection is restored and the same command repeated THEN every row is stored once
    line.restore();
    let done = json(&site.must(&source.command(&file, &quarantine, &["--json"]))?)?;
    let stored = ROWS - REJECTS;
    ensure!(done["proof"]["found"] == stored && done["proof"]["complete"] == true, "{done:#}");
    site.answers("SELECT count(), uniqExact(uuid) FROM {db}.events", &format!("{stored}\t{stored}"), LIMIT)
}

fn a_body_that_ends_early_is_stored_whole_or_not_at_all(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN a block of two columns, in a loader's pieces, with so many rows that the server begins
    // to insert before it has the second column
    site.query("CREATE DATABASE {db}")?;
    let rows = 0x20_000_u64;
    let pieces: [Vec<u8>; 4] = [
        [&[2, 0x80, 0x80, 0x08, 1][..], b"a", &[6], b"UInt64"].concat(),
        (0..rows).flat_map(u64::to_le_bytes).collect(),
        [&[1][..], b"b", &[6], b"String"].concat(),
        (0..rows).flat_map(|_| *b"\x01x").collect(),
    ];
    for sent in 1..=pieces.len() {
        site.query("CREATE OR REPLACE TABLE {db}.cut (a UInt64, b String) ENGINE = MergeTree ORDER BY a")?;
        // WHEN the connection ends behind one of them, without the end of the body
        let answer = post(site, &pieces[..sent])?;
        // THEN the server sees the missing rest, and stores no row, or after a complete block all
        // rows or none
        ensure!(answer.starts_with("HTTP/1.1 500") && answer.contains("UNEXPECTED_END_OF_FILE"), "{answer}");
        let stored: u64 = site.query("SELECT count() FROM {db}.cut")?.parse()?;
        ensure!(stored == 0 || stored == rows && sent == pieces.len(), "{stored} rows after {sent} pieces");
    }
    Ok(())
}

/// Inserts these pieces, each as a chunk, with a loader's settings, and closes the connection after
/// them.
fn post(site: &Site<'_>, pieces: &[Vec<u8>]) -> anyhow::Result<String> {
    let address = site.stack.nodes()[0].http_url();
    let address = address.trim_start_matches("http://").trim_end_matches('/');
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(LIMIT))?;
    let (settings, name) = (
        "min_insert_block_size_rows=0&min_insert_block_size_bytes=0&max_insert_block_size=1048576&async_insert=0",
        site.name(),
    );
    write!(
        stream,
        "POST /?{settings}&query=INSERT%20INTO%20{name}.cut%20FORMAT%20Native HTTP/1.1\r\nHost: {address}\r\n\
         Transfer-Encoding: chunked\r\n\r\n"
    )?;
    for piece in pieces {
        write!(stream, "{:x}\r\n", piece.len())?;
        stream.write_all(piece)?;
        stream.write_all(b"\r\n")?;
    }
    stream.shutdown(Shutdown::Write)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// Blocks of a table whose tokens a shard remembers, and unrelated blocks that push them out.
const WINDOW: i64 = 10;
const OTHERS: usize = 12;
/// Age from which a run does not trust what it knows, and a longer stall.
const HOLDS: &str = "1s";
const STALL: Duration = Duration::from_millis(2_500);

fn a_block_that_another_run_has_stored_meanwhile_is_not_ended(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN shards that remember few tokens, and a slow line to one of them
    site.set("events", "deduplication_window", WINDOW);
    site.apply()?;
    let direct = site.config_mut().clone();
    let line = line_to_the_second_shard(site)?;
    line.delay(Duration::from_millis(20));
    // A block of some 50 MB, much more than the buffers of the connections hold.
    let source = Source::with_properties(site, 100)?;
    let (file, quarantine) = (source.place("events.parquet"), source.place("quarantine"));
    // WHEN a load is stalled in the middle of a block
    let command = source.command(&file, &quarantine, &["--no-verify", "--recheck-after", HOLDS]);
    let mut stalled = site.spawn(&command)?;
    wait_until("the middle of a block", LIMIT, || match line.carried() {
        carried if carried > CARRIED => ControlFlow::Break(Ok(())),
        carried => ControlFlow::Continue(anyhow!("{carried} bytes went through")),
    })?;
    line.stall();
    // WHEN another run stores the block meanwhile, and the shards forget its token
    *site.config_mut() = direct;
    let other = source.place("other quarantine");
    site.must(&source.command(&file, &other, &[]))?;
    let row = "INSERT INTO {db}.sharded_events (uuid, event, timestamp, team_id, distinct_id) \
               VALUES (generateUUIDv4(), 'other', toDateTime64('2026-03-01 00:00:00', 6, 'UTC'), 8, 'somebody')";
    for _ in 0..OTHERS {
        site.query_on(1, row)?;
    }
    thread::sleep(STALL);
    line.restore();
    // THEN the stalled run finds the block before it ends its request, and each row is stored once
    ensure!(stalled.wait()?.success(), "the stalled load has failed");
    let stored = ROWS - REJECTS;
    site.answers(
        "SELECT count(), uniqExact(uuid) FROM {db}.events WHERE team_id = 7",
        &format!("{stored}\t{stored}"),
        LIMIT,
    )
}
