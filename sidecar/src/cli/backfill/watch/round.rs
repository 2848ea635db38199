//! One round of a watch: a listing, and loads of the files that are complete.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::load::WatchBatch;
use super::{FileWatcher, MAX_REPORTS, NO_LIMIT, UnmarkedFolders, stopped};
use crate::backfill::insert::Route;
use crate::backfill::ledger::bundle_files;
use crate::backfill::source::Skipped;
use crate::backfill::watch::{Listing, MarkedFiles, PendingFile, Sorted, batches, list};

impl FileWatcher<'_> {
    /// Loads the files that are complete now.
    ///
    /// # Errors
    /// Fails if a source or the cluster does not answer. The next round does the rest.
    pub(super) async fn round(&mut self) -> anyhow::Result<()> {
        self.reports = 0;
        self.heartbeat.beat("listing files", NO_LIMIT);
        let Listing { objects, markers, unreadable } = tokio::select! {
            listed = list(&self.sources, &self.arguments.files.sources) => listed?,
            () = stopped(&mut self.stop) => return Ok(()),
        };
        self.report_unreadable(unreadable);
        self.files.observe(&objects, Instant::now());
        self.markers.observe(markers, Instant::now()).await?;
        let marked = self.arguments.manifest.as_ref().map(|_| self.markers.assign(&objects));
        let loaded = self.load_complete(marked.as_ref()).await;
        if let Some(marked) = marked {
            self.unmarked = UnmarkedFolders::new(&marked, &objects, &self.files);
            self.report_markers(&marked);
        }
        if self.reports > MAX_REPORTS {
            tracing::warn!(files = self.reports - MAX_REPORTS, "further files can't be loaded");
        }
        loaded
    }

    /// Logs files that no load can read, when there are others than in the last round.
    fn report_unreadable(&mut self, unreadable: Vec<Skipped>) {
        if unreadable != self.unreadable && !unreadable.is_empty() {
            let files = unreadable.iter().map(Skipped::to_string).collect::<Vec<_>>().join("; ");
            tracing::warn!(%files, "files can't be read: rename, mend or remove them");
        }
        self.unreadable = unreadable;
    }

    async fn load_complete(&mut self, marked: Option<&MarkedFiles>) -> anyhow::Result<()> {
        self.count();
        if self.files.is_empty() {
            return Ok(());
        }
        let route = Route::choose(self.cluster, self.route).await?;
        let database = &self.cluster.config.database;
        if self.known.forget_undone(database, route.any()).await? {
            tracing::info!("an undo has finished: files that are not loaded any more are loaded again");
            self.files.forget_loaded();
        }
        let candidates = self.files.candidates(Instant::now(), self.arguments.at_rest);
        if candidates.is_empty() {
            return Ok(());
        }
        let Sorted { left, bundles, loaded, elsewhere } =
            self.known.sort(database, route.any(), candidates).await?;
        loaded.iter().for_each(|file| self.files.loaded(&file.location));
        if !elsewhere.is_empty() {
            tracing::info!(files = elsewhere.len(), "another process loads these files");
        }
        let begun = self.with_partners(&route, bundles).await?;
        let new = match marked {
            Some(marked) => self.marked_batches(left, marked),
            None => self.gathered_batches(left),
        };
        for batch in new.into_iter().chain(begun) {
            self.load_batch(&route, batch).await?;
        }
        Ok(())
    }

    /// Adds to the files of each bundle those that are no candidates now, because a bundle is
    /// continued with all of its files.
    async fn with_partners(
        &self,
        route: &Route,
        bundles: BTreeMap<String, Vec<PendingFile>>,
    ) -> anyhow::Result<Vec<WatchBatch>> {
        let ids: Vec<&str> = bundles.keys().map(String::as_str).collect();
        let mut locations = BTreeMap::<String, BTreeSet<String>>::new();
        for file in bundle_files(route.any(), &self.cluster.config.database, &ids).await? {
            locations.entry(file.file).or_default().insert(file.location);
        }
        let begun = bundles.into_iter().map(|(id, mut files)| {
            let mut partners = locations.remove(&id).unwrap_or_default();
            files.iter().for_each(|file| _ = partners.remove(&file.location));
            files.extend(partners.iter().filter_map(|location| self.files.pending(location)));
            WatchBatch::Begun(files)
        });
        Ok(begun.collect())
    }

    /// Returns the batches of files without markers. Small ones are loaded as one once they were
    /// gathered for a while.
    fn gathered_batches(&self, files: Vec<PendingFile>) -> Vec<WatchBatch> {
        let Some(gather) = self.arguments.gather else {
            return batches(files).into_iter().map(WatchBatch::Single).collect();
        };
        let (small, others): (Vec<PendingFile>, Vec<PendingFile>) =
            files.into_iter().partition(|file| !file.has_failed && self.request.cut.is_small(file.size));
        let age = small.iter().map(|file| file.since.elapsed()).max().unwrap_or_default();
        let bytes = small.iter().fold(0, |bytes: u64, file| bytes.saturating_add(file.size));
        let is_gathered = age >= self.arguments.at_rest + gather || bytes >= self.request.cut.unit_bytes;
        let small = if is_gathered { batches(small) } else { Vec::new() };
        let small = small.into_iter().map(WatchBatch::Bundled);
        small.chain(batches(others).into_iter().map(WatchBatch::Single)).collect()
    }

    /// Returns the batches of files that markers cover: one for each marker, because another watch
    /// then makes the same ones. Files of a marker wait for each other.
    fn marked_batches(&self, files: Vec<PendingFile>, marked: &MarkedFiles) -> Vec<WatchBatch> {
        let (now, at_rest) = (Instant::now(), self.arguments.at_rest);
        let changing = marked.complete.iter().filter(|(file, _)| self.files.is_changing(file, now, at_rest));
        let changing: BTreeSet<&str> = changing.map(|(_, marker)| marker.as_str()).collect();
        let mut sets = BTreeMap::<&str, (Vec<PendingFile>, Vec<PendingFile>)>::new();
        for file in files {
            let Some(marker) = marked.complete.get(&file.location) else { continue };
            if changing.contains(marker.as_str()) {
                continue;
            }
            let (new, failed) = sets.entry(marker).or_default();
            if file.has_failed { failed.push(file) } else { new.push(file) }
        }
        let sets = sets.into_values().flat_map(|(new, failed)| {
            let failed = batches(failed).into_iter().map(WatchBatch::Single);
            batches(new).into_iter().map(WatchBatch::Bundled).chain(failed)
        });
        sets.collect()
    }

    /// Logs faults of markers, each once.
    fn report_markers(&mut self, marked: &MarkedFiles) {
        let mut faults: BTreeMap<String, String> =
            self.markers.faults(Instant::now(), self.arguments.at_rest).into_iter().collect();
        let is_waiting = |file: &String| self.files.pending(file).is_some();
        // Loaded files are often moved away.
        let incomplete = marked.incomplete.iter().filter(|(_, list)| list.files.iter().any(is_waiting));
        faults.extend(incomplete.map(|(location, list)| (location.clone(), list.fault())));
        for (marker, error) in &faults {
            if self.marker_faults.get(marker) != Some(error) {
                self.metrics.failures.inc();
                self.reports += 1;
                if self.reports <= MAX_REPORTS {
                    tracing::warn!(file = %marker, error = %error, "manifest can't be used");
                }
            }
        }
        self.marker_faults = faults;
    }
}
