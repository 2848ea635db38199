//! Figures of two scales: a million and ten million distinct ids.

use std::{fs, thread};

use anyhow::ensure;
use posthouse_tests::site::{Site, binary};
use posthouse_tests::stack::{Progress, Stack, StackSpec};
use serde_json::{Value, json};

use super::data::{Scale, prepare, query};
use super::doors::{Counted, Door, Rows};
use super::restart::first_query;
use super::rounds::{RUNS, Rounds};
use crate::report::{Report, Wanted};

/// A door of ours against a peer at a scale.
struct Comparison {
    name: &'static str,
    scale: Scale,
    ours: Door,
    peer: Door,
    limit: &'static str,
}

const ONE_MILLION: Scale = Scale { events: 10_000_000, ids: 1_000_000 };
const TEN_MILLION: Scale = Scale { events: 20_000_000, ids: 10_000_000 };

/// The bottleneck of a lookup by distinct id.
const IDS: &str = "the copy of every distinct id through the pipe, and its hashes; noop_of_id_large_blocks has no lookup and no hash";
/// The bottleneck of a lookup by key.
const KEYS: &str = "the server's own work on a block and on the count, and the copy of every person through the pipe: \
    noop_of_key_large_blocks has about these alone";

const COMPARISONS: [Comparison; 7] = [
    Comparison {
        name: "person_of_1m",
        scale: ONE_MILLION,
        ours: Door::PersonOfLargeBlocks,
        peer: Door::Join,
        limit: IDS,
    },
    Comparison {
        name: "person_of_1m_key",
        scale: ONE_MILLION,
        ours: Door::PersonOfKeyLargeBlocks,
        peer: Door::Join,
        limit: KEYS,
    },
    Comparison {
        name: "person_of_1m_key_vs_dictionary",
        scale: ONE_MILLION,
        ours: Door::PersonOfKeyLargeBlocks,
        peer: Door::DictionaryOnStoredKey,
        limit: KEYS,
    },
    Comparison {
        name: "person_of_10m",
        scale: TEN_MILLION,
        ours: Door::PersonOfLargeBlocks,
        peer: Door::Join,
        limit: IDS,
    },
    Comparison {
        name: "person_of_10m_vs_dictionary",
        scale: TEN_MILLION,
        ours: Door::PersonOfLargeBlocks,
        peer: Door::DictionaryOnComputedKey,
        limit: IDS,
    },
    Comparison {
        name: "person_of_10m_key",
        scale: TEN_MILLION,
        ours: Door::PersonOfKeyLargeBlocks,
        peer: Door::Join,
        limit: KEYS,
    },
    Comparison {
        name: "person_of_10m_key_vs_dictionary",
        scale: TEN_MILLION,
        ours: Door::PersonOfKeyLargeBlocks,
        peer: Door::DictionaryOnStoredKey,
        limit: KEYS,
    },
];
const MEMORY: &str = "person_of_10m_memory";
const ONE_TEAM: &str = "person_of_one_team";

/// Names of all figures.
pub(crate) fn figures() -> Vec<&'static str> {
    COMPARISONS.iter().map(|comparison| comparison.name).chain([MEMORY, ONE_TEAM]).collect()
}

pub(crate) fn run(wanted: &Wanted) -> anyhow::Result<Vec<Report>> {
    let stack = Stack::start(StackSpec::sharded(&[1]), &Progress::on_stderr())?;
    let mut site = Site::new(&stack, "person_of")?;
    site.with_persons()?.apply()?;
    site.must(&["udf", "install"])?;
    install_noop(&stack)?;
    let threads = thread::available_parallelism()?.get();
    let (mut reports, mut teams) = (Vec::new(), Vec::new());
    for scale in [ONE_MILLION, TEN_MILLION] {
        let has_memory = scale == TEN_MILLION && wanted.has(MEMORY);
        let is_wanted = |comparison: &&Comparison| comparison.scale == scale && wanted.has(comparison.name);
        let comparisons: Vec<_> = COMPARISONS.iter().filter(is_wanted).collect();
        if comparisons.is_empty() && !has_memory && !wanted.has(ONE_TEAM) {
            continue;
        }
        let prepared = prepare(&site, scale.divided())?;
        if wanted.has(ONE_TEAM) {
            teams.push(one_team(&site, scale, threads)?);
        }
        if !comparisons.is_empty() || has_memory {
            let (rounds, details) = measure(&site, scale, threads, prepared)?;
            reports
                .extend(comparisons.iter().map(|comparison| compare(comparison, &rounds, threads, &details)));
            reports.extend(has_memory.then(|| memory(&rounds)));
        }
    }
    reports.extend(worst(teams));
    Ok(reports)
}

/// Installs the functions that look nothing up next to ours.
fn install_noop(stack: &Stack) -> anyhow::Result<()> {
    const NOOP: &str = include_str!("../../fixtures/udf/noop_person.xml");
    let node = &stack.nodes()[0];
    fs::copy(binary("noop-udf")?, node.user_scripts().join("noop-udf"))?;
    fs::write(node.functions_xml().with_file_name("noop_functions.xml"), NOOP)?;
    node.query("SYSTEM RELOAD FUNCTIONS")?;
    Ok(())
}

/// Runs all doors over all events of a scale.
fn measure(
    site: &Site<'_>,
    scale: Scale,
    threads: usize,
    prepared: Value,
) -> anyhow::Result<(Rounds, Value)> {
    // Most ids have events, and most persons have one id.
    let least = scale.divided().ids / 2;
    let rounds = Rounds::run(site, &Door::ALL, least, |door| door.count(Rows::All, threads))?;
    let mut details = rounds.details();
    details["prepared"] = prepared;
    if scale == ONE_MILLION {
        compare_days(site, threads)?;
        let one = Rounds::run(site, &Door::ALL, least, |door| door.count(Rows::All, 1))?;
        details["one_thread"] = one.details();
    } else {
        details["first_query"] = first_query(site, scale)?;
    }
    Ok((rounds, details))
}

/// Compares the answers of all doors for each day.
fn compare_days(site: &Site<'_>, threads: usize) -> anyhow::Result<()> {
    let wanted = query(site, &Door::Join.count_by_day(threads))?.text;
    ensure!(wanted.lines().count() == 30, "events of other days: {wanted}");
    for door in Door::ALL.into_iter().filter(|door| door.counted() == Counted::Persons) {
        let found = query(site, &door.count_by_day(threads))?.text;
        ensure!(found == wanted, "{}: {found}, but {wanted}", door.name());
    }
    Ok(())
}

fn compare(comparison: &Comparison, rounds: &Rounds, threads: usize, details: &Value) -> Report {
    let Comparison { name, scale, ours, peer, limit } = comparison;
    let scale = scale.divided();
    let (ours_s, peer_s) = (rounds.seconds(*ours), rounds.seconds(*peer));
    Report {
        name: (*name).to_owned(),
        what: format!(
            "unique persons of {} events with {} distinct ids of 1.3 versions: {} against {}, {threads} threads",
            scale.events,
            scale.ids,
            ours.name(),
            peer.name()
        ),
        ours_s,
        peer_s,
        ratio: peer_s / ours_s,
        rows: scale.events,
        runs: RUNS,
        limit: (*limit).to_owned(),
        details: details.clone(),
    }
}

fn memory(rounds: &Rounds) -> Report {
    let (ours, peer) = (rounds.peak_mib(Door::PersonOfLargeBlocks), rounds.peak_mib(Door::Join));
    Report {
        name: MEMORY.to_owned(),
        what: "the largest peak memory in MiB, not seconds, of the query in the server: person_of_large_blocks against join"
            .to_owned(),
        ours_s: ours,
        peer_s: peer,
        ratio: peer / ours,
        rows: TEN_MILLION.divided().events,
        runs: RUNS,
        limit: "the exact count of unique persons, which keeps them all; the index is memory of the page cache"
            .to_owned(),
        details: json!({}),
    }
}

/// Counts the persons of one team of twenty.
fn one_team(site: &Site<'_>, scale: Scale, threads: usize) -> anyhow::Result<Report> {
    let (ours, peer, scale) = (Door::PersonOfLargeBlocks, Door::Join, scale.divided());
    let doors = [peer, Door::PersonOf, ours, Door::PersonOfKey, Door::DictionaryOnComputedKey];
    let rounds = Rounds::run(site, &doors, scale.ids / 40, |door| door.count(Rows::OneTeam, threads))?;
    let (ours_s, peer_s) = (rounds.seconds(ours), rounds.seconds(peer));
    Ok(Report {
        name: ONE_TEAM.to_owned(),
        what: format!(
            "unique persons of one team of 20, of {} events and {} distinct ids of all: {} against {} filtered by team, \
             {threads} threads; of two scales the one that is worse for ours",
            scale.events,
            scale.ids,
            ours.name(),
            peer.name()
        ),
        ours_s,
        peer_s,
        ratio: peer_s / ours_s,
        rows: scale.events / 20,
        runs: RUNS,
        limit: IDS.to_owned(),
        details: rounds.details(),
    })
}

/// Returns the report with the lowest ratio, with the others in its details.
fn worst(mut reports: Vec<Report>) -> Option<Report> {
    reports.sort_by(|a, b| a.ratio.total_cmp(&b.ratio));
    let mut reports = reports.into_iter();
    let mut worst = reports.next()?;
    let others =
        reports.map(|other| json!({ "what": other.what, "ratio": other.ratio, "details": other.details }));
    worst.details["others"] = others.collect();
    Some(worst)
}
