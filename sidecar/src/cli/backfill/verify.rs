//! `posthouse backfill verify`: the proof, and what differs.

use indicatif::HumanCount;
use posthouse::backfill::insert::{Route, RouteChoice};
use posthouse::backfill::ledger::{Job, State, note};
use posthouse::backfill::verify::{Proof, verify as compare};
use posthouse::config::Config;
use serde::Serialize;

use super::jobs::{find, left};
use crate::cli::Outcome;
use crate::cli::output::{Output, table};

/// What `verify --json` prints, and `run --json` as its proof.
#[derive(Serialize)]
pub(super) struct Verdict {
    #[serde(flatten)]
    proof: Proof,
    /// Rows of the files that are neither stored nor rejected: other machines may be at them, or a load was stopped.
    left: u64,
}

impl Verdict {
    /// Whether everything that is stored is as expected.
    pub(super) fn is_proven(&self) -> bool {
        self.proof.is_proven()
    }
}

pub(super) async fn verify(config: &Config, job: &str, output: Output) -> anyhow::Result<Outcome> {
    let route = Route::choose(config, RouteChoice::Auto).await?;
    let job = find(&route, config, job).await?;
    let verdict = prove(config, &route, &job).await?;
    output.print(&verdict, text)?;
    Ok(Outcome::differs_if(!verdict.is_proven() || verdict.left > 0))
}

/// Compares, and remembers when all of a job is proven.
pub(super) async fn prove(config: &Config, route: &Route, job: &Job) -> anyhow::Result<Verdict> {
    let say = |month: u32| tracing::info!("counting {month} on every shard");
    let proof = compare(config, route.any(), &job.job, say).await?;
    let left = left(job);
    if proof.is_proven() && left == 0 {
        note(route, &config.database, &job.job, State::Proven).await?;
    }
    Ok(Verdict { proof, left })
}

/// The proof for people.
pub(super) fn text(verdict: &Verdict) -> String {
    let Verdict { proof, left } = verdict;
    if proof.is_proven() {
        let stand = format!(
            "{} rows in {} blocks stand on their shards as the files held them, none lost, none twice",
            HumanCount(proof.rows),
            HumanCount(proof.blocks)
        );
        return match left {
            0 => format!("proven: {stand}"),
            left => format!(
                "not complete: {} rows are neither stored nor rejected by this job: the same run command goes on with them, on every \
                 machine that has a share, unless another job has loaded them. So far\n{stand}",
                HumanCount(*left)
            ),
        };
    }
    let heading = ["shard", "month", "missing", "extra", "changed blocks", "on the wrong shard"];
    let lines = proof.differences.iter().map(|difference| {
        vec![
            difference.shard.to_string(),
            difference.month.to_string(),
            HumanCount(difference.missing).to_string(),
            HumanCount(difference.extra).to_string(),
            HumanCount(difference.changed_blocks).to_string(),
            HumanCount(difference.wrong_shard).to_string(),
        ]
    });
    let mut text = table(&[heading.map(str::to_owned).to_vec()].into_iter().chain(lines).collect::<Vec<_>>());
    text.push_str(&format!(
        "not proven: {} rows expected, {} there. Missing rows may have been merged with rows of the same event \
         (sharded_events keeps one of those), or deleted or changed since",
        HumanCount(proof.rows),
        HumanCount(proof.found)
    ));
    text
}
