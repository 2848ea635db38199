//! Claims of runs on bundles that no run has begun.
//!
//! A claim is a record of the bundle without a unit, with a number of the run in `checksum`:
//! `begun` when the run claims the bundle, `done` when it gives the claim up. A run that begins the
//! bundle keeps its claim.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::LedgerError;
use super::known::IDS_A_QUERY;
use super::record::{Record, State, record};
use crate::backfill::insert::Destination;
use crate::node::Node;
use crate::sql;

/// A claim of this run.
#[derive(Debug)]
pub(crate) struct Claim {
    /// Its record, as it was written.
    begun: Record,
}

#[derive(Deserialize)]
struct ClaimedBundle {
    file: String,
}

impl Claim {
    /// Records a claim of `job` on the bundle in a shard's ledger.
    pub(crate) async fn new(
        shard: &Destination,
        database: &str,
        job: &str,
        bundle: &str,
    ) -> Result<Self, LedgerError> {
        let begun = Record::of_file(job, bundle, shard.shard, shard.slot, State::Begun);
        let claim = Self { begun: Record { checksum: rand::random(), ..begun } };
        record(&shard.nodes, database, shard.ledger, std::slice::from_ref(&claim.begun)).await?;
        Ok(claim)
    }

    /// Records that the bundle was not begun.
    pub(crate) async fn give_up(self, shard: &Destination, database: &str) -> Result<(), LedgerError> {
        let done = Record { state: State::Done, ..self.begun };
        record(&shard.nodes, database, shard.ledger, &[done]).await
    }
}

/// Returns those of `bundles` that a run has claimed. A claim that is older than an hour does not
/// count, because its run was killed before it began the bundle. `node` may be any node.
pub(crate) async fn claimed_bundles(
    node: &Node,
    database: &str,
    bundles: &[&str],
) -> Result<BTreeSet<String>, LedgerError> {
    let sql = sql::render("backfill/claimed_bundles.sql", minijinja::context! { database })?;
    let mut claimed = BTreeSet::new();
    for bundles in bundles.chunks(IDS_A_QUERY) {
        let rows: Vec<ClaimedBundle> = node.query(&sql).param("files", bundles).rows().await?;
        claimed.extend(rows.into_iter().map(|bundle| bundle.file));
    }
    Ok(claimed)
}
