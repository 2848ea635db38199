//! The integration tests: `posthouse` against real ClickHouse, Kafka, ZooKeeper and PostgreSQL.
//!
//! The rules:
//! 1. A test has GIVEN, WHEN, THEN, and its name is the statement that holds when it passes.
//! 2. It uses the production path: the binary does posthouse's work, and events come through Kafka.
//! 3. It has a database, a topic and a consumer group in its [`Site`], all named after the test.
//! 4. It waits for conditions, with a deadline and the last observed value. It never sleeps for
//!    luck, and asserts no time finer than a deadline.
//! 5. Random input comes from a printed seed, and `SEED=…` repeats it.
//! 6. Tests share one stack, of two shards with the weights 1 and 3, and leave its servers alone. A
//!    test that kills servers or needs another topology starts a separate stack.
//! 7. A test declares its needs (see [`Test`]), and several run at once where these allow it. So a
//!    test observes only its own objects, or it is `Alone`.
//! 8. Each test that this machine can't run is reported, and never skipped silently.
//!
//! The end of a run lists the cost of the tests (see [`prices`]). `--test-threads 1` runs one after
//! the other.

/// The tests of a file, each with its needs.
macro_rules! tests {
    ($($needs:ident $name:ident,)*) => {
        pub(crate) const TESTS: &[(&str, crate::Test)] =
            &[$((stringify!($name), crate::Test::$needs($name)),)*];
    };
}

mod adopt;
mod alive;
mod apply;
mod backfill;
mod backfill_bundles;
mod backfill_columns;
mod backfill_cuts;
mod backfill_exports;
mod backfill_writers;
mod backfill_watch;
mod backfill_undo;
mod brokers;
mod columns;
mod config;
mod convergence;
mod daemon;
mod docs;
mod drift;
mod engines;
mod events;
mod faults;
mod functions;
mod groups;
mod groups_check;
mod hostile_events;
mod json;
mod letters;
mod named_collections;
mod materialize;
mod network;
mod node_settings;
mod people;
mod person_key;
mod person_of;
mod person_views;
mod persons;
mod persons_audit;
mod persons_dba;
mod persons_events;
mod persons_failover;
mod persons_faults;
mod persons_letters;
mod persons_neighbours;
mod persons_schema;
mod persons_soft;
mod persons_source;
mod persons_tables;
mod persons_takeover;
mod persons_values;
mod persons_vanished;
mod produce;
mod profile;
mod profile_overrides;
mod profile_insights;
mod profiles;
mod queries;
mod refusals;
mod replicated;
mod roles;
mod routing;
mod schema;
mod secure_clickhouse;
mod secure_hostile;
mod secure_http;
mod secure_files;
mod secure_output;
mod secure_rights;
mod secure_server;
mod secure_hostile_postgres;
mod secure_hostile_store;
mod secure_hostile_stream;
mod secure_postgres;
mod secure_postgres_rights;
mod secure_kafka;
mod secure_kafka_rights;
mod settings;
mod shard_choice;
mod sources;
mod stack;
mod stuck;
mod topics;
mod udf;

use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context, anyhow, bail, ensure};
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use posthouse_tests::harness::prices::{self, Bill, Price};
use posthouse_tests::harness::{Class, Limits, Schedule};
use posthouse_tests::secrets;
use posthouse_tests::site::Site;
use posthouse_tests::stack::{NodeOptions, Progress, Stack, StackSpec, server_binary};

/// A test, by its needs.
#[derive(Clone, Copy)]
enum Test {
    /// No server.
    Free(fn() -> anyhow::Result<()>),
    /// A site on the shared stack, without any schema.
    Shared(fn(&mut Site<'_>) -> anyhow::Result<()>),
    /// Like `Shared`, but one at a time, because functions belong to a node, and the lock of topics
    /// to the cluster.
    Single(fn(&mut Site<'_>) -> anyhow::Result<()>),
    /// Like `Shared`, but without any other test on the shared stack, because it reads all topics,
    /// or Keeper's offsets.
    Alone(fn(&mut Site<'_>) -> anyhow::Result<()>),
    /// Separate stacks.
    Own(fn() -> anyhow::Result<()>),
    /// Separate stacks, run by `clickhouse server`.
    Server(fn() -> anyhow::Result<()>),
}

/// Two cores are few for the servers of many tests, but most tests wait most of the time.
const LIMITS: Limits = Limits { tests: 3, own: 1 };

/// The shared stack, once a test has needed it, or the reason why it did not start.
static SHARED: Mutex<Option<Result<Arc<Stack>, String>>> = Mutex::new(None);

/// The cost of the tests in the last run.
const TIMES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/it/times.json");
/// The recorded prices: a copy of the `TIMES` file from a whole run.
const PRICES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/it/prices.json");

/// The cost of the tests so far.
static PAID: Mutex<Vec<Price>> = Mutex::new(Vec::new());

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    let limits = arguments.test_threads.map_or(LIMITS, |tests| Limits { tests: tests.max(1), ..LIMITS });
    let schedule: &'static Schedule = Box::leak(Box::new(Schedule::new(limits)));
    let files = [
        ("alive", alive::TESTS),
        ("config", config::TESTS),
        ("json", json::TESTS),
        ("topics", topics::TESTS),
        ("daemon", daemon::TESTS),
        ("docs", docs::TESTS),
        ("groups", groups::TESTS),
        ("groups_check", groups_check::TESTS),
        ("stuck", stuck::TESTS),
        ("sources", sources::TESTS),
        ("network", network::TESTS),
        ("schema", schema::TESTS),
        ("secure_kafka", secure_kafka::TESTS),
        ("secure_kafka_rights", secure_kafka_rights::TESTS),
        ("drift", drift::TESTS),
        ("convergence", convergence::TESTS),
        ("adopt", adopt::TESTS),
        ("apply", apply::TESTS),
        ("refusals", refusals::TESTS),
        ("events", events::TESTS),
        ("letters", letters::TESTS),
        ("hostile_events", hostile_events::TESTS),
        ("node_settings", node_settings::TESTS),
        ("named_collections", named_collections::TESTS),
        ("udf", udf::TESTS),
        ("person_of", person_of::TESTS),
        ("person_key", person_key::TESTS),
        ("person_views", person_views::TESTS),
        ("functions", functions::TESTS),
        ("secure_clickhouse", secure_clickhouse::TESTS),
        ("secure_hostile", secure_hostile::TESTS),
        ("secure_http", secure_http::TESTS),
        ("secure_files", secure_files::TESTS),
        ("secure_output", secure_output::TESTS),
        ("secure_rights", secure_rights::TESTS),
        ("settings", settings::TESTS),
        ("engines", engines::TESTS),
        ("queries", queries::TESTS),
        ("profile", profile::TESTS),
        ("profile_overrides", profile_overrides::TESTS),
        ("profile_insights", profile_insights::TESTS),
        ("profiles", profiles::TESTS),
        ("persons", persons::TESTS),
        ("persons_events", persons_events::TESTS),
        ("persons_letters", persons_letters::TESTS),
        ("persons_schema", persons_schema::TESTS),
        ("persons_soft", persons_soft::TESTS),
        ("persons_source", persons_source::TESTS),
        ("persons_values", persons_values::TESTS),
        ("persons_tables", persons_tables::TESTS),
        ("persons_takeover", persons_takeover::TESTS),
        ("persons_audit", persons_audit::TESTS),
        ("persons_dba", persons_dba::TESTS),
        ("persons_failover", persons_failover::TESTS),
        ("persons_faults", persons_faults::TESTS),
        ("persons_neighbours", persons_neighbours::TESTS),
        ("persons_vanished", persons_vanished::TESTS),
        ("columns", columns::TESTS),
        ("materialize", materialize::TESTS),
        ("routing", routing::TESTS),
        ("shard_choice", shard_choice::TESTS),
        ("replicated", replicated::TESTS),
        ("roles", roles::TESTS),
        ("backfill", backfill::TESTS),
        ("backfill_bundles", backfill_bundles::TESTS),
        ("backfill_columns", backfill_columns::TESTS),
        ("brokers", brokers::TESTS),
        ("backfill_cuts", backfill_cuts::TESTS),
        ("backfill_exports", backfill_exports::TESTS),
        ("backfill_writers", backfill_writers::TESTS),
        ("backfill_watch", backfill_watch::TESTS),
        ("backfill_undo", backfill_undo::TESTS),
        ("secure_hostile_postgres", secure_hostile_postgres::TESTS),
        ("secure_hostile_store", secure_hostile_store::TESTS),
        ("secure_hostile_stream", secure_hostile_stream::TESTS),
        ("secure_server", secure_server::TESTS),
        ("secure_postgres", secure_postgres::TESTS),
        ("secure_postgres_rights", secure_postgres_rights::TESTS),
        ("stack", stack::TESTS),
        ("people", people::TESTS),
        ("faults", faults::TESTS),
    ];
    let mut tests: Vec<(String, Test)> = files
        .into_iter()
        .flat_map(|(file, tests)| tests.iter().map(move |(name, test)| (format!("{file}::{name}"), *test)))
        .collect();
    in_order(&mut tests);
    let trials: Vec<Trial> = tests
        .into_iter()
        .enumerate()
        .map(|(place, (name, test))| trial(schedule, place, name, test))
        .collect();
    // One thread per test, most of them waiting, because the schedule decides on the order.
    arguments.test_threads = Some(trials.len());
    let conclusion = libtest_mimic::run(&arguments, trials);
    // The end of a stack searches the logs of its nodes, which have the statements of all tests.
    secrets::begin("the logs of the shared nodes");
    drop(SHARED.lock().unwrap_or_else(PoisonError::into_inner).take());
    let leaks = secrets::leaks();
    if let Err(error) = bill() {
        eprintln!("prices: {error:#}");
    }
    if leaks.is_empty() {
        conclusion.exit_code()
    } else {
        eprintln!("{}", leaks.join("\n"));
        ExitCode::FAILURE
    }
}

/// Sorts the most expensive tests first, so that none is left alone at the end. Tests with separate
/// stacks come before all others, because they run one after the other.
fn in_order(tests: &mut [(String, Test)]) {
    let recorded = prices::read(Path::new(PRICES)).unwrap_or_default();
    let price =
        |name: &str| recorded.iter().find(|price| price.name == name).map_or(0.0, |price| price.seconds);
    tests.sort_by(|(a, test), (b, other)| {
        let own = |test: &Test| test.class() == Class::Own;
        own(other).cmp(&own(test)).then(price(b).total_cmp(&price(a)))
    });
}

/// Writes and prints the cost of the tests.
fn bill() -> anyhow::Result<()> {
    let paid = PAID.lock().unwrap_or_else(PoisonError::into_inner);
    if paid.is_empty() {
        return Ok(());
    }
    prices::write(Path::new(TIMES), &paid)?;
    let recorded = prices::read(Path::new(PRICES))?;
    print!("\n{}", Bill { paid: &paid, recorded: &recorded });
    Ok(())
}

fn trial(schedule: &'static Schedule, place: usize, name: String, test: Test) -> Trial {
    let called = name.clone();
    let run = move || {
        let class = test.class();
        let _turn = schedule.turn(place, class);
        // The start of the shared stack is in no test's price.
        let stack = (!matches!(class, Class::Free | Class::Own)).then(shared).transpose()?;
        secrets::begin(&called);
        let begun = Instant::now();
        let completed = test.run(&called, stack).and_then(|completed| match secrets::leaks() {
            leaks if leaks.is_empty() => Ok(completed),
            leaks => bail!("{}", leaks.join("\n")),
        });
        let price = Price { name: called, class, seconds: begun.elapsed().as_secs_f64() };
        PAID.lock().unwrap_or_else(PoisonError::into_inner).push(price);
        completed
    };
    let trial =
        Trial::ignorable_test(name, move || run().map_err(|error| Failed::from(format!("{error:#}"))));
    if matches!(test, Test::Server(_)) { trial.with_kind("clickhouse server") } else { trial }
}

impl Test {
    fn class(self) -> Class {
        match self {
            Self::Free(_) => Class::Free,
            Self::Shared(_) => Class::Shared,
            Self::Single(_) => Class::Single,
            Self::Alone(_) => Class::Alone,
            Self::Own(_) | Self::Server(_) => Class::Own,
        }
    }

    fn run(self, name: &str, stack: Option<Arc<Stack>>) -> anyhow::Result<Completion> {
        match (self, stack) {
            (Self::Shared(test) | Self::Single(test) | Self::Alone(test), Some(stack)) => {
                on_a_site(&stack, name, test)?;
            }
            (Self::Shared(_) | Self::Single(_) | Self::Alone(_), None) => bail!("the shared stack is not up"),
            (Self::Free(test) | Self::Own(test), _) => test()?,
            (Self::Server(test), _) if has_server() => test()?,
            (Self::Server(_), _) => {
                let reason = "needs a clickhouse binary (CLICKHOUSE_BINARY)";
                eprintln!("NOT RUN: {name} {reason}");
                return Ok(Completion::ignored_with(reason));
            }
        }
        Ok(Completion::Completed)
    }
}

/// Runs a test on a site of the shared stack. Removes the site afterwards, because its consumers
/// would continue to poll.
fn on_a_site(stack: &Stack, name: &str, test: fn(&mut Site<'_>) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let aborts = || stack.nodes().iter().map(|node| node.aborts()).sum::<u32>();
    let before = aborts();
    let mut site = Site::new(stack, &name.replace("::", "_"))?;
    let tested = test(&mut site);
    let searched = site.search_secrets();
    let removed = site.remove().context("can't remove the test's database");
    tested.and(removed).and(searched)?;
    ensure!(aborts() == before, "a node aborted during the test: see the stack lines above");
    Ok(())
}

/// The shared stack, started by the first test that needs it.
fn shared() -> anyhow::Result<Arc<Stack>> {
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    let started = shared.get_or_insert_with(|| {
        let nodes = NodeOptions::default().users_xml(config::OPERATOR);
        let nodes =
            nodes.profiles_xml(profiles::profile()).users_xml(profiles::STRANGER).users_xml(apply::NO_ALTER);
        let nodes = nodes.profiles_xml(node_settings::CARELESS).users_xml(node_settings::READER);
        let started = Stack::start(StackSpec::default().postgres().nodes(nodes), &Progress::Lines);
        started.map(Arc::new).map_err(|error| format!("{error:#}"))
    });
    started.clone().map_err(|error| anyhow!("the shared stack did not start: {error}"))
}

/// Whether nodes are run by `clickhouse server`, decided as in the stack itself.
fn has_server() -> bool {
    matches!(server_binary(), Ok(Some(_)))
}

/// The seed of a test's random input, printed. It is `SEED` from the environment, or random.
fn seed(test: &str) -> anyhow::Result<u64> {
    let seed = match std::env::var("SEED") {
        Ok(seed) => seed.parse().with_context(|| format!("SEED is {seed}: give a whole number"))?,
        Err(_) => rand::random(),
    };
    eprintln!("{test}: SEED={seed}");
    Ok(seed)
}
