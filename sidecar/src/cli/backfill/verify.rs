//! `posthouse backfill verify`: the proof, and what differs.

use indicatif::HumanCount;
use posthouse::backfill::insert::{Route, RouteChoice};
use posthouse::backfill::ledger::{State, note};
use posthouse::backfill::verify::{Proof, verify as compare};
use posthouse::config::Config;

use super::jobs::find;
use crate::cli::Outcome;
use crate::cli::output::{Output, table};

pub(super) async fn verify(config: &Config, job: &str, output: Output) -> anyhow::Result<Outcome> {
    let route = Route::choose(config, RouteChoice::Auto).await?;
    let job = find(&route, config, job).await?;
    let proof = prove(config, &route, &job.job).await?;
    output.print(&proof, text)?;
    Ok(Outcome::differs_if(!proof.is_proven()))
}

/// Compares, and remembers that a job is proven.
pub(super) async fn prove(config: &Config, route: &Route, job: &str) -> anyhow::Result<Proof> {
    let say = |month: u32| tracing::info!("counting {month} on every shard");
    let proof = compare(config, route.any(), job, say).await?;
    if proof.is_proven() {
        note(route, &config.database, job, State::Proven).await?;
    }
    Ok(proof)
}

/// The proof for people.
pub(super) fn text(proof: &Proof) -> String {
    if proof.is_proven() {
        return format!(
            "proven: {} rows in {} blocks stand on their shards as the files held them, none lost, none twice",
            HumanCount(proof.rows),
            HumanCount(proof.blocks)
        );
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
