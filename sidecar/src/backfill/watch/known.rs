//! Files that the ledger has, also from other machines.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::PendingFile;
use crate::backfill::ledger::{Job, KnownFile, KnownFiles, LedgerError, jobs, known_files, undone_bundles};
use crate::backfill::plan::without_overtaken;
use crate::node::Node;

/// Candidates by their progress in the ledger.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Sorted {
    /// To be loaded, or resumed.
    pub(crate) left: Vec<PendingFile>,
    /// To be resumed together, by the bundle in which a load began them.
    pub(crate) bundles: BTreeMap<String, Vec<PendingFile>>,
    /// Loaded completely.
    pub(crate) loaded: Vec<PendingFile>,
    /// Being loaded by another process, as far as its progress shows.
    pub(crate) elsewhere: Vec<PendingFile>,
}

/// Progress of jobs, as of the last look.
#[derive(Debug, Default)]
pub(crate) struct KnownLoads {
    complete: HashSet<String>,
    /// Time of the last record of each incomplete job.
    last_records: HashMap<String, String>,
    /// Jobs of this process, which no other process continues for it.
    own: HashSet<String>,
    has_looked: bool,
    /// Bundles that are undone, as of the last look; `None` before the first.
    undone: Option<u64>,
}

impl KnownLoads {
    /// Remembers a job of this process.
    pub(crate) fn is_own(&mut self, job: &str) {
        self.own.insert(job.to_owned());
    }

    /// Returns whether an undo has finished since the last call, so that files may no longer be
    /// loaded. Forgets the progress of jobs then.
    pub(crate) async fn forget_undone(&mut self, database: &str, node: &Node) -> Result<bool, LedgerError> {
        let undone = undone_bundles(node, database).await?;
        let is_new = self.undone.replace(undone).is_some_and(|before| before != undone);
        if is_new {
            self.complete.clear();
            self.last_records.clear();
        }
        Ok(is_new)
    }

    /// Sorts candidates by their progress in the ledger. A job of another process is waited for
    /// until it has made no progress since the last look.
    pub(crate) async fn sort(
        &mut self,
        database: &str,
        node: &Node,
        candidates: Vec<PendingFile>,
    ) -> Result<Sorted, LedgerError> {
        let locations: Vec<&str> = candidates.iter().map(|file| file.location.as_str()).collect();
        // Copies elsewhere are found when the load is planned.
        let known = known_files(node, database, &locations, &[]).await?;
        let known = without_overtaken(database, node, known).await?;
        let wanted: BTreeSet<&str> =
            candidates.iter().flat_map(|file| loads_of(file, &known)).map(|load| load.job.as_str()).collect();
        let looked = self.look(database, node, &wanted).await?;
        let mut sorted = Sorted::default();
        for file in candidates {
            let loads: Vec<&KnownFile> = loads_of(&file, &known).collect();
            if loads.iter().any(|load| self.complete.contains(&load.job)) {
                sorted.loaded.push(file);
            } else if loads.iter().any(|load| self.is_moving(&load.job, looked.get(&load.job))) {
                sorted.elsewhere.push(file);
            } else if let Some(bundle) = loads.first().filter(|load| load.bundle_files > 1) {
                sorted.bundles.entry(bundle.file.clone()).or_default().push(file);
            } else {
                sorted.left.push(file);
            }
        }
        for (job, last_record) in looked {
            self.last_records.insert(job, last_record);
        }
        Ok(sorted)
    }

    /// Reads the progress of these jobs, unless they are known to be complete. Returns the last
    /// records of the incomplete ones.
    async fn look(
        &mut self,
        database: &str,
        node: &Node,
        wanted: &BTreeSet<&str>,
    ) -> Result<HashMap<String, String>, LedgerError> {
        let unknown: Vec<&str> = wanted.iter().copied().filter(|job| !self.complete.contains(*job)).collect();
        let mut found: Vec<Job> = Vec::new();
        if !unknown.is_empty() && !self.has_looked {
            // At the start the files of the sources may come from many jobs.
            found = jobs(node, database, None).await?;
            self.has_looked = true;
        } else {
            for job in unknown {
                found.extend(jobs(node, database, Some(job)).await?);
            }
        }
        // An undo that is not finished takes rows out that are still counted.
        let is_loaded = |job: &Job| job.is_complete() && job.undoing_files == 0;
        let (complete, incomplete): (Vec<Job>, Vec<Job>) = found.into_iter().partition(is_loaded);
        for job in complete {
            self.last_records.remove(&job.job);
            self.complete.insert(job.job);
        }
        let is_wanted = |job: &Job| wanted.contains(job.job.as_str());
        Ok(incomplete.into_iter().filter(is_wanted).map(|job| (job.job, job.last_at)).collect())
    }

    fn is_moving(&self, job: &str, last_record: Option<&String>) -> bool {
        !self.own.contains(job) && last_record.is_some_and(|last| self.last_records.get(job) != Some(last))
    }
}

/// Returns the loads of a file with its present bytes, the oldest first.
fn loads_of<'k>(file: &PendingFile, known: &'k KnownFiles) -> impl Iterator<Item = &'k KnownFile> {
    let identity = file.identity.clone();
    known.at(&file.location).filter(move |load| {
        load.identity.strip_prefix(&identity).is_some_and(|rest| rest.starts_with(", footer "))
    })
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn known(job: &str, location: &str, identity: &str) -> KnownFile {
        KnownFile {
            job: job.to_owned(),
            location: location.to_owned(),
            identity: identity.to_owned(),
            at: job.to_owned(),
            ..KnownFile::example()
        }
    }

    #[test]
    fn loads_of_a_file_are_those_of_its_present_bytes() {
        let file = |location: &str, identity: &str| PendingFile {
            location: location.to_owned(),
            identity: identity.to_owned(),
            size: 1,
            since: Instant::now(),
            has_failed: false,
        };
        let candidates = [file("/a", "5 bytes"), file("/b", "6 bytes")];
        let records = [
            known("1", "/a", "5 bytes, footer x"),
            known("2", "/a", "5 bytes, footer x"),
            known("3", "/a", "5 bytes of then, footer x"),
            known("4", "/b", "5 bytes, footer x"),
            known("5", "/c", "5 bytes, footer x"),
        ];
        let known = KnownFiles::new(records.to_vec());
        let jobs = |file| loads_of(file, &known).map(|load| load.job.as_str()).collect::<Vec<_>>();
        assert_eq!([jobs(&candidates[0]), jobs(&candidates[1])], [vec!["1", "2"], vec![]]);
    }

    #[test]
    fn a_job_elsewhere_moves_until_it_has_no_new_record() {
        let mut loads = KnownLoads::default();
        let at = |time: &str| Some(time.to_owned());
        assert!(loads.is_moving("j", at("1").as_ref()) && !loads.is_moving("j", None));
        loads.last_records.insert("j".to_owned(), "1".to_owned());
        assert!(loads.is_moving("j", at("2").as_ref()) && !loads.is_moving("j", at("1").as_ref()));
        loads.is_own("j");
        assert!(!loads.is_moving("j", at("2").as_ref()));
    }
}
