//! Commands and queries of the guides and the runbook, run in the order of their page.
//!
//! Each page has a test `runs_PAGE` with a site of its own, which prepares the state that the page
//! assumes. The marks of blocks are described in [`posthouse_tests::runnable`].

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use posthouse_tests::daemon::Daemon;
use posthouse_tests::history::{Files, History};
use posthouse_tests::people::{Identity, Rules};
use posthouse_tests::runnable::{Language, Step, steps};
use posthouse_tests::site::{Site, shell};
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::{Value, json};

use crate::events::event;
use crate::persons::put;
use crate::persons_source::{follows, person_database};
use crate::produce::{consumed, produce};
use crate::{person_key, person_views, schema, seed};

tests! {
    Free every_marked_block_is_run_by_a_test,
    Single runs_adopt_a_cluster,
    Single runs_ingest_events,
    Single runs_identify_persons,
    Single runs_who_is_this_event,
    Single runs_upgrade,
    Shared runs_sync_persons,
    Shared runs_manage_topics,
    Shared runs_load_history,
    Shared runs_monitor,
    Shared runs_runbook,
}

/// Marked commands and pages, at least. The number of statements is not counted.
const MIN_COMMANDS: usize = 20;
const MIN_PAGES: usize = 5;
/// A history of three months for the guide's folder `history/`.
const HISTORY: History = History {
    rows: 3_000,
    files: Files::Equal(3),
    row_group: 500,
    days: 90,
    until: 1_767_225_600_000_000,
    people: 300,
    seed: 1,
};

/// Files of the guides and the runbook.
fn pages() -> anyhow::Result<Vec<PathBuf>> {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    let guides = fs::read_dir(docs.join("guides"))?.map(|entry| Ok(entry?.path()));
    guides.chain([Ok(docs.join("operations/runbook.md"))]).collect()
}

/// The page of a test's name, and its steps.
fn page(test: &str) -> anyhow::Result<(String, Vec<Step>)> {
    let name = test.replace('_', "-");
    let path = pages()?.into_iter().find(|path| path.file_stem().is_some_and(|stem| *stem == *name));
    let path = path.with_context(|| format!("no guide is named {name}.md"))?;
    let page = format!("{name}.md");
    let steps = steps(&fs::read_to_string(path)?).with_context(|| page.clone())?;
    Ok((page, steps))
}

fn every_marked_block_is_run_by_a_test() -> anyhow::Result<()> {
    // GIVEN all guides and the runbook WHEN their marked blocks are parsed
    let (mut commands, mut marked) = (0, 0);
    for path in pages()? {
        let name = path.file_stem().and_then(|stem| stem.to_str()).context("a name")?.replace('-', "_");
        let (page, steps) = page(&name)?;
        // THEN each page with a step has a test
        let has_test = TESTS.iter().any(|(test, _)| *test == format!("runs_{name}"));
        ensure!(
            has_test != steps.is_empty(),
            "{page} has {} marked steps; its test: {has_test}",
            steps.len()
        );
        commands += steps.iter().filter(|step| step.language != Language::Sql).count();
        marked += usize::from(!steps.is_empty());
    }
    // THEN there are enough of them for the docs to be proven
    ensure!(commands >= MIN_COMMANDS && marked >= MIN_PAGES, "{commands} commands on {marked} pages");
    Ok(())
}

/// The steps of a page that are not run yet.
struct Walk {
    page: String,
    steps: VecDeque<Step>,
    /// Names of the docs, with those of the site.
    names: Vec<(&'static str, String)>,
}

impl Walk {
    fn new(site: &Site<'_>, test: &str) -> anyhow::Result<Self> {
        let (page, steps) = page(test)?;
        let name = site.name();
        let names = vec![
            ("clickhouse_events_json", name.to_owned()),
            ("clickhouse_events", name.to_owned()),
            ("posthog.", format!("{name}.")),
            ("'posthog'", format!("'{name}'")),
        ];
        Ok(Self { page, steps: steps.into(), names })
    }

    /// Runs the steps up to the first one that starts with `text`.
    fn until(&mut self, site: &Site<'_>, text: &str) -> anyhow::Result<()> {
        while let Some(step) = self.steps.pop_front() {
            if step.text.starts_with(text) {
                self.steps.push_front(step);
                return Ok(());
            }
            self.run(site, &step)?;
        }
        bail!("{}: no marked step is left that starts with {text:?}", self.page)
    }

    /// Runs all steps that are left.
    fn rest(mut self, site: &Site<'_>) -> anyhow::Result<()> {
        while let Some(step) = self.steps.pop_front() {
            self.run(site, &step)?;
        }
        Ok(())
    }

    /// A step's text with the site's own names.
    fn renamed(&self, text: &str) -> String {
        self.names.iter().fold(text.to_owned(), |text, (of, by)| text.replace(of, by))
    }

    fn run(&self, site: &Site<'_>, step: &Step) -> anyhow::Result<()> {
        let place = format!("{}:{}", self.page, step.line);
        let text = self.renamed(&step.text);
        match step.language {
            Language::Sql => site.query(&text).map(drop).context(place),
            Language::Console { code } => {
                let outcome = shell(site, &text).with_context(|| place.clone())?;
                // 127 is the shell's own code for a program that is not installed.
                if outcome.code == 127 && !text.starts_with("posthouse") {
                    eprintln!("NOT RUN: {place}: {text}: {}", outcome.stderr.trim());
                    return Ok(());
                }
                ensure!(outcome.code == code, "{place}: {text}\nstated exit code {code}, found {outcome}");
                Ok(())
            }
        }
    }
}

/// Produces the guide's event into the site's topic, and waits until it is stored.
fn store_an_event(site: &Site<'_>) -> anyhow::Result<()> {
    let event = Value::Object(event(1)).to_string();
    produce(site, &[Some(event.as_bytes())])?;
    consumed(site)
}

fn runs_adopt_a_cluster(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN a config and a topics file, and neither topics nor tables
    // WHEN the guide's blocks are run THEN each ends as it says
    Walk::new(site, "adopt_a_cluster")?.rest(site)
}

fn runs_ingest_events(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN topics, tables, functions and an event
    let mut walk = Walk::new(site, "ingest_events")?;
    site.apply()?;
    site.must(&["udf", "install"])?;
    store_an_event(site)?;
    // WHEN the guide's blocks are run, with its column in the config, THEN each ends as it says
    walk.until(site, "posthouse schema plan")?;
    site.materialize(&["$current_url"]);
    walk.rest(site)
}

fn runs_identify_persons(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN tables of persons, with a person and its distinct id, and functions
    site.with_persons()?.apply()?;
    site.must(&["udf", "install"])?;
    let id = "018f5a7e-0000-4000-8000-000000000001";
    let person = json!({"id": id, "created_at": "2026-11-01 10:42:06", "team_id": 2, "version": 1,
        "properties": "{\"plan\": \"pro\"}", "is_identified": 1, "is_deleted": 0});
    let distinct_id =
        json!({"distinct_id": "user-1", "person_id": id, "team_id": 2, "version": 1, "is_deleted": 0});
    put(site, false, &[person.to_string().into_bytes()])?;
    put(site, true, &[distinct_id.to_string().into_bytes()])?;
    // WHEN the guide's queries are run THEN the node accepts each
    Walk::new(site, "identify_persons")?.rest(site)
}

fn runs_who_is_this_event(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN events with keys, and versions of their distinct ids, of which two share a key
    let mut random = StdRng::seed_from_u64(seed(site.name())?);
    site.set("events", "person_key", true);
    site.with_persons()?.apply()?;
    person_views::insert_events(site, &mut random)?;
    person_views::insert_versions(site, "person_distinct_id", &mut random)?;
    person_key::insert_shared_key(site)?;
    // WHEN the guide's blocks are run, and its dictionary on every node
    let walk = Walk::new(site, "who_is_this_event")?;
    let mut answers = BTreeMap::<String, Vec<usize>>::new();
    for step in &walk.steps {
        match step.text.as_str() {
            text if text.starts_with("CREATE DICTIONARY") => {
                for node in 0..site.stack.nodes().len() {
                    site.query_on(node, &walk.renamed(text))?;
                }
            }
            text if text.starts_with("SELECT") && text.contains("AS persons\n") => {
                let answer = site.query(&walk.renamed(text)).with_context(|| text.to_owned())?;
                answers.entry(answer).or_default().push(step.line);
            }
            _ => walk.run(site, step)?,
        }
    }
    // THEN each way has the same answer
    let lines: Vec<usize> = answers.values().flatten().copied().collect();
    ensure!(answers.len() == 1 && lines.len() == 6, "answers by lines of the page: {answers:#?}");
    ensure!(answers.keys().all(|answer| answer.lines().count() == 4), "{answers:#?}");
    // THEN the dictionary has the persons of the function for all keys, and for unknown ones
    let compared = site.query(
        "SELECT countIf(dictGet('{db}.person_of_key', 'person_id', key) != personOfKey(key)), count() > 500
         FROM
         (
             SELECT bitXor(sipHash64(distinct_id), sipHash64(team_id)) AS key FROM {db}.person_distinct_id
             GROUP BY team_id, distinct_id
             UNION ALL
             SELECT sipHash64(number) FROM numbers(1000)
         )",
    )?;
    ensure!(compared == "0\t1", "{compared}");
    Ok(())
}

fn runs_upgrade(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN a cluster without differences
    site.apply()?;
    // WHEN the guide's blocks are run THEN each ends as it says
    Walk::new(site, "upgrade")?.rest(site)
}

fn runs_sync_persons(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN PostgreSQL with persons, whose tables have no replica identity
    let mut walk = Walk::new(site, "sync_persons")?;
    let person_db = person_database(site, Rules { identity: Identity::Default, ..Rules::default() })?;
    // WHEN the guide's blocks are run, with the printed SQL and posthouse run between them
    walk.until(site, "posthouse persons audit")?;
    let check = site.posthouse(&["persons", "check", "--json"])?;
    let check: Value = serde_json::from_str(&check.stdout)?;
    let requirements = check["requirements"].as_array().context("requirements")?;
    let fixes =
        requirements.iter().flat_map(|requirement| requirement["fix"].as_array().into_iter().flatten());
    for fix in fixes {
        person_db.admin()?.batch_execute(fix.as_str().context("a statement")?)?;
    }
    person_db.admin()?.batch_execute(crate::persons_audit::PEOPLE)?;
    let daemon = Daemon::start(site, "off")?;
    follows(site, &person_db, &daemon)?;
    // THEN each ends as it says
    walk.rest(site)
}

fn runs_manage_topics(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN topics files for the guide's chapters
    let (mut walk, events) = (Walk::new(site, "manage_topics")?, site.name().to_owned());
    // Other tests have topics too.
    let (exports, old) = (format!("{events}_exports"), format!("{events}_old"));
    walk.names.extend([("exports", exports.clone()), ("old_events", old.clone())]);
    let write = |of_events: &str, others: &str| {
        let text = format!(
            "[defaults]\nreplication_factor = 1\npartitions = 4\n[topics.{events}]\n{of_events}\n{others}"
        );
        fs::write(site.folder().join("topics.toml"), text)
    };
    let week = r#"config = { "retention.ms" = 604800000 }"#;
    let others = |policy: &str, delete: &str| {
        format!(
            "[topics.{exports}]\nconfig = {{ \"cleanup.policy\" = \"{policy}\" }}\n[topics.{old}]\n{delete}\n"
        )
    };
    // WHEN the guide's blocks are run THEN each ends as it says
    write(r#"config = { "retention.ms" = 604800000, "segment.ms" = 3600000 }"#, &others("compact", ""))?;
    walk.until(site, "posthouse topics apply --yes-loss")?;
    write(week, &others("delete", ""))?;
    walk.until(site, "posthouse topics apply --yes-delete")?;
    write(week, &others("delete", "delete = true"))?;
    walk.until(site, "posthouse topics apply  ")?;
    write(r#"config = { "retention.ms" = 259200000 }"#, "")?;
    walk.until(site, "posthouse topics plan --prune")?;
    write(week, "")?;
    walk.until(site, "posthouse topics plan -o")?;
    write(&format!("{week}\npartitions = 8"), "")?;
    walk.until(site, "posthouse topics groups")?;
    site.apply()?;
    store_an_event(site)?;
    walk.rest(site)
}

fn runs_load_history(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN topics, and a folder of Parquet files
    let mut walk = Walk::new(site, "load_history")?;
    site.must(&["topics", "apply"])?;
    HISTORY.write(&site.folder().join("history"))?;
    // WHEN the guide's blocks are run, with the job's own name, THEN each ends as it says
    walk.until(site, "posthouse backfill status")?;
    let jobs = schema::json(&site.must(&["backfill", "list", "--json"])?)?;
    let job = jobs[0]["job"].as_str().with_context(|| jobs.to_string())?;
    walk.names.push(("10b083bc767d7b8f", job.to_owned()));
    walk.rest(site)
}

fn runs_monitor(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN a running posthouse
    let mut walk = Walk::new(site, "monitor")?;
    site.apply()?;
    let daemon = Daemon::start(site, "check")?;
    walk.names.push(("127.0.0.1:9365", daemon.address.clone()));
    // WHEN the guide's blocks are run THEN each ends as it says
    walk.rest(site)
}

fn runs_runbook(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN tables of events and persons
    site.with_persons()?.apply()?;
    // WHEN the queries of the runbook are run THEN the node accepts each
    Walk::new(site, "runbook")?.rest(site)
}
