//! Plan of a materialization: the old parts of each shard, and the reasons to refuse.

use std::collections::BTreeSet;

use anyhow::bail;
use serde::Serialize;

use super::old_parts::{OldParts, ShardTable};
use crate::cluster::Cluster;
use crate::event_columns::EventColumn;
use crate::node::Node;
use crate::schema::observe::{Replays, observe};
use crate::schema::plan::{SchemaChange, SchemaPlan};

/// Table with the events of a shard.
const TABLE: &str = "sharded_events";

#[derive(Debug, Clone)]
pub(crate) struct MaterializeRequest {
    /// Names of materialized columns.
    pub(crate) columns: Vec<String>,
    /// The oldest partition to write, as `YYYYMM`; empty for all.
    pub(crate) since: String,
}

/// Old parts of all shards.
#[derive(Debug, Serialize)]
pub(crate) struct MaterializePlan {
    pub(crate) columns: Vec<String>,
    /// Their data-skipping indexes.
    pub(crate) indexes: Vec<String>,
    pub(crate) shards: Vec<ShardParts>,
}

/// Old parts of one shard, and the node that writes them.
#[derive(Debug, Serialize)]
pub(crate) struct ShardParts {
    pub(crate) shard: usize,
    pub(crate) node: String,
    /// The newest partition first, because most queries read recent events.
    pub(crate) partitions: Vec<OldParts>,
}

impl MaterializePlan {
    /// Rows of all old parts.
    pub(crate) fn rows(&self) -> u64 {
        self.partitions().map(|partition| partition.rows).sum()
    }

    pub(crate) fn partitions(&self) -> impl Iterator<Item = &OldParts> {
        self.shards.iter().flat_map(|shard| &shard.partitions)
    }
}

/// Finds the parts that lack one of the columns. No change is made.
///
/// # Errors
/// Fails if a node is unreachable, a column is not a materialized one of the config, or a node's
/// table differs from the config in it.
pub(crate) async fn plan_materialize(
    cluster: &Cluster,
    request: &MaterializeRequest,
) -> anyhow::Result<MaterializePlan> {
    let columns = known(&cluster.config.events.columns, &request.columns)?;
    let names: Vec<String> = columns.iter().map(|column| column.name.clone()).collect();
    let indexes: Vec<String> = columns.iter().filter_map(|column| column.index_name()).collect();
    refuse_differences(&observe(cluster, Replays::new()).await?, &names, &indexes)?;
    let mut shards = Vec::new();
    for node in first_replicas(&cluster.nodes) {
        let table = ShardTable { node, database: &cluster.config.database, columns: &names };
        let partitions = table.old_parts(&request.since).await?;
        shards.push(ShardParts { shard: node.shard, node: node.name.clone(), partitions });
    }
    Ok(MaterializePlan { columns: names, indexes, shards })
}

/// One node of each shard. Replicas share a table's mutations.
fn first_replicas(nodes: &[Node]) -> impl Iterator<Item = &Node> {
    nodes.iter().filter(|node| node.replica == 1)
}

/// The config's columns of these names.
fn known<'c>(columns: &'c [EventColumn], names: &[String]) -> anyhow::Result<Vec<&'c EventColumn>> {
    let names: BTreeSet<&str> = names.iter().map(String::as_str).collect();
    let materialized = || columns.iter().filter(|column| !column.is_written());
    let is_missing = |name: &&str| !materialized().any(|column| column.name == **name);
    if let Some(name) = names.iter().copied().find(is_missing) {
        let known: Vec<&str> = materialized().map(|column| column.name.as_str()).collect();
        let next_step = match known.is_empty() {
            true => {
                "it has none: add one as [[events.materialized]], and run posthouse schema apply".to_owned()
            }
            false => format!("these are: {}", known.join(", ")),
        };
        bail!("{name} is no materialized column of the config; {next_step}");
    }
    Ok(materialized().filter(|column| names.contains(column.name.as_str())).collect())
}

fn refuse_differences(plans: &[SchemaPlan], columns: &[String], indexes: &[String]) -> anyhow::Result<()> {
    let columns = columns.iter().map(|column| format!("`{column}`"));
    let parts: BTreeSet<String> = columns
        .chain(indexes.iter().flat_map(|index| [format!("INDEX `{index}`"), format!("INDEX {index}")]))
        .collect();
    let of_change = |change: &SchemaChange| -> Vec<String> {
        // A table that is missing has no differences.
        let all = change.differences.is_empty().then(|| TABLE.to_owned());
        let differing = change.differences.iter().map(|difference| difference.part.clone());
        all.into_iter().chain(differing.filter(|part| parts.contains(part))).collect()
    };
    let mut differences = Vec::new();
    for plan in plans {
        let changes = plan.changes.iter().filter(|change| change.object == TABLE);
        differences.extend(changes.flat_map(of_change).map(|part| format!("{part} on {}", plan.node)));
    }
    match differences.is_empty() {
        true => Ok(()),
        false => bail!(
            "{TABLE} differs from the config: {}; run posthouse schema plan and apply first",
            differences.join(", ")
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event_columns::EventProfile;

    #[test]
    fn names_each_column_once_in_the_order_of_the_table() {
        let columns = EventProfile::Posthog.columns();
        let names = ["$window_id", "$session_id", "$window_id"].map(str::to_owned);
        let found = known(&columns, &names).expect("all are known");
        assert_eq!(
            found.iter().map(|column| column.name.as_str()).collect::<Vec<_>>(),
            ["$session_id", "$window_id"]
        );
    }

    #[test]
    fn refuses_a_column_of_messages_with_the_names_that_it_takes() {
        let refused = |name: &str| {
            known(&EventProfile::Posthog.columns(), &[name.to_owned()]).expect_err(name).to_string()
        };
        assert!(refused("person_id").contains("these are: $group_0, "), "{}", refused("person_id"));
        let none = known(&[], &["x".to_owned()]).expect_err("x").to_string();
        assert!(none.contains("[[events.materialized]]"), "{none}");
    }
}
