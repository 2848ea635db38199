//! `[[shards]]` of an imported config, from `system.clusters` and the nodes.

use std::collections::BTreeSet;
use std::fmt::Write;

use anyhow::bail;
use serde::Deserialize;
use url::Url;

use super::super::cluster::ClusterRow;
use super::super::kafka_tables;
use super::persons::{consumer_name, reads_events};
use super::{ImportRequest, quoted};
use crate::node::{Node, NodeError, reach_all};
use crate::sql;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ImportedReplica {
    pub(crate) shard: usize,
    pub(crate) weight: u32,
    pub(crate) name: String,
    pub(crate) url: String,
    pub(crate) address: String,
    /// Whether posthouse's consumer of events is on the node, or on none.
    pub(crate) ingests: bool,
}

#[derive(Deserialize)]
struct Ports {
    shard: usize,
    tcp_port: u16,
    http_port: u16,
}

#[derive(Deserialize)]
struct ClusterName {
    cluster: String,
}

impl ImportedReplica {
    /// A node of which only the HTTP interface is known.
    pub(super) fn at(url: &Url) -> Self {
        Self {
            shard: 1,
            weight: 1,
            name: String::new(),
            url: url.to_string(),
            address: "localhost:9000".to_owned(),
            ingests: true,
        }
    }
}

/// Returns the replicas of a cluster, named `shard1-1` and so on.
pub(super) async fn replicas(request: &ImportRequest, node: &Node) -> anyhow::Result<Vec<ImportedReplica>> {
    let rows = node.query(sql::text("inspect/cluster.sql").unwrap_or_default());
    let rows: Vec<ClusterRow> = rows.param("cluster", &request.cluster).rows().await?;
    if rows.is_empty() {
        let names: Vec<ClusterName> =
            node.rows(sql::text("inspect/clusters.sql").unwrap_or_default()).await?;
        bail!(
            "remote_servers of {} has no cluster {}: give its name with --cluster (it has {})",
            request.url,
            request.cluster,
            names.into_iter().map(|row| row.cluster).collect::<Vec<_>>().join(", ")
        );
    }
    let ports = ports(request, node).await?;
    let default = request.url.port_or_known_default().unwrap_or(8123);
    let replica = |row: &ClusterRow| {
        let of_shard = || ports.iter().filter(|ports| ports.shard == row.shard);
        let port = of_shard().find(|ports| ports.tcp_port == row.port).or_else(|| of_shard().next());
        let port = port.map_or(default, |ports| ports.http_port);
        let host = if row.host.contains(':') { format!("[{}]", row.host) } else { row.host.clone() };
        ImportedReplica {
            shard: row.shard,
            weight: row.weight,
            name: format!("shard{}-{}", row.shard, row.replica),
            url: format!("{}://{host}:{port}", request.url.scheme()),
            address: format!("{host}:{}", row.port),
            ingests: true,
        }
    };
    Ok(rows.iter().map(replica).collect())
}

/// Returns the ports of all nodes. There are none if a proxy ends TLS before the nodes.
async fn ports(request: &ImportRequest, node: &Node) -> anyhow::Result<Vec<Ports>> {
    let is_https = request.url.scheme() == "https";
    let port = if is_https { "https_port" } else { "http_port" };
    let context = minijinja::context! { cluster => &request.cluster, port };
    match node.rows(&sql::render("inspect/http_ports.sql", context)?).await {
        Err(NodeError::Refused { .. }) if is_https => Ok(Vec::new()),
        ports => Ok(ports?),
    }
}

/// Sets names and roles of replicas from posthouse's existing consumers. The names are set if all
/// replicas that ingest have distinct ones.
pub(super) async fn describe(
    replicas: &mut [ImportedReplica],
    nodes: &[Node],
    database: &str,
) -> anyhow::Result<()> {
    reach_all(nodes).await?;
    let (mut names, mut readers) = (Vec::new(), Vec::new());
    for node in nodes {
        let tables = kafka_tables(node).await?;
        names.push(consumer_name(&tables, database));
        readers.push(reads_events(&tables, database));
    }
    let is_read = readers.contains(&true);
    for (replica, reads) in replicas.iter_mut().zip(readers) {
        replica.ingests = reads || !is_read;
    }
    let different: BTreeSet<&String> = names.iter().flatten().collect();
    let is_named = replicas.iter().zip(&names).all(|(replica, name)| name.is_some() || !replica.ingests);
    if is_named && different.len() == names.iter().flatten().count() {
        for (replica, name) in replicas.iter_mut().zip(names) {
            replica.name = name.unwrap_or_else(|| replica.name.clone());
        }
    }
    Ok(())
}

/// Formats `[[shards]]` of a config; the replicas of a shard must be adjacent.
pub(super) fn text(replicas: &[ImportedReplica]) -> String {
    let mut text = String::new();
    let mut last = None;
    for replica in replicas {
        if last.replace(replica.shard) != Some(replica.shard) {
            let _ = writeln!(text, "\n[[shards]]\nweight = {}", replica.weight);
        }
        let (name, url, address) = (quoted(&replica.name), quoted(&replica.url), quoted(&replica.address));
        let _ = writeln!(text, "\n[[shards.replicas]]\nname = {name}\nurl = {url}\naddress = {address}");
        if !replica.ingests {
            text.push_str("roles = [\"data\"]\n");
        }
    }
    text
}
