//! Hostile object stores as the source of a load.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, ensure};
use posthouse_tests::site::Site;
use posthouse_tests::stack::{HostileStore, StoreMalice, StoreStage};

use crate::secure_hostile::{Ended, run_with};

tests! {
    Shared no_malice_of_a_store_makes_a_load_hang_or_panic_or_grow,
}

/// A small file of 50 events.
const FILE: &[u8] = include_bytes!("../fixtures/exports/segment-tracks.parquet");
/// Deadline of a command, many times the limits of one answer. The longest is a silent store, which
/// is asked for three minutes.
const LIMIT: Duration = Duration::from_secs(400);
/// Limit of a command's memory: the program, and `--memory`.
const MAX_MEMORY_KIB: u64 = 400 << 10;
/// Commands at a time. Most of them wait.
const WORKERS: usize = 12;

/// A command, and the answers with malice.
#[derive(Debug, Clone, Copy)]
struct Case {
    malice: StoreMalice,
    verb: &'static str,
    stage: StoreStage,
}

impl Case {
    fn key(self) -> String {
        format!("{:?}-{}.parquet", self.malice, self.verb)
    }
}

fn run(site: &Site<'_>, case: Case) -> anyhow::Result<(HostileStore, Ended)> {
    let key = case.key();
    let store = HostileStore::start(case.malice, case.stage, &key, FILE)?;
    let source = match case.stage {
        StoreStage::Listing => "s3://bucket/".to_owned(),
        _ => format!("s3://bucket/{key}"),
    };
    let arguments = [
        "backfill",
        case.verb,
        &source,
        "--mapping",
        "segment-tracks",
        "--team-id",
        "7",
        "--memory",
        "64MiB",
    ];
    let ended = run_with(&site.write_config()?, &arguments, &store.environment(), LIMIT)?;
    Ok((store, ended))
}

fn check(site: &Site<'_>, case: Case) -> anyhow::Result<()> {
    // WHEN a command reads from a store with a malice
    let begin = Instant::now();
    let (store, Ended { code, stderr, memory_kib }) = run(site, case).with_context(|| format!("{case:?}"))?;
    let shown: String = stderr.chars().take(2_000).collect();
    let seconds = begin.elapsed().as_secs();
    let about = format!("{case:?}: exit code {code:?} after {seconds} s, {memory_kib} KiB\n{shown}");
    eprintln!("{}", about.lines().take(4).collect::<Vec<_>>().join(" | "));
    // THEN it fails in time, in bounded memory, with the store's name or that of the object
    ensure!(code == Some(1), "{about}");
    ensure!(memory_kib < MAX_MEMORY_KIB, "{about}");
    ensure!(!stderr.contains("panicked") && !stderr.contains('\u{1b}'), "{about}");
    ensure!(stderr.len() < 64 << 10, "{} bytes: {about}", stderr.len());
    let is_named = stderr.contains(&store.address().to_string()) || stderr.contains("s3://bucket/");
    ensure!(is_named, "{about}");
    Ok(())
}

fn no_malice_of_a_store_makes_a_load_hang_or_panic_or_grow(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN the reads that a plan needs of an honest store
    site.apply()?;
    let honest = Case { malice: StoreMalice::Garbage, verb: "plan", stage: StoreStage::None };
    let (store, ended) = run(site, honest)?;
    ensure!(ended.code == Some(0), "{}", ended.stderr);
    let of_plan = store.reads();
    let cases: Vec<Case> = StoreMalice::ALL
        .into_iter()
        .flat_map(|malice| {
            [
                Case { malice, verb: "plan", stage: StoreStage::Listing },
                Case { malice, verb: "plan", stage: StoreStage::Reads(0) },
                Case { malice, verb: "run", stage: StoreStage::Reads(of_plan) },
            ]
        })
        .collect();
    let (next, site) = (AtomicUsize::new(0), &*site);
    let faults: Vec<String> = thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS)
            .map(|_| {
                scope.spawn(|| {
                    let mut faults = Vec::new();
                    while let Some(case) = cases.get(next.fetch_add(1, Ordering::SeqCst)) {
                        faults.extend(check(site, *case).err().map(|fault| format!("{fault:#}")));
                    }
                    faults
                })
            })
            .collect();
        let ended = workers.into_iter().map(|worker| worker.join().map_err(|_| anyhow!("a panic")));
        ended.collect::<anyhow::Result<Vec<_>>>().map(|faults| faults.concat())
    })?;
    ensure!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n\n"));
    // THEN no row of these loads is stored
    ensure!(site.stored()?.rows == 0, "{:?}", site.stored()?);
    Ok(())
}
