//! The distinct ids of a round, the same on every node.

use std::collections::VecDeque;
use std::time::Duration;

use anyhow::bail;
use bytes::Bytes;
use minijinja::{Value, context};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use super::round::Round;
use crate::node::{Node, NodeError};
use crate::sql;

/// Rows of an insert into another node.
const COPIED_AT_ONCE: usize = 50_000;
/// Longest time without progress of mutations that an earlier squash left.
const PROGRESS_TIMEOUT: Duration = Duration::from_secs(600);
const POLL_INTERVAL: Duration = Duration::from_millis(500);

#[derive(Serialize, Deserialize)]
struct SquashedId {
    team_id: i64,
    distinct_id: String,
    person_id: String,
    version: i64,
}

/// What a node holds of the set.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
pub(super) struct HeldSet {
    /// Distinct ids of `person_squash`.
    pub(super) taken: u64,
    /// Distinct ids of the lookup.
    looked_up: u64,
    /// Sum of their hashes.
    sum: u64,
}

#[derive(Deserialize)]
struct Running {
    mutations: u64,
    parts: i64,
    reason: String,
}

impl Round<'_> {
    /// Fills the set and its lookup on every node.
    pub(super) async fn take(&self) -> anyhow::Result<HeldSet> {
        let nodes = &self.scope.cluster.nodes;
        // A mutation of a killed squash reads the lookup until it is done.
        for node in nodes {
            self.wait_for_mutations(node).await?;
        }
        self.clear().await?;
        self.lock.check().await?;
        let [first, others @ ..] = &nodes[..] else { return Ok(HeldSet::default()) };
        self.execute(first, "squash/load.sql").await?;
        if self.scope.cluster.config.replicated {
            for node in others {
                self.statement(node, "backfill/sync_replica.sql", context! { table => "person_squash" })
                    .await?;
            }
        } else {
            self.copy(first, others).await?;
        }
        for node in nodes {
            self.execute(node, "squash/look_up.sql").await?;
        }
        let held = self.held(first).await?;
        self.expect(&held).await?;
        Ok(held)
    }

    /// Fails unless every node has this set, and its lookup all of it.
    pub(super) async fn expect(&self, wanted: &HeldSet) -> anyhow::Result<()> {
        for node in &self.scope.cluster.nodes {
            let here = self.held(node).await?;
            if here != *wanted || here.taken != here.looked_up {
                bail!(
                    "node {} has {} of the {} distinct ids of this round, or others: no override was removed; run the \
                     squash again, and look at person_squash and its replication if that fails too",
                    node.name,
                    here.looked_up,
                    wanted.taken
                );
            }
        }
        Ok(())
    }

    async fn held(&self, node: &Node) -> anyhow::Result<HeldSet> {
        let sql = sql::render("squash/held.sql", self.values())?;
        let rows: Vec<HeldSet> = node.rows(&sql).await?;
        Ok(rows.into_iter().next().unwrap_or_default())
    }

    /// Empties the set and its lookup.
    pub(super) async fn clear(&self) -> anyhow::Result<()> {
        self.lock.check().await?;
        let replicated = self.scope.cluster.config.replicated;
        for (place, node) in self.scope.cluster.nodes.iter().enumerate() {
            self.statement(node, "squash/clear.sql", context! { table => "person_squash_lookup" }).await?;
            if place == 0 || !replicated {
                self.statement(node, "squash/clear.sql", context! { table => "person_squash" }).await?;
            }
        }
        Ok(())
    }

    async fn copy(&self, from: &Node, others: &[Node]) -> anyhow::Result<()> {
        if others.is_empty() {
            return Ok(());
        }
        let mut stream =
            from.query(&sql::render("squash/loaded.sql", self.values())?).stream::<SquashedId>()?;
        let (mut rows, mut bytes) = (0, Vec::new());
        loop {
            let id = stream.next().await?;
            let is_last = id.is_none();
            if let Some(id) = id {
                serde_json::to_writer(&mut bytes, &id)?;
                bytes.push(b'\n');
                rows += 1;
            }
            if rows > 0 && (is_last || rows == COPIED_AT_ONCE) {
                let copied = Bytes::from(std::mem::take(&mut bytes));
                for node in others {
                    self.store(node, copied.clone()).await?;
                }
                rows = 0;
            }
            if is_last {
                return Ok(());
            }
        }
    }

    async fn store(&self, node: &Node, rows: Bytes) -> anyhow::Result<()> {
        let sql = sql::render("squash/copy.sql", self.values())?;
        Ok(node.insert(sql.trim_end()).send(rows, &mut VecDeque::new()).await?)
    }

    /// Waits until the mutations of an earlier squash are done on a node.
    async fn wait_for_mutations(&self, node: &Node) -> anyhow::Result<()> {
        let sql = sql::render("squash/running.sql", self.values())?;
        let (mut left, mut moved) = (i64::MAX, Instant::now());
        loop {
            let running: Vec<Running> = node.rows(&sql).await?;
            let Some(Running { mutations, parts, reason }) =
                running.into_iter().find(|running| running.mutations > 0)
            else {
                return Ok(());
            };
            if parts < left {
                (left, moved) = (parts, Instant::now());
            }
            if moved.elapsed() > PROGRESS_TIMEOUT {
                bail!(
                    "node {} has {mutations} mutations of an earlier squash that do not end, with {parts} parts to do: look \
                     at them in system.mutations, and end them with KILL MUTATION ({reason})",
                    node.name
                );
            }
            sleep(POLL_INTERVAL).await;
        }
    }

    async fn execute(&self, node: &Node, file: &str) -> anyhow::Result<()> {
        self.statement(node, file, context! {}).await
    }

    pub(super) async fn statement(&self, node: &Node, file: &str, more: Value) -> anyhow::Result<()> {
        let sql = sql::render(file, context! { ..more, ..self.values() })?;
        Ok(node.execute(&sql).await?)
    }

    /// Runs a mutation to its end, on all replicas.
    pub(super) async fn mutate(&self, node: &Node, file: &str, more: Value) -> anyhow::Result<()> {
        let sql = sql::render(file, context! { ..more, ..self.values() })?;
        let mutation = node.query(&sql).setting("mutations_sync", 2);
        // joinGet counts as changing, because another statement could fill the lookup.
        let done: Result<(), NodeError> =
            mutation.setting("allow_nondeterministic_mutations", 1).execute().await;
        Ok(done?)
    }
}
