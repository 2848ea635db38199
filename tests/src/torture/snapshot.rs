//! Kill test of the person index: the sidecar that keeps it, and damage of its files.
//!
//! Random histories of distinct ids go through the topic while the sidecar is killed. After each
//! round every id must have the person of SQL's rule on every node, and meanwhile no query may fail
//! or find a person that never was.

use std::collections::BTreeSet;
use std::fs;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, anyhow, ensure};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use super::Report;
use super::ingest::unmerged;
use crate::daemon::Daemon;
use crate::events::Kind;
use crate::load::Producer;
use crate::site::Site;
use crate::stack::{Progress, Stack, StackSpec, wait_until};

/// Messages of a round, in some bursts.
const MESSAGES: std::ops::Range<usize> = 200..3_000;
const BURSTS: usize = 10;
/// Pause after a burst.
const PAUSE_MS: std::ops::Range<u64> = 0..120;
/// Time from the start of a round to the kill.
const UNTIL_KILL_MS: std::ops::Range<u64> = 0..900;
/// Limit for everything to arrive on the nodes and in their indexes.
const LIMIT: Duration = Duration::from_secs(120);
/// Place of the format's number in a file of an index.
const FORMAT_PLACE: usize = 8;
/// Rounds from one damage to the next. Each second one follows a kill, the others come alone.
const DAMAGE_EVERY: u32 = 5;

/// The number of ids for which a function gives another answer than SQL, and the number of ids.
pub const COMPARED: &str = "
    SELECT
        countIf(personOf(team_id, distinct_id) != person),
        countIf(personOfKey(bitXor(sipHash64(distinct_id), sipHash64(team_id))) != person),
        countIf(personKnown(team_id, distinct_id) != (person != toUUID('00000000-0000-0000-0000-000000000000'))),
        count()
    FROM
    (
        SELECT
            team_id,
            distinct_id,
            if(argMax(is_deleted, (version, is_deleted)) = 0,
               argMax(person_id, (version, is_deleted, person_id)),
               toUUID('00000000-0000-0000-0000-000000000000')) AS person
        FROM {db}.person_distinct_id
        GROUP BY team_id, distinct_id
    )";
/// The number of ids without any message that have a person.
const ABSENT: &str =
    "SELECT countIf(personKnown(2, concat('absent-', toString(number)))) FROM numbers(70000)";

/// One valid message.
type Stored = (i64, String, u128, i64, bool);

/// Starts the stack for this test. Merges are off: SQL's answer for equal versions would change.
///
/// # Errors
/// Fails if the stack doesn't start.
pub fn stack(progress: &Progress) -> anyhow::Result<Stack> {
    Stack::start(StackSpec::default().nodes(unmerged()), progress)
}

/// Runs `rounds` kills on a site of `stack`, and reports each to `say`.
///
/// # Errors
/// Fails if an index does not get all changes in time, if it gives another person than SQL, or if a
/// query fails while no file is damaged.
pub fn run(stack: &Stack, rounds: u32, seed: u64, say: &dyn Fn(String)) -> anyhow::Result<Report> {
    let mut site = Site::new(stack, "torture_snapshot")?;
    site.with_persons()?.set("persons", "index", "keep").apply()?;
    site.must(&["udf", "install"])?;
    let mut daemon = Daemon::start(&mut site, "off")?;
    let mut histories = Histories::new(&site, seed)?;
    histories.produce(MESSAGES.end)?;
    histories.compare()?;
    let questions = Questions::default();
    let tortured = thread::scope(|scope| {
        let asking = scope.spawn(|| questions.ask(&site));
        let mut kills = 0;
        let tortured = (1..=rounds).try_for_each(|round| {
            let config = site.write_config()?;
            kills += histories.round(round, &mut daemon, &config, &questions, say)?;
            anyhow::Ok(())
        });
        questions.stop.store(true, Ordering::Relaxed);
        asking.join().map_err(|_| anyhow!("the questions panicked"))??;
        tortured.map(|()| kills)
    });
    let kills = tortured.with_context(|| daemon.log().unwrap_or_default())?;
    let (produced, asked) = (histories.stored.len() as u64, questions.answered.load(Ordering::Relaxed));
    say(format!("snapshot: {produced} different messages, {asked} queries answered meanwhile"));
    ensure!(asked > 0, "no query was answered");
    site.must(&["persons", "snapshot", "verify"])?;
    drop(daemon);
    drop(histories);
    site.remove()?;
    Ok(Report {
        name: "snapshot".to_owned(),
        rounds,
        kills,
        produced,
        stored: produced,
        lost: 0,
        twice: 0,
        seed,
    })
}

/// Random messages of distinct ids, and what they must become.
struct Histories<'s> {
    site: &'s Site<'s>,
    producer: Producer,
    random: StdRng,
    /// The valid messages.
    stored: BTreeSet<Stored>,
}

impl<'s> Histories<'s> {
    fn new(site: &'s Site<'_>, seed: u64) -> anyhow::Result<Self> {
        let producer = Producer::new(&site.brokers(), &site.person_topics().1)?;
        Ok(Self { site, producer, random: StdRng::seed_from_u64(seed), stored: BTreeSet::new() })
    }

    /// Kills the sidecar while changes arrive, and compares. Returns the number of kills.
    fn round(
        &mut self,
        round: u32,
        daemon: &mut Daemon,
        config: &std::path::Path,
        questions: &Questions,
        say: &dyn Fn(String),
    ) -> anyhow::Result<u32> {
        let (begin, count) = (Instant::now(), self.random.random_range(MESSAGES));
        let until_kill = Duration::from_millis(self.random.random_range(UNTIL_KILL_MS));
        let is_damaging = round.is_multiple_of(DAMAGE_EVERY);
        let is_killing = !is_damaging || round.is_multiple_of(2 * DAMAGE_EVERY);
        let address = daemon.address.clone();
        if is_killing {
            let pid = daemon.pid();
            let killing = thread::spawn(move || {
                thread::sleep(until_kill);
                rustix::process::kill_process(pid, rustix::process::Signal::KILL)
            });
            self.produce(count)?;
            killing.join().map_err(|_| anyhow!("the kill panicked"))??;
        } else {
            self.produce(count)?;
        }
        let mut damage = String::new();
        if is_damaging {
            questions.is_damaged.store(true, Ordering::Relaxed);
            damage = self.damage()?;
        }
        if is_killing {
            *daemon = Daemon::with(config, address)?;
        }
        self.produce(count / 10)?;
        self.compare().with_context(|| format!("round {round}: {damage}"))?;
        questions.is_damaged.store(false, Ordering::Relaxed);
        let seconds = begin.elapsed().as_secs_f32();
        say(format!(
            "snapshot round {round}: {count} messages, killed: {is_killing}, {damage}, {seconds:.1} s"
        ));
        Ok(u32::from(is_killing))
    }

    /// Sends messages in bursts.
    fn produce(&mut self, count: usize) -> anyhow::Result<()> {
        for number in 0..count {
            let (key, message) = self.message();
            self.producer.send(&key, &message, Kind::New)?;
            if number % (count / BURSTS).max(1) == 0 {
                thread::sleep(Duration::from_millis(self.random.random_range(PAUSE_MS)));
            }
        }
        self.producer.flush()?;
        Ok(())
    }

    /// A random message, in one of the forms in which programs write it, or an invalid one.
    fn message(&mut self) -> (String, Vec<u8>) {
        let random = &mut self.random;
        let team_id = random.random_range(1..4);
        let ids = [3, 500, 20_000][random.random_range(0..3)];
        let distinct_id = match random.random_range(0..20) {
            0 => String::new(),
            1 => "é\u{0}\"\\\u{1F980}".repeat(random.random_range(1..9)),
            _ => format!("id-{}", random.random_range(0..ids)),
        };
        let person = uuid::Uuid::from_u128(random.random_range(1..300_u128) << 64 | 0x8000 << 48 | 7);
        let (version, is_deleted) = (random.random_range(0..60_i64), random.random_ratio(1, 6));
        let flags = [json!(u8::from(is_deleted)), json!(is_deleted), json!(u8::from(is_deleted).to_string())];
        let numbers = [json!(version), json!(version.to_string())];
        let mut message = json!({
            "team_id": team_id,
            "distinct_id": distinct_id,
            "person_id": person.to_string(),
            "version": numbers[random.random_range(0..2)],
            "is_deleted": flags[random.random_range(0..3)],
            "more": random.random::<u64>(),
        });
        if random.random_ratio(1, 10) {
            let field = ["team_id", "person_id", "version", "is_deleted"][random.random_range(0..4)];
            message[field] = [json!("x"), json!({"a": 1}), json!(-1.5)][random.random_range(0..3)].clone();
            return (distinct_id, message.to_string().into_bytes());
        }
        if random.random_ratio(1, 20) {
            let mut bytes = message.to_string().into_bytes();
            bytes.truncate(bytes.len() / 2);
            return (distinct_id, bytes);
        }
        let version = match random.random_ratio(1, 15) {
            true => {
                message["version"] = Value::Null;
                0
            }
            false => version,
        };
        self.stored.insert((team_id, distinct_id.clone(), person.as_u128(), version, is_deleted));
        (distinct_id, message.to_string().into_bytes())
    }

    /// Waits until tables and indexes have all messages, and compares every id.
    fn compare(&self) -> anyhow::Result<()> {
        let flushed = now_ms();
        let stored = "SELECT uniqExact(team_id, distinct_id, person_id, version, is_deleted) FROM {db}.person_distinct_id";
        for node in 0..self.site.stack.nodes().len() {
            self.wait(node, stored, |count| count == self.stored.len() as u64)?;
            self.wait(node, "SELECT personSnapshot('fresh_ms')", |fresh| fresh >= flushed)?;
            let compared = self.site.query_on(node, COMPARED)?;
            ensure!(compared.starts_with("0\t0\t0\t"), "node {node}: {compared}");
            let absent = self.site.query_on(node, ABSENT)?;
            ensure!(absent == "0", "node {node}: {absent} unknown ids have a person");
        }
        Ok(())
    }

    fn wait(&self, node: usize, sql: &str, is: impl Fn(u64) -> bool) -> anyhow::Result<()> {
        wait_until(sql, LIMIT, || match self.site.query_on(node, sql) {
            Ok(number) if number.parse().is_ok_and(&is) => ControlFlow::Break(Ok(())),
            other => ControlFlow::Continue(anyhow!("node {node}: {other:?}")),
        })
    }

    /// Damages the index of the first node. Returns how.
    fn damage(&mut self) -> anyhow::Result<String> {
        let folder = |node: usize| self.site.stack.nodes()[node].user_scripts().join("posthouse-persons");
        let (own, other) = (folder(0), folder(1));
        let files = |folder: &PathBuf| -> anyhow::Result<Vec<PathBuf>> {
            let names = fs::read_dir(folder)?.map(|entry| Ok(entry?.path()));
            let mut paths = names.collect::<std::io::Result<Vec<_>>>()?;
            paths.retain(|path| path.is_file() && path.file_name().is_some_and(|name| name != "lock"));
            Ok(paths)
        };
        let paths = files(&own)?;
        let path = &paths[self.random.random_range(0..paths.len())];
        // A sidecar that is alive may have replaced the file, or not written it yet.
        let read = fs::read(path).ok().filter(|bytes| bytes.len() > FORMAT_PLACE);
        let Some(mut bytes) = read else { return Ok("no damage".to_owned()) };
        let how = match self.random.random_range(0..5) {
            0 => {
                bytes.truncate(self.random.random_range(0..bytes.len()));
                "truncated"
            }
            1 => {
                let place = self.random.random_range(0..bytes.len());
                bytes[place] ^= 1 << self.random.random_range(0..8);
                "a flipped bit"
            }
            2 => {
                bytes[FORMAT_PLACE] = 99;
                "another format"
            }
            3 => {
                drop(fs::remove_file(path));
                return Ok(format!("{} removed", path.display()));
            }
            _ => {
                let theirs = files(&other)?;
                let source = &theirs[self.random.random_range(0..theirs.len())];
                bytes = fs::read(source).unwrap_or_default();
                "a file of another index"
            }
        };
        let copy = path.with_extension("damaged");
        fs::write(&copy, bytes)?;
        fs::rename(&copy, path)?;
        Ok(format!("{}: {how}", path.display()))
    }
}

/// Queries that run all the time.
#[derive(Default)]
struct Questions {
    stop: AtomicBool,
    /// Whether a query may fail because of a damaged file.
    is_damaged: AtomicBool,
    answered: AtomicU64,
}

impl Questions {
    /// Asks until the end.
    fn ask(&self, site: &Site<'_>) -> anyhow::Result<()> {
        while !self.stop.load(Ordering::Relaxed) {
            for node in 0..site.stack.nodes().len() {
                let may_fail = self.is_damaged.load(Ordering::Relaxed);
                match site.query_on(node, ABSENT) {
                    Ok(absent) => ensure!(absent == "0", "node {node}: {absent} unknown ids have a person"),
                    Err(error) => {
                        let may_fail = may_fail || self.is_damaged.load(Ordering::Relaxed);
                        let text = format!("{error:#}");
                        ensure!(may_fail && text.contains("posthouse-persons"), "node {node}: {text}");
                    }
                }
                self.answered.fetch_add(1, Ordering::Relaxed);
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}
