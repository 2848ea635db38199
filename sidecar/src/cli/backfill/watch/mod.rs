//! `posthouse backfill watch`: loads files as they appear, and serves health and metrics.

mod load;
mod round;
mod unmarked;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use tokio::sync::watch::{self, Receiver};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use self::unmarked::UnmarkedFolders;
use super::request::WatchArguments;
use super::stop::on_signals;
use crate::backfill::insert::RouteChoice;
use crate::backfill::memory::{block_bytes, decoding};
use crate::backfill::plan::Request;
use crate::backfill::run::{DEFAULT_ANSWER_HOLDS, Limits};
use crate::backfill::source::{Skipped, Sources};
use crate::backfill::watch::{KnownLoads, Markers, PendingFile, WatchedFiles, list};
use crate::cli::Outcome;
use crate::cli::output::Output;
use crate::cluster::Cluster;
use crate::config::{Daemon, HostPort};
use crate::http::{HttpError, HttpInterface, Reported};
use crate::metrics::{MetricRegistry, ProcessCollector, TaskCollector, WatchMetrics};
use crate::supervise::{Board, Heartbeat, stopped};

/// Faults of files that one round logs. Metrics count all.
const MAX_REPORTS: usize = 20;
/// Time for HTTP responses at the end.
const HTTP_STOP_TIMEOUT: Duration = Duration::from_secs(2);
/// A listing, a plan or a load has its own time limits and retries.
const NO_LIMIT: Duration = Duration::MAX;

pub(super) async fn watch(
    cluster: &Cluster,
    arguments: &WatchArguments,
    output: Output,
) -> anyhow::Result<Outcome> {
    let files = &arguments.files;
    let request = files.request(&cluster.config.events.columns)?;
    let (board, mut registry) = (Board::default(), MetricRegistry::default());
    let (metrics, heartbeat) = (WatchMetrics::register(&mut registry), board.heartbeat("watch"));
    let (stopper, stop) = watch::channel(false);
    let (http_stopper, http_stopped) = watch::channel(false);
    let daemon = &cluster.config.daemon;
    let server = serve(&arguments.listen, daemon, board, registry, http_stopped).await?;
    let signalled = move || _ = stopper.send_replace(true);
    tokio::spawn(on_signals(signalled, output));
    let watcher = FileWatcher {
        cluster,
        arguments,
        route: files.route(),
        limits: Limits {
            block_bytes: block_bytes(files.memory_bytes(), 0),
            decoding: decoding(files.memory_bytes(), 0),
            rejects: arguments.rejects.max_rejects,
            quarantine: Some(arguments.rejects.quarantine.clone()),
            answer_holds: DEFAULT_ANSWER_HOLDS,
        },
        request,
        sources: Sources::from_env().with_markers(arguments.manifest.clone()),
        files: WatchedFiles::default(),
        known: KnownLoads::default(),
        markers: Markers::default(),
        unmarked: UnmarkedFolders::default(),
        marker_faults: BTreeMap::new(),
        unreadable: Vec::new(),
        metrics,
        heartbeat,
        stop,
        reports: 0,
    };
    let ended = watcher.run().await;
    http_stopper.send_replace(true);
    server.await.context("the HTTP interface failed")??;
    ended.map(|()| Outcome::Clean)
}

/// Serves health and metrics until `stop` is set, with the protection of `[daemon]`.
async fn serve(
    listen: &HostPort,
    daemon: &Daemon,
    board: Board,
    mut registry: MetricRegistry,
    stop: Receiver<bool>,
) -> anyhow::Result<JoinHandle<anyhow::Result<()>>> {
    let http =
        HttpInterface::bind(listen, daemon).await.map_err(|error| match error.downcast::<HttpError>() {
            Ok(HttpError { address, source }) => {
                let problem =
                    format!("can't serve HTTP at {address}: free the address, or give another --listen");
                anyhow::Error::from(source).context(problem)
            }
            Err(other) => other,
        })?;
    TaskCollector::register(&mut registry, &board);
    registry.build_info();
    ProcessCollector::register(&mut registry);
    let reported = Reported { board: board.clone(), metrics: Arc::new(registry) };
    let task = http.task(reported, HTTP_STOP_TIMEOUT);
    Ok(tokio::spawn(async move { task.supervise(&board, stop).await }))
}

struct FileWatcher<'a> {
    cluster: &'a Cluster,
    arguments: &'a WatchArguments,
    route: RouteChoice,
    limits: Limits,
    /// Its sources are those of one load.
    request: Request,
    sources: Sources,
    files: WatchedFiles,
    known: KnownLoads,
    markers: Markers,
    unmarked: UnmarkedFolders,
    /// Faults of markers that were logged, by location.
    marker_faults: BTreeMap<String, String>,
    /// Files of the last listing that no load can read.
    unreadable: Vec<Skipped>,
    metrics: WatchMetrics,
    heartbeat: Heartbeat,
    stop: Receiver<bool>,
    /// Faults of files in this round.
    reports: usize,
}

impl FileWatcher<'_> {
    /// Repeats rounds until a stop is requested.
    ///
    /// # Errors
    /// Fails if the first listing does, because of a wrong address rather than an outage.
    async fn run(mut self) -> anyhow::Result<()> {
        let WatchArguments { files, at_rest, every, listen, .. } = self.arguments;
        tracing::info!(sources = %files.sources.join(" "), ?at_rest, ?every, %listen, "watching");
        let mut last_error = String::new();
        list(&self.sources, &files.sources).await?;
        while !*self.stop.borrow() {
            match self.round().await {
                Ok(()) => {
                    self.heartbeat.ready();
                    self.metrics.last_success.set([], now());
                    last_error.clear();
                }
                Err(error) => {
                    let error = format!("{error:#}");
                    self.metrics.errors.inc();
                    self.heartbeat.not_ready(error.as_str());
                    if error != last_error {
                        tracing::warn!(error = %error, retry_in = ?every, "files can't be looked for or loaded");
                    }
                    last_error = error;
                }
            }
            self.count();
            self.heartbeat.beat(format!("waiting for files{}", self.unmarked.text(now())), NO_LIMIT);
            tokio::select! {
                () = sleep(*every) => {}
                () = stopped(&mut self.stop) => {}
            }
        }
        tracing::info!("stopped");
        Ok(())
    }

    /// Records the fault of files, and logs each for which it is a new one.
    fn fail(&mut self, files: &[PendingFile], error: &anyhow::Error) {
        let reason = format!("{error:#}");
        for file in self.files.failed(files, &reason, Instant::now()) {
            self.metrics.failures.inc();
            self.reports += 1;
            if self.reports <= MAX_REPORTS {
                tracing::warn!(file = %file.location, error = %reason, "file can't be loaded");
            }
        }
    }

    fn count(&self) {
        self.metrics.waiting.set([], self.files.waiting());
        let unreadable: u64 = self.unreadable.iter().map(|skipped| skipped.files).sum();
        self.metrics.failing.set([], self.files.failing() + unreadable);
        self.unmarked.count(&self.metrics);
    }
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
