//! Rights that an apply needs on every node.

use anyhow::bail;
use serde::Deserialize;

use crate::cluster::Cluster;
use crate::node::Node;
use crate::rights::{RIGHTS_OF_A_PAUSE, RIGHTS_OF_A_TAKEOVER};
use crate::sql;

#[derive(Deserialize)]
struct CheckedGrant {
    result: u8,
}

/// Refuses a user who could drop consumers and views and not create them again, before the first
/// step. `others` are databases of other consumers that are detached and attached.
///
/// # Errors
/// Names the nodes and the missing rights. A node that can't answer is passed over, because servers
/// before 24.8 lack the statement.
pub(crate) async fn refuse_missing_rights(cluster: &Cluster, others: &[&str]) -> anyhow::Result<()> {
    let config = &cluster.config;
    let database = format!("{}.", config.database);
    let pause = RIGHTS_OF_A_PAUSE.iter().map(|grant| grant.replace("DATABASE.", &database));
    let collection = config.kafka.named_collection.iter().map(|name| format!("NAMED COLLECTION ON {name}"));
    let others = others.iter().map(|other| RIGHTS_OF_A_TAKEOVER.replace("OTHER", other));
    let grants: Vec<String> = pause.chain(collection).chain(others).collect();
    let mut missing = Vec::new();
    for node in &cluster.all_nodes {
        for grant in &grants {
            if lacks(node, grant).await? {
                missing.push(format!("node {} needs GRANT {grant} TO {}", node.name, config.clickhouse.user));
            }
        }
    }
    if !missing.is_empty() {
        bail!(
            "user {} can't pause and resume ingestion, so no change was made: {}",
            config.clickhouse.user,
            missing.join("; ")
        );
    }
    Ok(())
}

async fn lacks(node: &Node, grant: &str) -> anyhow::Result<bool> {
    let sql = sql::render("inspect/check_grant.sql", minijinja::context! { grant })?;
    let checked: Vec<CheckedGrant> = match node.rows(&sql).await {
        Err(error) if error.code().is_some() => {
            tracing::debug!(node = %node.name, error = %error, "rights can't be checked");
            return Ok(false);
        }
        checked => checked?,
    };
    Ok(checked.iter().any(|grant| grant.result == 0))
}
