//! Loads of a watch.

use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;

use super::{FileWatcher, NO_LIMIT, stopped};
use crate::backfill::insert::Route;
use crate::backfill::memory::{block_bytes, decoding};
use crate::backfill::plan::{Bundling, LoadPlan, PlanProgress, RacedLoad, make};
use crate::backfill::run::{Limits, Progress, Stop, dry_run, run};
use crate::backfill::watch::{PendingFile, is_outage};
use crate::cli::backfill::verify;

/// Files of one load.
#[derive(Debug)]
pub(super) enum WatchBatch {
    /// Loaded as one if they are small. They are read once before, because a faulty file would
    /// hold up the others of its bundle.
    Bundled(Vec<PendingFile>),
    /// Loaded each on its own, so that none depends on another.
    Single(Vec<PendingFile>),
    /// A bundle that an earlier load has begun.
    Begun(Vec<PendingFile>),
}

/// A load that ended with an error.
struct LoadFault {
    error: anyhow::Error,
    /// Whether the ledger may have bundles of its files, which are continued as they are.
    has_begun: bool,
}

impl LoadFault {
    fn before(error: anyhow::Error) -> Self {
        Self { error, has_begun: false }
    }
}

impl WatchBatch {
    fn files(&self) -> &[PendingFile] {
        let (Self::Bundled(files) | Self::Single(files) | Self::Begun(files)) = self;
        files
    }

    fn bundling(&self) -> Bundling {
        match self {
            Self::Bundled(_) => Bundling::SmallFiles,
            Self::Single(_) | Self::Begun(_) => Bundling::Never,
        }
    }

    /// Returns the batches that isolate a faulty file, or the batch if it can't be divided.
    fn divided(self) -> Result<Vec<Self>, Self> {
        match self {
            Self::Bundled(files) => Ok(vec![Self::Single(files)]),
            Self::Single(mut files) if files.len() > 1 => {
                let second = files.split_off(files.len() / 2);
                Ok(vec![Self::Single(second), Self::Single(files)])
            }
            whole => Err(whole),
        }
    }
}

impl FileWatcher<'_> {
    /// Loads the files of a batch. If one is at fault, the batch is divided until the others are
    /// loaded.
    pub(super) async fn load_batch(&mut self, route: &Route, batch: WatchBatch) -> anyhow::Result<()> {
        let mut left = vec![batch];
        while let Some(batch) = left.pop() {
            match self.load(route, &batch).await {
                Ok(None) => batch.files().iter().for_each(|file| self.files.loaded(&file.location)),
                Ok(Some(Stop::Cancelled)) => {
                    let reason = "its job was cancelled: restart the watch to load it";
                    batch.files().iter().for_each(|file| _ = self.files.given_up(&file.location, reason));
                }
                Ok(Some(Stop::Interrupted | Stop::Failed)) => return Ok(()),
                Err(LoadFault { error, .. }) if is_outage(&error) => return Err(error),
                // The next round waits for the other process.
                Err(LoadFault { error, .. }) if error.is::<RacedLoad>() => {
                    let files = batch.files().len();
                    tracing::info!(files, "another process has just begun to load these files");
                }
                Err(LoadFault { error, has_begun: true }) => self.fail(batch.files(), &error),
                Err(LoadFault { error, has_begun: false }) => match batch.divided() {
                    Ok(parts) => left.extend(parts),
                    Err(whole) => self.fail(whole.files(), &error),
                },
            }
        }
        Ok(())
    }

    /// Runs one load of a batch. Returns the reason of an early stop.
    async fn load(&mut self, route: &Route, batch: &WatchBatch) -> Result<Option<Stop>, LoadFault> {
        let files = batch.files().len();
        self.request.sources = batch.files().iter().map(|file| file.location.clone()).collect();
        self.request.bundling = batch.bundling();
        self.heartbeat.beat(format!("planning a load of {files} files"), NO_LIMIT);
        let (database, opened) = (&self.cluster.config.database, PlanProgress::default());
        let plan = tokio::select! {
            plan = make(database, route, &self.request, &opened) => Arc::new(plan.map_err(LoadFault::before)?),
            () = stopped(&mut self.stop) => return Ok(Some(Stop::Interrupted)),
        };
        // Large pages leave less for blocks.
        let memory = self.arguments.files.memory_bytes();
        self.limits.block_bytes = block_bytes(memory, plan.page_bytes);
        self.limits.decoding = decoding(memory, plan.page_bytes);
        if matches!(batch, WatchBatch::Bundled(_)) && plan.has_bundles() {
            let stop = self.check(route, plan.clone()).await.map_err(LoadFault::before)?;
            if stop.is_some() {
                return Ok(stop);
            }
        }
        let has_begun = plan.has_bundles();
        let ended = self.run_load(route, plan.clone(), files).await;
        let ended = ended.map_err(|error| LoadFault { error, has_begun })?;
        if ended.is_none() && self.arguments.verify {
            self.prove(route, &plan).await;
        }
        Ok(ended)
    }

    /// Reads and maps all rows, without writing any. Returns the reason of an early stop.
    async fn check(&mut self, route: &Route, plan: Arc<LoadPlan>) -> anyhow::Result<Option<Stop>> {
        self.heartbeat.beat(format!("checking {} files", self.request.sources.len()), NO_LIMIT);
        // Rejected rows are stored by the load.
        let limits = Limits { quarantine: None, ..self.limits.clone() };
        let progress = Arc::new(Progress::default());
        let mut work = pin!(dry_run(route, plan, &limits, progress.clone()));
        let (_, stopped) = tokio::select! {
            ended = &mut work => ended?,
            () = stopped(&mut self.stop) => {
                progress.stop(Stop::Interrupted);
                work.await?
            }
        };
        Ok(stopped)
    }

    /// Runs a planned load of so many files.
    async fn run_load(
        &mut self,
        route: &Route,
        plan: Arc<LoadPlan>,
        files: usize,
    ) -> anyhow::Result<Option<Stop>> {
        self.known.is_own(&plan.job);
        self.heartbeat.beat(format!("loading {files} files as job {}", plan.job), NO_LIMIT);
        let (progress, begin) = (Arc::new(Progress::default()), Instant::now());
        let ended = {
            let config = &self.cluster.config;
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
            self.metrics.loaded.inc_by(files as u64);
            let seconds = begin.elapsed().as_secs_f64();
            tracing::info!(job = %plan.job, files, rows, rejected, seconds, "files loaded");
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
}
