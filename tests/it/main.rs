//! The integration tests of posthouse: the `posthouse` binary against real ClickHouse, Kafka, ZooKeeper and
//! PostgreSQL.
//!
//! The rules:
//! 1. A test says GIVEN, WHEN, THEN, and its name is the statement that holds when it passes.
//! 2. It goes the production way: what posthouse does is done by its binary, what comes in comes through
//!    Kafka.
//! 3. It has a database, a topic and a consumer group of its own, those of its [`Site`], called as the test
//!    is.
//! 4. It waits for conditions, with a deadline and with what was seen last; it never sleeps for luck, and
//!    asserts no time finer than a deadline.
//! 5. Random input comes from a seed that is printed; `SEED=…` repeats it.
//! 6. Tests share one stack, of two shards with the weights 1 and 3, and leave its servers alone. A test that
//!    kills servers or wants another topology starts a stack of its own, while no other runs.
//! 7. What this machine can't run is said, test by test, and never passed over in silence.
//!
//! One test at a time unless `--test-threads` says otherwise, which is for looking around: two cores are few
//! for the servers of one, and functions and counters belong to a whole node.

/// The tests of a file, each with what it needs.
macro_rules! tests {
    ($($needs:ident $name:ident,)*) => {
        pub(crate) const TESTS: &[(&str, crate::Test)] =
            &[$((stringify!($name), crate::Test::$needs($name)),)*];
    };
}

mod backfill;
mod backfill_cuts;
mod brokers;
mod columns;
mod config;
mod daemon;
mod drift;
mod engines;
mod events;
mod faults;
mod functions;
mod groups;
mod groups_check;
mod letters;
mod network;
mod people;
mod persons;
mod persons_audit;
mod persons_events;
mod persons_faults;
mod persons_letters;
mod persons_schema;
mod persons_source;
mod persons_tables;
mod persons_takeover;
mod persons_values;
mod persons_vanished;
mod produce;
mod profiles;
mod queries;
mod refusals;
mod replicated;
mod routing;
mod schema;
mod settings;
mod sources;
mod stack;
mod topics;
mod udf;

use std::process::ExitCode;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use anyhow::{Context, anyhow, ensure};
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use posthouse_tests::site::Site;
use posthouse_tests::stack::{NodeOptions, Progress, Stack, StackSpec, server_binary};

/// A test, by what it needs.
#[derive(Clone, Copy)]
enum Test {
    /// No server.
    Free(fn() -> anyhow::Result<()>),
    /// A site on the shared stack; nothing is applied yet.
    Shared(fn(&mut Site<'_>) -> anyhow::Result<()>),
    /// Stacks of its own.
    Own(fn() -> anyhow::Result<()>),
    /// Stacks of its own, run by `clickhouse server`.
    Server(fn() -> anyhow::Result<()>),
}

/// The shared stack, once a test has needed it, or why it did not start. Tests on it hold it for reading,
/// tests with a stack of their own for writing.
static SHARED: RwLock<Option<Result<Stack, String>>> = RwLock::new(None);

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(1);
    let files = [
        ("config", config::TESTS),
        ("topics", topics::TESTS),
        ("daemon", daemon::TESTS),
        ("groups", groups::TESTS),
        ("groups_check", groups_check::TESTS),
        ("sources", sources::TESTS),
        ("network", network::TESTS),
        ("schema", schema::TESTS),
        ("drift", drift::TESTS),
        ("refusals", refusals::TESTS),
        ("events", events::TESTS),
        ("letters", letters::TESTS),
        ("udf", udf::TESTS),
        ("functions", functions::TESTS),
        ("settings", settings::TESTS),
        ("engines", engines::TESTS),
        ("queries", queries::TESTS),
        ("profiles", profiles::TESTS),
        ("persons", persons::TESTS),
        ("persons_events", persons_events::TESTS),
        ("persons_letters", persons_letters::TESTS),
        ("persons_schema", persons_schema::TESTS),
        ("persons_source", persons_source::TESTS),
        ("persons_values", persons_values::TESTS),
        ("persons_tables", persons_tables::TESTS),
        ("persons_takeover", persons_takeover::TESTS),
        ("persons_audit", persons_audit::TESTS),
        ("persons_faults", persons_faults::TESTS),
        ("persons_vanished", persons_vanished::TESTS),
        ("columns", columns::TESTS),
        ("routing", routing::TESTS),
        ("replicated", replicated::TESTS),
        ("backfill", backfill::TESTS),
        ("brokers", brokers::TESTS),
        ("backfill_cuts", backfill_cuts::TESTS),
        ("stack", stack::TESTS),
        ("people", people::TESTS),
        ("faults", faults::TESTS),
    ];
    let mut tests: Vec<(String, Test)> = files
        .into_iter()
        .flat_map(|(file, tests)| tests.iter().map(move |(name, test)| (format!("{file}::{name}"), *test)))
        .collect();
    // The shared stack is up once, and down again before the others start.
    tests.sort_by_key(|(_, test)| matches!(test, Test::Own(_) | Test::Server(_)));
    let trials = tests.into_iter().map(|(name, test)| trial(name, test)).collect();
    let conclusion = libtest_mimic::run(&arguments, trials);
    drop(write().take());
    conclusion.exit_code()
}

fn trial(name: String, test: Test) -> Trial {
    let run = move |name: &str| match test {
        Test::Free(test) => test().map(|()| Completion::Completed),
        Test::Shared(test) => on_a_site(name, test).map(|()| Completion::Completed),
        Test::Own(test) => alone(test).map(|()| Completion::Completed),
        Test::Server(test) if has_server() => alone(test).map(|()| Completion::Completed),
        Test::Server(_) => {
            let reason = "needs a clickhouse binary (CLICKHOUSE_BINARY)";
            eprintln!("NOT RUN: {name} {reason}");
            Ok(Completion::ignored_with(reason))
        }
    };
    let called = name.clone();
    let trial =
        Trial::ignorable_test(name, move || run(&called).map_err(|error| Failed::from(format!("{error:#}"))));
    if matches!(test, Test::Server(_)) { trial.with_kind("clickhouse server") } else { trial }
}

/// Runs a test on a site of the shared stack, which is removed afterwards: its consumers would go on polling.
fn on_a_site(name: &str, test: fn(&mut Site<'_>) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let shared = shared();
    let stack = match &*shared {
        Some(Ok(stack)) => stack,
        Some(Err(error)) => return Err(anyhow!("the shared stack did not start: {error}")),
        None => return Err(anyhow!("the shared stack was stopped")),
    };
    let aborts = || stack.nodes().iter().map(|node| node.aborts()).sum::<u32>();
    let before = aborts();
    let mut site = Site::new(stack, &name.replace("::", "_"))?;
    let tested = test(&mut site);
    let removed = site.remove().context("can't remove the test's database");
    tested.and(removed)?;
    ensure!(aborts() == before, "a node ended by itself during the test: see the lines of stack above");
    Ok(())
}

/// The shared stack, started by the first test that needs it.
fn shared() -> RwLockReadGuard<'static, Option<Result<Stack, String>>> {
    write().get_or_insert_with(|| {
        let nodes = NodeOptions::default().users_xml(config::OPERATOR);
        let nodes = nodes.profiles_xml(profiles::profile()).users_xml(profiles::STRANGER);
        let started = Stack::start(StackSpec::default().postgres().nodes(nodes), &Progress::Lines);
        started.map_err(|error| format!("{error:#}"))
    });
    SHARED.read().unwrap_or_else(PoisonError::into_inner)
}

/// Runs a test while no other stack is up.
fn alone(test: fn() -> anyhow::Result<()>) -> anyhow::Result<()> {
    let mut shared = write();
    drop(shared.take());
    test()
}

fn write() -> RwLockWriteGuard<'static, Option<Result<Stack, String>>> {
    SHARED.write().unwrap_or_else(PoisonError::into_inner)
}

/// Whether nodes are run by `clickhouse server`: as the stack itself decides it.
fn has_server() -> bool {
    matches!(server_binary(), Ok(Some(_)))
}

/// The seed of a test's random input, printed: `SEED` of the environment, or a new one.
fn seed(test: &str) -> anyhow::Result<u64> {
    let seed = match std::env::var("SEED") {
        Ok(seed) => seed.parse().with_context(|| format!("SEED is {seed}: give a whole number"))?,
        Err(_) => rand::random(),
    };
    eprintln!("{test}: SEED={seed}");
    Ok(seed)
}
