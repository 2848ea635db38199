//! Rounds of queries: each door once in each round, with time and peak memory.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::ensure;
use posthouse_tests::site::Site;
use serde_json::{Value, json};

use super::data::query;
use super::doors::{Counted, Door};
use crate::report::median;

pub(super) const RUNS: usize = 5;

/// The runs of each door.
#[derive(Debug, Default)]
pub(super) struct Rounds {
    seconds: BTreeMap<Door, Vec<f64>>,
    peak_bytes: BTreeMap<Door, u64>,
    answers: BTreeMap<Counted, String>,
}

impl Rounds {
    /// Runs the query of each door in turn. Answers of the same kind must be the same count, of at
    /// least `least`.
    pub(super) fn run(
        site: &Site<'_>,
        doors: &[Door],
        least: u64,
        sql: impl Fn(Door) -> String,
    ) -> anyhow::Result<Self> {
        let mut rounds = Self::default();
        for _ in 0..RUNS {
            for door in doors {
                rounds.add(site, *door, &sql(*door))?;
            }
        }
        for (counted, answer) in &rounds.answers {
            let count: u64 = answer.trim().parse()?;
            ensure!(count >= least, "{count} {counted:?} instead of at least {least}");
        }
        Ok(rounds)
    }

    fn add(&mut self, site: &Site<'_>, door: Door, sql: &str) -> anyhow::Result<()> {
        let begin = Instant::now();
        let measured = query(site, sql)?;
        let seconds = begin.elapsed().as_secs_f64();
        eprintln!("person_of: {}: {seconds:.2} s", door.name());
        self.seconds.entry(door).or_default().push(seconds);
        let answer = self.answers.entry(door.counted()).or_insert_with(|| measured.text.clone());
        ensure!(measured.text == *answer, "{}: {}, but others {answer}", door.name(), measured.text);
        let peak = self.peak_bytes.entry(door).or_default();
        *peak = measured.peak_bytes.max(*peak);
        Ok(())
    }

    /// The median of a door.
    pub(super) fn seconds(&self, door: Door) -> f64 {
        median(self.seconds.get(&door).cloned().unwrap_or_default())
    }

    /// The peak memory of a door's query in the server, in MiB.
    pub(super) fn peak_mib(&self, door: Door) -> f64 {
        self.peak_bytes.get(&door).copied().unwrap_or_default() as f64 / f64::from(1 << 20)
    }

    /// Medians, runs and memory of all doors, and the answer.
    pub(super) fn details(&self) -> Value {
        let door = |door: &Door| {
            let details = json!({
                "median_s": self.seconds(*door),
                "runs_s": self.seconds.get(door),
                "peak_mib": self.peak_mib(*door),
            });
            (door.name().to_owned(), details)
        };
        let doors: serde_json::Map<String, Value> = self.seconds.keys().map(door).collect();
        let answer = |counted| self.answers.get(&counted).map(|answer| answer.trim());
        json!({ "persons": answer(Counted::Persons), "ids": answer(Counted::Ids), "doors": doors })
    }
}
