//! The task of `posthouse run` that keeps a node's index built, and up to date with its topic.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::build::build_in;
use super::folder::{self, IndexFolder};
use super::follow::Following;
use super::indexed_node::{IndexedNode, Outdated, RETRY, STEP_TIMEOUT};
use super::live::LiveIndex;
use super::source::DistinctIdSource;
use crate::backoff::Backoff;
use crate::cluster::Cluster;
use crate::metrics::PersonIndexMetrics;
use crate::node::Node;
use crate::supervise::{Heartbeat, stopped};
use crate::udf;

/// Interval of looks whether there are functions, and whether another process has ended.
const WAIT_INTERVAL: Duration = Duration::from_secs(10);
/// Limit of a build. A billion versions take an hour.
const BUILD_TIMEOUT: Duration = Duration::from_secs(12 * 3600);

/// Keeps the index of a node until `stop` is true.
pub(crate) async fn keep(
    cluster: Arc<Cluster>,
    node: Node,
    metrics: PersonIndexMetrics,
    heartbeat: Heartbeat,
    mut stop: watch::Receiver<bool>,
) {
    let kept = IndexedNode { cluster: &cluster, node: &node, metrics: &metrics, heartbeat: &heartbeat };
    tokio::select! {
        biased;
        () = stopped(&mut stop) => {}
        never = run(&kept) => match never {},
    }
    metrics.forget(&node.name);
}

async fn run(kept: &IndexedNode<'_>) -> Infallible {
    let (mut backoff, mut is_outdated) = (Backoff::new(RETRY[0], RETRY[1]), false);
    loop {
        let begun = Instant::now();
        let Err(error) = attempt(kept, is_outdated).await else {
            // There are no functions, or another process keeps the index.
            kept.metrics.forget(&kept.node.name);
            sleep(WAIT_INTERVAL).await;
            continue;
        };
        is_outdated = IndexedNode::needs_build(&error);
        if begun.elapsed() > RETRY[1] {
            backoff.reset();
        }
        let wait = backoff.wait();
        kept.report(&error, wait);
        sleep(wait).await;
    }
}

/// Keeps the index until an error. Returns at once if it is not to be kept now.
async fn attempt(kept: &IndexedNode<'_>, is_outdated: bool) -> anyhow::Result<()> {
    kept.heartbeat.beat("looking for functions", STEP_TIMEOUT);
    if !udf::function_names(kept.node).await?.contains("personOf") {
        kept.heartbeat.impaired(None);
        kept.heartbeat.rest("no functions are installed (posthouse udf install)");
        return Ok(());
    }
    let path = folder::path(kept.node).context("the disk of the node is elsewhere")?;
    let Some(folder) = IndexFolder::try_lock(path)? else {
        kept.heartbeat.impaired(None);
        kept.heartbeat.rest("another process keeps the index");
        return Ok(());
    };
    kept.heartbeat.ready();
    let live = open(kept, folder, is_outdated).await?;
    kept.heartbeat.impaired(None);
    let offsets = live.index().manifest().offsets.iter();
    let from = offsets.map(|offset| i64::try_from(*offset).unwrap_or(i64::MAX)).collect();
    let reader = kept.reader(from).await?;
    Following::new(kept, reader).run(live).await
}

/// Opens the published index if it is whole and of the node's table, or builds it.
async fn open(kept: &IndexedNode<'_>, folder: IndexFolder, is_outdated: bool) -> anyhow::Result<LiveIndex> {
    folder.clean()?;
    let table = DistinctIdSource::of(kept.cluster, kept.node).await?;
    let source = table.number(&kept.cluster.config);
    kept.heartbeat.beat("checking the person index", BUILD_TIMEOUT);
    let opened = tokio::task::spawn_blocking(move || LiveIndex::open(folder)).await?;
    let (folder, reason) = match opened {
        Ok(live) if is_outdated => (live.into_folder(), "it is outdated".to_owned()),
        Ok(live) if live.index().manifest().identity.source != source => {
            (live.into_folder(), Outdated::Table.to_string())
        }
        Ok(live) if live.index().manifest().offsets.is_empty() => {
            (live.into_folder(), "it does not say which messages it has".to_owned())
        }
        Ok(live) => return Ok(live),
        Err((folder, error)) => (folder, error.to_string()),
    };
    tracing::info!(reason = %reason, "building the person index");
    kept.heartbeat.beat("building the person index", BUILD_TIMEOUT);
    let begun = Instant::now();
    let (folder, built) = build_in(folder, kept.cluster, kept.node, &|_, _| {}).await?;
    kept.metrics.built(&kept.node.name, begun.elapsed());
    tracing::info!(
        entries = built.entries,
        bytes = built.bytes,
        seconds = begun.elapsed().as_secs(),
        "built the person index"
    );
    let opened = tokio::task::spawn_blocking(move || LiveIndex::open(folder)).await?;
    opened.map_err(|(_, error)| error.into())
}
