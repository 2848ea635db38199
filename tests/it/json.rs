//! `--json` on every command: results on stdout, errors on stderr.
//!
//! An error is the last line of stderr.

use std::net::TcpListener;
use std::time::Duration;

use anyhow::{Context, ensure};
use posthouse_tests::people::Rules;
use posthouse_tests::site::{Outcome, Site, run_within};
use serde_json::Value;

use crate::backfill::history;
use crate::persons_source::person_database;

tests! {
    Free reports_wrong_usage_and_config_as_json,
    Single prints_results_of_every_command_as_json,
    Shared reports_failures_of_commands_as_json,
}

/// For a run that reaches no server.
const LIMIT: Duration = Duration::from_secs(30);

/// Every command that prints a result, and `run`, with their required arguments.
const COMMANDS: [&[&str]; 24] = [
    &["run"],
    &["schema", "render"],
    &["schema", "plan"],
    &["schema", "apply"],
    &["schema", "apply", "--dry-run"],
    &["schema", "check"],
    &["topics", "plan"],
    &["topics", "apply"],
    &["topics", "import"],
    &["topics", "groups"],
    &["topics", "reset", "group", "--to", "earliest"],
    &["topics", "check"],
    &["persons", "check"],
    &["persons", "audit"],
    &["udf", "install"],
    &["udf", "check"],
    &["udf", "list"],
    &["udf", "uninstall"],
    &["backfill", "plan", "x.parquet", "--mapping", "identity"],
    &["backfill", "run", "x.parquet", "--mapping", "identity"],
    &["backfill", "status", "job"],
    &["backfill", "list"],
    &["backfill", "cancel", "job"],
    &["backfill", "verify", "job"],
];

/// The single document on stdout.
fn result(outcome: &Outcome) -> anyhow::Result<Value> {
    serde_json::from_str(&outcome.stdout).with_context(|| format!("stdout is not one document: {outcome}"))
}

/// The message of the error at the end of stderr. Fails if the error's exit code differs.
fn message(outcome: &Outcome) -> anyhow::Result<String> {
    let last = outcome.stderr.lines().last().unwrap_or_default();
    let failure: Value =
        serde_json::from_str(last).with_context(|| format!("no error at the end: {outcome}"))?;
    let fields = failure.as_object().context("no object")?;
    let error = failure["error"].as_object().with_context(|| outcome.to_string())?;
    ensure!(fields.len() == 1 && error.len() == 3, "other fields: {outcome}");
    ensure!(failure["error"]["exit_code"] == outcome.code, "another exit code: {outcome}");
    let causes = failure["error"]["causes"].as_array().context("no causes")?;
    ensure!(causes.iter().all(Value::is_string), "{outcome}");
    ensure!(outcome.stdout.is_empty(), "a result beside the error: {outcome}");
    Ok(failure["error"]["message"].as_str().context("no message")?.to_owned())
}

fn reports_wrong_usage_and_config_as_json() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let (absent, faulty) = (folder.path().join("absent.toml"), folder.path().join("faulty.toml"));
    std::fs::write(&faulty, "databse = \"posthog\"\n")?;
    for command in COMMANDS {
        // WHEN the config is missing or has faults THEN the error is JSON for every command
        let command = [command, &["--json"]].concat();
        for (config, named) in [(&absent, "absent.toml"), (&faulty, "databse")] {
            let outcome = run_within(config, &command, LIMIT)?;
            ensure!(outcome.code == 2 && message(&outcome)?.contains(named), "{command:?}: {outcome}");
        }
        // WHEN the command line is wrong THEN it is JSON too
        let wrong = run_within(&absent, &[&command[..], &["--frobnicate"]].concat(), LIMIT)?;
        ensure!(wrong.code == 2 && message(&wrong)?.contains("--frobnicate"), "{command:?}: {wrong}");
    }
    for (command, named) in [
        (&["--json"][..], "Usage"),
        (&["--json", "frobnicate"], "frobnicate"),
        (&["topics", "reset", "--json"], "GROUP"),
        (&["backfill", "plan", "--json"], "--mapping"),
    ] {
        let wrong = run_within(&absent, command, LIMIT)?;
        ensure!(wrong.code == 2 && message(&wrong)?.contains(named), "{command:?}: {wrong}");
    }
    // WHEN --json is absent THEN the error is text, and help is always text
    let text = run_within(&absent, &["schema", "frobnicate"], LIMIT)?;
    ensure!(text.code == 2 && text.stderr.starts_with("error: "), "{text}");
    let help = run_within(&absent, &["schema", "--json", "--help"], LIMIT)?;
    ensure!(help.code == 0 && help.stdout.contains("Usage"), "{help}");
    Ok(())
}

fn prints_results_of_every_command_as_json(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN persons, a history and functions
    let _town = person_database(site, Rules::default())?;
    let (folder, _) = history(site.name(), 1000)?;
    let folder = folder.path().to_string_lossy().into_owned();
    let load = [folder.as_str(), "--mapping", "posthog-export", "--team-id", "7"];
    let (file, group) = (format!("{folder}/topics.toml"), site.name().to_owned());
    let plan = format!("{folder}/topics.plan");
    let run = |command: &[&str], codes: &[i32]| {
        let outcome = site.posthouse(&[command, &["--json"]].concat())?;
        ensure!(codes.contains(&outcome.code), "{command:?}: {outcome}");
        result(&outcome)
    };
    // WHEN each command succeeds THEN stdout is one document
    for command in [
        &["schema", "render"][..],
        &["schema", "plan"],
        &["schema", "apply"],
        &["schema", "apply", "--dry-run"],
        &["schema", "check"],
        &["topics", "plan"],
        &["topics", "plan", "-o", &plan],
        &["topics", "apply"],
        &["topics", "apply", "--dry-run"],
        &["topics", "groups"],
        &["topics", "groups", &group],
        &["persons", "check"],
        &["persons", "audit"],
        &["persons", "audit", "--repair"],
        &["udf", "install"],
        &["udf", "list"],
        &["udf", "check"],
        &["backfill", "list"],
    ] {
        run(command, &[0])?;
    }
    run(&["topics", "check"], &[0, 3])?;
    run(&["topics", "reset", &group, "--to", "earliest"], &[0, 3])?;
    let imported = run(&["topics", "import"], &[0])?;
    ensure!(imported["topics"][&group]["partitions"] == 4, "{imported}");
    ensure!(run(&["topics", "import", "-o", &file], &[0])?["written"] == *file, "another file");
    let job = run(&[&["backfill", "plan"][..], &load].concat(), &[0])?["job"].clone();
    let job = job.as_str().context("no job")?;
    run(&[&["backfill", "run"][..], &load, &["--dry-run"]].concat(), &[0])?;
    // The small files are one unit, so the second share has none, and the job stays incomplete.
    run(&[&["backfill", "run"][..], &load, &["--partition", "2/2"]].concat(), &[0])?;
    run(&["backfill", "cancel", job], &[0])?;
    run(&[&["backfill", "run"][..], &load].concat(), &[0])?;
    run(&["backfill", "status", job], &[0])?;
    run(&["backfill", "verify", job], &[0])?;
    run(&["udf", "uninstall", "--dry-run"], &[0, 3])?;
    run(&["udf", "uninstall"], &[0])?;
    Ok(())
}

fn reports_failures_of_commands_as_json(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN a site without persons, whose port is taken
    site.apply()?;
    let taken = TcpListener::bind("127.0.0.1:0")?;
    site.set("daemon", "listen", taken.local_addr()?.to_string());
    let folder = tempfile::tempdir()?;
    let exists = folder.path().join("topics.toml");
    std::fs::write(&exists, "")?;
    let exists = exists.display().to_string();
    // WHEN commands fail THEN each reports the reason as JSON
    for (command, named) in [
        (&["run"][..], "127.0.0.1"),
        (&["schema", "render", "--node", "ch9"], "ch9"),
        (&["topics", "import", "-o", &exists], "topics.toml"),
        (&["topics", "groups", "none_such"], "none_such"),
        (&["topics", "reset", "none_such", "--to", "earliest"], "none_such"),
        (&["persons", "check"], "persons.postgres"),
        (&["persons", "audit"], "persons.postgres"),
        (&["udf", "install", "--binary", "/none_such"], "none_such"),
        (&["backfill", "plan", "/none_such.parquet", "--mapping", "identity"], "none_such"),
        (&["backfill", "run", "/none_such.parquet", "--mapping", "identity"], "none_such"),
        (&["backfill", "status", "0123456789abcdef"], "0123456789abcdef"),
        (&["backfill", "cancel", "0123456789abcdef"], "0123456789abcdef"),
        (&["backfill", "verify", "0123456789abcdef"], "0123456789abcdef"),
    ] {
        let outcome = site.posthouse(&[command, &["--json"]].concat())?;
        ensure!(outcome.code == 1 && message(&outcome)?.contains(named), "{command:?}: {outcome}");
    }
    Ok(())
}
