//! Topics-as-code part of the demo.
//!
//! The topics file changes and the brokers follow. Changes that would lose messages are refused,
//! even if confirmed.

use std::time::Instant;

use anyhow::{Context, ensure};

use super::screen::Screen;
use super::setup::Ground;
use crate::site::{self, Outcome};
use crate::stack::TOPICS_TOML;

/// The events topic and its retention in the stack's topics file.
const EVENTS: &str =
    "[topics.clickhouse_events_json]\npartitions = 4\nconfig = { \"retention.ms\" = \"604800000\" }\n";
/// The same topic with a retention shorter by two days, and another topic.
const LESS: &str = "[topics.clickhouse_events_json]\npartitions = 4\nconfig = { \"retention.ms\" = 432_000_000 }\n\
                    \n[topics.exports]\npartitions = 2\nconfig = { \"cleanup.policy\" = \"compact\" }\n";
/// Deletes the events topic, which the Kafka tables read, and takes a partition from the other one.
const DANGEROUS: &str =
    "[topics.clickhouse_events_json]\ndelete = true\n\n[topics.exports]\npartitions = 1\n";

/// Changes the topics file, applies it, and checks that dangerous changes are refused. Leaves the
/// file and the events topic unchanged.
///
/// # Errors
/// Fails if `posthouse` fails, applies a dangerous change, or prints unexpected output.
pub(super) fn run(ground: &Ground, screen: &Screen) -> anyhow::Result<()> {
    screen.heading("Topics as code: topics.toml changes, the brokers follow");
    write(ground, LESS)?;
    let plan = verb(ground, screen, &["plan"], 3, "one more topic, and events kept for 5 days instead of 7")?;
    screen.quote(&plan.stdout);
    ensure!(plan.stdout.contains("+ exports: partitions 2"), "{plan}");
    ensure!(plan.stdout.contains("a step of 1 day"), "{plan}");
    let applied = verb(ground, screen, &["apply"], 3, "applies it, a day of retention at a time")?;
    screen.quote(applied.stdout.lines().last().unwrap_or_default());
    ensure!(applied.stdout.contains("2 done, 0 failed, 0 refused"), "{applied}");

    write(ground, DANGEROUS)?;
    let confirmed = ["apply", "--yes-delete", "clickhouse_events_json"];
    let said = "--yes-delete clickhouse_events_json: still refused, like fewer partitions";
    let refused = verb(ground, screen, &confirmed, 3, said)?;
    screen.quote(&refused.stdout);
    ensure!(refused.stdout.contains("0 to change in 0 topics, 2 refused"), "{refused}");
    ensure!(
        refused.stdout.contains("not deleted while it is read, by table posthog.kafka_events"),
        "{refused}"
    );
    ensure!(refused.stdout.contains("Kafka can't reduce them"), "{refused}");

    write(ground, EVENTS)?;
    let back = verb(ground, screen, &["apply"], 0, "the original file")?;
    screen.quote(&back.stdout);
    let check = verb(ground, screen, &["check"], 0, "topics, groups and Kafka tables against each other")?;
    screen.quote(&check.stdout);
    Ok(())
}

/// Replaces the events topic in the stack's topics file.
fn write(ground: &Ground, events: &str) -> anyhow::Result<()> {
    ensure!(TOPICS_TOML.contains(EVENTS), "the stack's topics file has no such topic: {EVENTS}");
    let file = ground.record.config.with_file_name("topics.toml");
    let text = TOPICS_TOML.replace(EVENTS, events);
    std::fs::write(&file, text).with_context(|| format!("can't write {}", file.display()))
}

/// Runs one verb of `posthouse topics`, which must end with this exit code.
fn verb(ground: &Ground, screen: &Screen, verb: &[&str], code: i32, said: &str) -> anyhow::Result<Outcome> {
    let begin = Instant::now();
    let outcome = site::run(&ground.record.config, &[&["topics"], verb].concat())?;
    ensure!(outcome.code == code, "posthouse topics {}: {outcome}", verb.join(" "));
    // Options appear in the summary, because the command column is narrow.
    screen.command(&format!("posthouse topics {}", verb[0]), begin.elapsed(), said);
    Ok(outcome)
}
