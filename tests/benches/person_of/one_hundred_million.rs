//! Build of an index of 100 million distinct ids, and sampled lookups against the rule.
//!
//! It needs about 25 GB of disk and several minutes, so it runs only if its whole name is given.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use posthouse_tests::site::Site;
use posthouse_tests::stack::{Progress, Stack, StackSpec};
use rustix::fs::{Advice, fadvise};
use serde_json::{Value, json};

use super::data::{ID_COLUMNS, LIMIT, Scale, insert_versions, query, rule_person};
use crate::report::{Report, Wanted};

pub(crate) const FIGURE: &str = "person_of_100m";
const SCALE: Scale = Scale { events: 0, ids: 100_000_000 };
/// Ids whose answer is compared with the rule by which they were made. As many ids are unknown.
const COMPARED: u64 = 2_000_000;
/// Ids whose answer is compared with the table's.
const COMPARED_WITH_TABLE: u64 = 20_000;
/// Lookups of a measurement.
const LOOKUPS: u64 = 5_000_000;
/// Lookups of a measurement in which the disk is read.
const COLD_LOOKUPS: u64 = 20_000;
/// Acceptable time of a build by hand.
const WANTED_S: f64 = 600.0;

pub(crate) fn run(wanted: &Wanted) -> anyhow::Result<Vec<Report>> {
    if wanted.0 != FIGURE {
        eprintln!("NOT RUN: {FIGURE}, which takes several minutes and 25 GB of disk: give its whole name");
        return Ok(Vec::new());
    }
    let stack = Stack::start(StackSpec::sharded(&[1]), &Progress::on_stderr())?;
    let mut site = Site::new(&stack, FIGURE)?;
    site.with_persons()?.apply()?;
    site.must(&["udf", "install"])?;
    let (scale, begin) = (SCALE.divided(), Instant::now());
    insert_versions(&site, scale)?;
    let insert_s = begin.elapsed().as_secs_f64();
    let (build_s, peak_kib) = build(&site)?;
    let index = index(&site)?;
    let bytes = fs::metadata(&index)?.len();
    let compared = compare(&site, scale)?;
    let lookups = lookups(&site, scale, &index)?;
    let report = Report {
        name: FIGURE.to_owned(),
        what: format!(
            "posthouse persons snapshot build over {} versions of {} distinct ids, against {WANTED_S} s",
            scale.ids * 13 / 10,
            scale.ids
        ),
        ours_s: build_s,
        peer_s: WANTED_S,
        ratio: WANTED_S / build_s,
        rows: scale.ids,
        runs: 1,
        limit: "the server's read of the table as RowBinary, and the disk: entries are written twice"
            .to_owned(),
        details: json!({
            "insert_s": insert_s,
            "index_bytes": bytes,
            "bytes_per_id": bytes as f64 / scale.ids as f64,
            "build_peak_mib": peak_kib >> 10,
            "compared_ids": compared,
            "lookups": lookups,
        }),
    };
    Ok(vec![report])
}

/// Builds the index, and returns the seconds and the largest resident memory in KiB.
fn build(site: &Site<'_>) -> anyhow::Result<(f64, u64)> {
    let begin = Instant::now();
    let mut building = site.spawn(&["persons", "snapshot", "build"])?;
    let status = format!("/proc/{}/status", building.id());
    let mut peak = 0;
    loop {
        peak = peak_memory(Path::new(&status)).unwrap_or(peak);
        if let Some(ended) = building.try_wait()? {
            ensure!(ended.success(), "the build: {ended}");
            return Ok((begin.elapsed().as_secs_f64(), peak));
        }
        ensure!(begin.elapsed() < LIMIT, "the build takes too long");
        thread::sleep(Duration::from_millis(100));
    }
}

fn peak_memory(status: &Path) -> Option<u64> {
    let text = fs::read_to_string(status).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Returns the only file of the index.
fn index(site: &Site<'_>) -> anyhow::Result<PathBuf> {
    let node = site.stack.nodes().first().context("a node")?;
    let files = fs::read_dir(node.user_scripts().join("posthouse-persons"))?;
    let paths = files.map(|file| Ok(file?.path())).collect::<anyhow::Result<Vec<_>>>()?;
    let is_index = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "persons");
    paths.into_iter().find(is_index).context("an index")
}

/// Compares known and unknown ids with the rule by which they were made, and known ids with the
/// table. Returns their numbers.
fn compare(site: &Site<'_>, scale: Scale) -> anyhow::Result<Value> {
    let seed: u64 = rand::random();
    println!("SEED={seed}");
    let sample =
        |count: u64, ids: u64| format!("SELECT sipHash64(number, {seed}) % {ids} AS n FROM numbers({count})");
    // Half of the sample is unknown.
    let person = rule_person(scale);
    let with_rule = format!(
        "SELECT countIf(personOf(team_id, distinct_id) != person), \
                countIf(personOfKey(bitXor(sipHash64(distinct_id), sipHash64(team_id))) != person), count() \
         FROM (SELECT {ID_COLUMNS}, {person} AS person FROM ({}))",
        sample(2 * COMPARED, 2 * scale.ids)
    );
    let found = query(site, &with_rule)?.text;
    ensure!(found.trim() == format!("0\t0\t{}", 2 * COMPARED), "against the rule: {found}");
    let with_table = format!(
        "SELECT countIf(personOf(team_id, distinct_id) != person), count() FROM \
         (SELECT team_id, distinct_id, if(argMax(is_deleted, (version, is_deleted)) = 0, \
              argMax(person_id, (version, is_deleted, person_id)), toUUID('00000000-0000-0000-0000-000000000000')) AS person \
          FROM {{db}}.person_distinct_id WHERE (team_id, distinct_id) IN (SELECT {ID_COLUMNS} FROM ({})) \
          GROUP BY team_id, distinct_id)",
        sample(COMPARED_WITH_TABLE, scale.ids)
    );
    let found = query(site, &with_table)?.text;
    let ids = found.trim().strip_prefix("0\t").context(found.clone())?.parse::<u64>()?;
    ensure!(ids > COMPARED_WITH_TABLE * 9 / 10, "against the table: {found}");
    Ok(json!({ "with_rule": 2 * COMPARED, "with_table": ids }))
}

/// Measures lookups of random keys, with the index in the page cache and without.
fn lookups(site: &Site<'_>, scale: Scale, index: &Path) -> anyhow::Result<Value> {
    let look_up = |count: u64, seed: u64| {
        let sql = format!(
            "SELECT countIf(NOT personKnown(team_id, distinct_id)) FROM (SELECT {ID_COLUMNS} FROM \
             (SELECT sipHash64(number, {seed}) % {} AS n FROM numbers({count}))) \
             SETTINGS max_threads = 1, max_block_size = 262144",
            scale.ids
        );
        let begin = Instant::now();
        query(site, &sql)?;
        anyhow::Ok(begin.elapsed().as_secs_f64())
    };
    look_up(LOOKUPS, 1)?;
    let warm_s = look_up(LOOKUPS, 2)?;
    // Processes that have mapped the file keep its pages.
    site.query("SYSTEM RELOAD FUNCTIONS")?;
    let file = File::open(index)?;
    file.sync_all()?;
    fadvise(&file, 0, None, Advice::DontNeed)?;
    let cold_s = look_up(COLD_LOOKUPS, 3)?;
    Ok(json!({
        "in_page_cache": LOOKUPS, "in_page_cache_s": warm_s,
        "from_disk": COLD_LOOKUPS, "from_disk_s": cold_s,
    }))
}
