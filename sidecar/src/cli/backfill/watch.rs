//! `posthouse backfill watch`: loads files as they appear, and serves health and metrics.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use tokio::sync::watch::{self, Receiver};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::request::WatchArguments;
use super::stop::on_signals;
use super::verify;
use crate::backfill::insert::{Route, RouteChoice};
use crate::backfill::memory::{block_bytes, decoding};
use crate::backfill::plan::{Bundling, LoadPlan, PlanProgress, RacedLoad, Request, make};
use crate::backfill::run::{DEFAULT_ANSWER_HOLDS, Limits, Progress, Stop, run};
use crate::backfill::source::Sources;
use crate::backfill::watch::{KnownLoads, PendingFile, Sorted, WatchedFiles, batches, is_outage, list};
use crate::cli::Outcome;
use crate::cli::output::Output;
use crate::cluster::Cluster;
use crate::config::HostPort;
use crate::http::{self, Reported};
use crate::metrics::{MetricRegistry, ProcessCollector, TaskCollector, WatchMetrics};
use crate::supervise::{Board, Heartbeat, Task, stopped};

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
    // A file that can't be loaded must not hold up others, nor others be bundled by another watch.
    let request = Request { bundling: Bundling::Never, ..request };
    let (board, mut registry) = (Board::default(), MetricRegistry::default());
    let (metrics, heartbeat) = (WatchMetrics::register(&mut registry), board.heartbeat("watch"));
    let (stopper, stop) = watch::channel(false);
    let (http_stopper, http_stopped) = watch::channel(false);
    let server = serve(&arguments.listen, board, registry, http_stopped).await?;
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
        sources: Sources::from_env(),
        files: WatchedFiles::default(),
        known: KnownLoads::default(),
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

/// Serves health and metrics until `stop` is set.
async fn serve(
    listen: &HostPort,
    board: Board,
    mut registry: MetricRegistry,
    stop: Receiver<bool>,
) -> anyhow::Result<JoinHandle<anyhow::Result<()>>> {
    let listener = http::bind(listen).await.map_err(|error| error.source);
    let wrong = || format!("can't serve HTTP at {listen}: free the address, or give another --listen");
    let listener = Arc::new(listener.with_context(wrong)?);
    TaskCollector::register(&mut registry, &board);
    registry.build_info();
    ProcessCollector::register(&mut registry);
    let router = http::router(Reported { board: board.clone(), metrics: Arc::new(registry) });
    let task = Task::new("http", HTTP_STOP_TIMEOUT, move |heartbeat, stop| {
        http::serve(listener.clone(), router.clone(), heartbeat, stop)
    });
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
            self.heartbeat.beat("waiting for files", NO_LIMIT);
            tokio::select! {
                () = sleep(*every) => {}
                () = stopped(&mut self.stop) => {}
            }
        }
        tracing::info!("stopped");
        Ok(())
    }

    /// Loads the files that are complete now.
    ///
    /// # Errors
    /// Fails if a source or the cluster does not answer. The next round does the rest.
    async fn round(&mut self) -> anyhow::Result<()> {
        self.reports = 0;
        self.heartbeat.beat("listing files", NO_LIMIT);
        let objects = tokio::select! {
            listed = list(&self.sources, &self.arguments.files.sources) => listed?,
            () = stopped(&mut self.stop) => return Ok(()),
        };
        self.files.observe(&objects, Instant::now());
        drop(objects);
        self.count();
        let candidates = self.files.candidates(Instant::now(), self.arguments.at_rest);
        if candidates.is_empty() {
            return Ok(());
        }
        let route = Route::choose(self.cluster, self.route).await?;
        let database = &self.cluster.config.database;
        let Sorted { left, bundles, loaded, elsewhere } =
            self.known.sort(database, route.any(), candidates).await?;
        loaded.iter().for_each(|file| self.files.loaded(&file.location));
        if !elsewhere.is_empty() {
            tracing::info!(files = elsewhere.len(), "another process loads these files");
        }
        for batch in batches(left).into_iter().chain(bundles.into_values()) {
            self.load_batch(&route, batch).await?;
        }
        if self.reports > MAX_REPORTS {
            tracing::warn!(files = self.reports - MAX_REPORTS, "further files can't be loaded");
        }
        Ok(())
    }

    /// Loads the files of a batch. If one is at fault, the batch is halved until the others are
    /// loaded.
    async fn load_batch(&mut self, route: &Route, batch: Vec<PendingFile>) -> anyhow::Result<()> {
        let mut left = vec![batch];
        while let Some(mut batch) = left.pop() {
            match (self.load(route, &batch).await, batch.as_slice()) {
                (Ok(None), files) => files.iter().for_each(|file| self.files.loaded(&file.location)),
                (Ok(Some(Stop::Cancelled)), files) => {
                    let reason = "its job was cancelled: restart the watch to load it";
                    files.iter().for_each(|file| _ = self.files.given_up(&file.location, reason));
                }
                (Ok(Some(Stop::Interrupted | Stop::Failed)), _) => return Ok(()),
                (Err(error), _) if is_outage(&error) => return Err(error),
                // The next round waits for the other process.
                (Err(error), _) if error.is::<RacedLoad>() => {
                    tracing::info!(files = batch.len(), "another process has just begun to load these files");
                }
                (Err(error), [file]) => self.fail(file, &error),
                (Err(_), _) => {
                    let second = batch.split_off(batch.len() / 2);
                    left.extend([second, batch]);
                }
            }
        }
        Ok(())
    }

    /// Runs one load of these files. Returns the reason of an early stop.
    async fn load(&mut self, route: &Route, files: &[PendingFile]) -> anyhow::Result<Option<Stop>> {
        let config = &self.cluster.config;
        self.request.sources = files.iter().map(|file| file.location.clone()).collect();
        self.heartbeat.beat(format!("planning a load of {} files", files.len()), NO_LIMIT);
        let opened = PlanProgress::default();
        let plan = tokio::select! {
            plan = make(&config.database, route, &self.request, &opened) => Arc::new(plan?),
            () = stopped(&mut self.stop) => return Ok(Some(Stop::Interrupted)),
        };
        self.known.is_own(&plan.job);
        self.heartbeat.beat(format!("loading {} files as job {}", files.len(), plan.job), NO_LIMIT);
        let (progress, begin) = (Arc::new(Progress::default()), Instant::now());
        // Large pages leave less for blocks.
        let memory = self.arguments.files.memory_bytes();
        self.limits.block_bytes = block_bytes(memory, plan.page_bytes);
        self.limits.decoding = decoding(memory, plan.page_bytes);
        let ended = {
            let mut work = pin!(run(config, route, plan.clone(), &self.limits, progress.clone()));
            tokio::select! {
                ended = &mut work => ended,
                () = stopped(&mut self.stop) => {
                    progress.stop(Stop::Interrupted);
                    work.await
                }
            }
        };
        let (rows, rejected) = (progress.stored.get(), progress.rejected.get());
        self.metrics.rows.inc_by(rows);
        self.metrics.rejected_rows.inc_by(rejected);
        let ended = ended?;
        if ended.is_none() {
            self.metrics.loaded.inc_by(files.len() as u64);
            let seconds = begin.elapsed().as_secs_f64();
            tracing::info!(job = %plan.job, files = files.len(), rows, rejected, seconds, "files loaded");
            if self.arguments.verify {
                self.prove(route, &plan).await;
            }
        }
        Ok(ended)
    }

    /// Verifies a load. A failed verification does not stop the watch.
    async fn prove(&self, route: &Route, plan: &Arc<LoadPlan>) {
        let (job, decoding) = (&plan.job, self.limits.decoding);
        self.heartbeat.beat(format!("verifying job {job}"), NO_LIMIT);
        match verify::prove(self.cluster, route, plan, decoding).await {
            Ok(proof) if proof.is_proven() => {
                tracing::info!(job = %job, rows = proof.rows, blocks = proof.blocks, "load is proven");
            }
            Ok(_) => {
                self.metrics.errors.inc();
                let hint = format!("posthouse backfill verify {job}");
                tracing::error!(job = %job, hint = %hint, "load is not proven");
            }
            Err(error) => {
                self.metrics.errors.inc();
                tracing::error!(job = %job, error = %format_args!("{error:#}"), "load can't be verified");
            }
        }
    }

    fn fail(&mut self, file: &PendingFile, error: &anyhow::Error) {
        let reason = format!("{error:#}");
        if !self.files.failed(&file.location, &reason, Instant::now()) {
            return;
        }
        self.metrics.failures.inc();
        self.reports += 1;
        if self.reports <= MAX_REPORTS {
            tracing::warn!(file = %file.location, error = %reason, "file can't be loaded");
        }
    }

    fn count(&self) {
        self.metrics.waiting.set([], self.files.waiting());
        self.metrics.failing.set([], self.files.failing());
    }
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
