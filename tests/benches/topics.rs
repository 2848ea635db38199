//! Duration of planning a thousand topics, and of creating them.

use std::fmt::Write;
use std::time::Instant;

use anyhow::ensure;
use posthouse_tests::site::Site;
use posthouse_tests::stack::{Progress, Stack, StackSpec};
use serde_json::json;

use crate::report::{Report, median};

const TOPICS: usize = 1_000;
const RUNS: usize = 5;
/// Acceptable waiting time for an operator with a cluster of this size.
const PATIENCE_S: f64 = 5.0;

pub(crate) fn run() -> anyhow::Result<Vec<Report>> {
    let stack = Stack::start(StackSpec::sharded(&[1]), &Progress::on_stderr())?;
    let mut site = Site::new(&stack, "topics_plan")?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("topics.toml");
    site.set("kafka", "topics_file", file.display().to_string());
    std::fs::write(&file, topics(604_800_000))?;
    let begin = Instant::now();
    site.must(&["topics", "apply"])?;
    let made_s = begin.elapsed().as_secs_f64();
    // Every topic has a difference, and the brokers must report how many bytes it reclaims.
    std::fs::write(&file, topics(518_400_000))?;
    let mut seconds = Vec::new();
    for _ in 0..RUNS {
        let begin = Instant::now();
        let plan = site.posthouse(&["topics", "plan"])?;
        seconds.push(begin.elapsed().as_secs_f64());
        ensure!(plan.stdout.contains(&format!("{TOPICS} to change in {TOPICS} topics")), "{plan}");
    }
    let ours_s = median(seconds.clone());
    Ok(vec![Report {
        name: "topics_plan".to_owned(),
        what: format!(
            "posthouse topics plan of {TOPICS} topics that all differ, against a patience of {PATIENCE_S} s"
        ),
        ours_s,
        peer_s: PATIENCE_S,
        ratio: PATIENCE_S / ours_s,
        rows: TOPICS as u64,
        runs: RUNS,
        limit: "the broker, which describes about 35 configs a topic and looks for offsets of each partition"
            .to_owned(),
        details: json!({ "plan_s": seconds, "apply_that_makes_them_s": made_s }),
    }])
}

fn topics(retention: u64) -> String {
    let head = format!(
        "[defaults]\npartitions = 1\nreplication_factor = 1\nconfig = {{ \"retention.ms\" = {retention} }}\n"
    );
    (0..TOPICS).fold(head, |mut text, topic| {
        // Writing to a `String` can't fail.
        let _ = writeln!(text, "[topics.bench_{topic}]");
        text
    })
}
