//! The task of `posthouse run` that keeps the index of a node: built, and up to date with its topic.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use posthouse_udf::snapshot::SnapshotError;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::build::build_in;
use super::folder::{self, IndexFolder};
use super::follow::Following;
use super::live::LiveIndex;
use super::source::SourceTable;
use crate::backoff::Backoff;
use crate::cluster::Cluster;
use crate::kafka::{MessagesGone, TopicReader};
use crate::metrics::PersonIndexMetrics;
use crate::node::Node;
use crate::supervise::{Heartbeat, stopped};
use crate::udf;

/// Interval of looks whether there are functions, and whether another process has ended.
const WAIT_INTERVAL: Duration = Duration::from_secs(10);
/// Waits after a fault.
pub(super) const RETRY: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(60)];
/// Limit of a question to a node or a broker.
const STEP_TIMEOUT: Duration = Duration::from_secs(120);
/// Limit of a build. A billion versions take an hour.
const BUILD_TIMEOUT: Duration = Duration::from_secs(12 * 3600);

/// The node's index no longer belongs to its table or topic.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum Outdated {
    #[error("the table of distinct ids was made anew")]
    Table,
    #[error("the topic of distinct ids has fewer partitions than before")]
    Partitions,
}

/// Keeps the index of a node until `stop` is true.
pub(crate) async fn keep(
    cluster: Arc<Cluster>,
    node: Node,
    metrics: PersonIndexMetrics,
    heartbeat: Heartbeat,
    mut stop: watch::Receiver<bool>,
) {
    let keeper = Keeper { cluster: &cluster, node: &node, metrics: &metrics, heartbeat: &heartbeat };
    tokio::select! {
        biased;
        () = stopped(&mut stop) => {}
        never = keeper.run() => match never {},
    }
    metrics.forget(&node.name);
}

/// The index of one node.
pub(super) struct Keeper<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) node: &'a Node,
    pub(super) metrics: &'a PersonIndexMetrics,
    pub(super) heartbeat: &'a Heartbeat,
}

impl Keeper<'_> {
    async fn run(&self) -> Infallible {
        let (mut backoff, mut is_outdated) = (Backoff::new(RETRY[0], RETRY[1]), false);
        loop {
            let begun = Instant::now();
            let Err(error) = self.attempt(is_outdated).await else {
                // There are no functions, or another process keeps the index.
                self.metrics.forget(&self.node.name);
                sleep(WAIT_INTERVAL).await;
                continue;
            };
            is_outdated = Self::needs_build(&error);
            if begun.elapsed() > RETRY[1] {
                backoff.reset();
            }
            let wait = backoff.wait();
            self.report(&error, wait);
            sleep(wait).await;
        }
    }

    /// Whether the index has to be built before it can be kept.
    pub(super) fn needs_build(error: &anyhow::Error) -> bool {
        error.is::<Outdated>() || error.is::<MessagesGone>() || error.is::<SnapshotError>()
    }

    /// Reports a fault before a wait.
    pub(super) fn report(&self, error: &anyhow::Error, wait: Duration) {
        let error = format!("{error:#}");
        tracing::warn!(error = %error, retry_in = ?wait, "the person index is not kept");
        self.metrics.errors.inc();
        self.heartbeat.beat("waiting to keep the person index", wait + STEP_TIMEOUT);
        self.heartbeat.impaired(Some(format!("the person index of {} is not kept: {error}", self.node.name)));
    }

    /// Keeps the index until an error. Returns at once if it is not to be kept now.
    async fn attempt(&self, is_outdated: bool) -> anyhow::Result<()> {
        self.heartbeat.beat("looking for functions", STEP_TIMEOUT);
        if !udf::is_loaded(self.node, "personOf").await? {
            self.heartbeat.impaired(None);
            self.heartbeat.rest("no functions are installed (posthouse udf install)");
            return Ok(());
        }
        let path = folder::path(self.node).context("the disk of the node is elsewhere")?;
        let Some(folder) = IndexFolder::try_lock(path)? else {
            self.heartbeat.impaired(None);
            self.heartbeat.rest("another process keeps the index");
            return Ok(());
        };
        let live = self.open(folder, is_outdated).await?;
        self.heartbeat.impaired(None);
        self.heartbeat.ready();
        let offsets = live.index().manifest().offsets.iter();
        let from = offsets.map(|offset| i64::try_from(*offset).unwrap_or(i64::MAX)).collect();
        let reader = self.reader(from).await?;
        Following::new(self, reader).run(live).await
    }

    pub(super) async fn reader(&self, from: Vec<i64>) -> anyhow::Result<TopicReader> {
        Ok(TopicReader::new(self.cluster.kafka()?, self.topic()?, from).await?)
    }

    fn topic(&self) -> anyhow::Result<&str> {
        let persons = self.cluster.config.persons.as_ref().context("the config has no [persons]")?;
        Ok(&persons.distinct_id_topic)
    }

    /// Opens the published index if it is whole and of the node's table, or builds it.
    async fn open(&self, folder: IndexFolder, is_outdated: bool) -> anyhow::Result<LiveIndex> {
        folder.clean()?;
        let table = SourceTable::of(self.cluster, self.node).await?;
        let source = table.number(&self.cluster.config);
        self.heartbeat.beat("checking the person index", BUILD_TIMEOUT);
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
        self.heartbeat.beat("building the person index", BUILD_TIMEOUT);
        let begun = Instant::now();
        let (folder, built) = build_in(folder, self.cluster, self.node, &|_, _| {}).await?;
        self.metrics.built(&self.node.name, begun.elapsed());
        tracing::info!(
            entries = built.entries,
            bytes = built.bytes,
            seconds = begun.elapsed().as_secs(),
            "built the person index"
        );
        let opened = tokio::task::spawn_blocking(move || LiveIndex::open(folder)).await?;
        opened.map_err(|(_, error)| error.into())
    }

    /// Fails if the table is another one, or the topic has fewer partitions. Returns their number.
    pub(super) async fn check_source(&self, source: u64, partitions: usize) -> anyhow::Result<usize> {
        let table = SourceTable::of(self.cluster, self.node).await?;
        if table.number(&self.cluster.config) != source {
            return Err(Outdated::Table.into());
        }
        let topic = self.topic()?;
        let topics = self.cluster.kafka()?.cluster().await?.topics;
        let missing = || format!("there is no topic {topic}: run posthouse topics apply");
        let found = topics.get(topic).with_context(missing)?.partitions.len();
        if found < partitions {
            return Err(Outdated::Partitions.into());
        }
        Ok(found)
    }
}
