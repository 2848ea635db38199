//! Files of watched sources and their states.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::backfill::source::Object;

/// Files of one load: few enough that their footers fit into memory.
const MAX_BATCH_FILES: usize = 1_000;
/// Bytes of the files of one load, except of a single larger file.
const MAX_BATCH_BYTES: u64 = 64 << 30;
/// Wait before a file that failed is tried again without a change. Doubles with each try.
const MIN_RETRY: Duration = Duration::from_secs(60);
const MAX_RETRY: Duration = Duration::from_secs(3_600);

/// A file that is to be loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PendingFile {
    pub(crate) location: String,
    /// Identity of the object, without its footer.
    pub(crate) identity: String,
    pub(crate) size: u64,
    /// First listing with this identity.
    pub(crate) since: Instant,
    /// Whether a load of it has failed.
    pub(crate) has_failed: bool,
}

/// All files of the sources, as of the last listing.
#[derive(Debug, Default)]
pub(crate) struct WatchedFiles {
    by_location: BTreeMap<String, WatchedFile>,
}

#[derive(Debug)]
struct WatchedFile {
    identity: String,
    size: u64,
    /// First listing with this identity.
    since: Instant,
    state: WatchState,
}

#[derive(Debug)]
enum WatchState {
    /// Not loaded yet, as far as this process knows.
    Waiting,
    /// The ledger has the file completely.
    Loaded,
    Failing {
        reason: String,
        tries: u32,
        /// `None` if only a change of the file helps.
        retry_at: Option<Instant>,
    },
}

impl WatchedFiles {
    /// Takes a listing of all sources. A file that has changed starts again.
    pub(crate) fn observe(&mut self, objects: &[Object], now: Instant) {
        let mut before = std::mem::take(&mut self.by_location);
        for object in objects {
            let identity = object.identity().to_string();
            let known = before.remove(&object.location).filter(|known| known.identity == identity);
            let new = || WatchedFile { identity, size: object.size, since: now, state: WatchState::Waiting };
            self.by_location.entry(object.location.clone()).or_insert_with(|| known.unwrap_or_else(new));
        }
    }

    /// Returns the files that were unchanged for `at_rest` and are not loaded, in the order of
    /// locations. A file that failed is among them only after a wait.
    pub(crate) fn candidates(&self, now: Instant, at_rest: Duration) -> Vec<PendingFile> {
        let is_candidate = |file: &WatchedFile| match file.state {
            WatchState::Waiting => now.duration_since(file.since) >= at_rest,
            WatchState::Loaded => false,
            WatchState::Failing { retry_at, .. } => retry_at.is_some_and(|retry_at| retry_at <= now),
        };
        let files = self.by_location.iter().filter(|(_, file)| is_candidate(file));
        files.map(pending).collect()
    }

    /// Returns a file that is not loaded, if the sources have it.
    pub(crate) fn pending(&self, location: &str) -> Option<PendingFile> {
        let file = self.by_location.get_key_value(location);
        file.filter(|(_, file)| !matches!(file.state, WatchState::Loaded)).map(pending)
    }

    /// Whether a file has changed within `at_rest`, so that it is no candidate yet.
    pub(crate) fn is_changing(&self, location: &str, now: Instant, at_rest: Duration) -> bool {
        self.by_location.get(location).is_some_and(|file| {
            matches!(file.state, WatchState::Waiting) && now.duration_since(file.since) < at_rest
        })
    }

    /// Forgets which files are loaded, because some may have been undone.
    pub(crate) fn forget_loaded(&mut self) {
        for file in self.by_location.values_mut() {
            if matches!(file.state, WatchState::Loaded) {
                file.state = WatchState::Waiting;
            }
        }
    }

    /// Records that the ledger has the file completely.
    pub(crate) fn loaded(&mut self, location: &str) {
        if let Some(file) = self.by_location.get_mut(location) {
            file.state = WatchState::Loaded;
        }
    }

    /// Records a failed load of files, which are tried again later, and all at once because they
    /// may be one bundle. Returns the files for which the reason is a new one.
    pub(crate) fn failed<'f>(
        &mut self,
        files: &'f [PendingFile],
        reason: &str,
        now: Instant,
    ) -> Vec<&'f PendingFile> {
        let tries = files.iter().map(|file| self.tries(&file.location)).max().unwrap_or_default();
        let wait = MIN_RETRY.saturating_mul(2_u32.saturating_pow(tries)).min(MAX_RETRY);
        let mut fail = |file: &&PendingFile| self.fail(&file.location, reason, tries + 1, Some(now + wait));
        files.iter().filter(&mut fail).collect()
    }

    /// Records a load that must not be tried again. Returns whether the reason is a new one.
    pub(crate) fn given_up(&mut self, location: &str, reason: &str) -> bool {
        self.fail(location, reason, self.tries(location), None)
    }

    fn tries(&self, location: &str) -> u32 {
        match self.by_location.get(location).map(|file| &file.state) {
            Some(WatchState::Failing { tries, .. }) => *tries,
            _ => 0,
        }
    }

    fn fail(&mut self, location: &str, reason: &str, tries: u32, retry_at: Option<Instant>) -> bool {
        let Some(file) = self.by_location.get_mut(location) else { return true };
        let is_known = matches!(&file.state, WatchState::Failing { reason: known, .. } if known == reason);
        file.state = WatchState::Failing { reason: reason.to_owned(), tries, retry_at };
        !is_known
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_location.is_empty()
    }

    /// Returns the number of files that wait to be loaded.
    pub(crate) fn waiting(&self) -> u64 {
        self.count(|state| matches!(state, WatchState::Waiting))
    }

    /// Returns the number of files whose load failed.
    pub(crate) fn failing(&self) -> u64 {
        self.count(|state| matches!(state, WatchState::Failing { .. }))
    }

    fn count(&self, is: impl Fn(&WatchState) -> bool) -> u64 {
        self.by_location.values().filter(|file| is(&file.state)).count() as u64
    }
}

fn pending((location, file): (&String, &WatchedFile)) -> PendingFile {
    PendingFile {
        location: location.clone(),
        identity: file.identity.clone(),
        size: file.size,
        since: file.since,
        has_failed: matches!(file.state, WatchState::Failing { .. }),
    }
}

/// Splits files into those of one load each.
pub(crate) fn batches(files: Vec<PendingFile>) -> Vec<Vec<PendingFile>> {
    let mut batches: Vec<Vec<PendingFile>> = Vec::new();
    let mut bytes = 0_u64;
    for file in files {
        bytes = bytes.saturating_add(file.size);
        match batches.last_mut() {
            Some(batch) if batch.len() < MAX_BATCH_FILES && bytes <= MAX_BATCH_BYTES => batch.push(file),
            _ => {
                bytes = file.size;
                batches.push(vec![file]);
            }
        }
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;

    const REST: Duration = Duration::from_secs(30);

    fn object(folder: &std::path::Path, name: &str, bytes: &[u8]) -> Object {
        let path = folder.join(name);
        std::fs::write(&path, bytes).expect("a file");
        let argument = path.to_str().expect("UTF-8").to_owned();
        let expanded = crate::backfill::source::Sources::default();
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(expanded.expand(&[argument])).expect("a file").remove(0)
    }

    fn names(files: &WatchedFiles, now: Instant) -> Vec<String> {
        let name =
            |candidate: PendingFile| candidate.location.rsplit('/').next().unwrap_or_default().to_owned();
        files.candidates(now, REST).into_iter().map(name).collect()
    }

    #[test]
    fn a_file_is_a_candidate_once_it_was_unchanged_for_a_while() {
        let folder = tempfile::tempdir().expect("a folder");
        let (a, b) = (object(folder.path(), "a", b"1"), object(folder.path(), "b", b"1"));
        let (begin, mut files) = (Instant::now(), WatchedFiles::default());
        files.observe(&[a.clone(), b.clone()], begin);
        assert_eq!(names(&files, begin + REST / 2), [""; 0]);
        // b grows.
        let grown = object(folder.path(), "b", b"12");
        files.observe(&[a.clone(), grown.clone()], begin + REST / 2);
        assert_eq!(names(&files, begin + REST), ["a"]);
        assert_eq!(names(&files, begin + REST * 2), ["a", "b"]);
        files.loaded(&a.location);
        files.observe(&[a, grown], begin + REST * 2);
        assert_eq!(names(&files, begin + REST * 2), ["b"]);
        assert_eq!((files.waiting(), files.failing()), (1, 0));
        files.observe(&[], begin + REST * 3);
        assert_eq!((files.waiting(), files.failing()), (0, 0));
    }

    #[test]
    fn a_fault_is_reported_once_and_tried_again_later() {
        let folder = tempfile::tempdir().expect("a folder");
        let a = object(folder.path(), "a", b"1");
        let (begin, mut files) = (Instant::now(), WatchedFiles::default());
        files.observe(std::slice::from_ref(&a), begin);
        let of = [files.pending(&a.location).expect("not loaded")];
        assert_eq!(files.failed(&of, "broken", begin).len(), 1);
        assert_eq!(names(&files, begin + MIN_RETRY - Duration::from_secs(1)), [""; 0]);
        assert_eq!(names(&files, begin + MIN_RETRY), ["a"]);
        let second = begin + MIN_RETRY;
        assert!(files.failed(&of, "broken", second).is_empty());
        assert_eq!(names(&files, second + MIN_RETRY), [""; 0]);
        assert_eq!(names(&files, second + MIN_RETRY * 2), ["a"]);
        assert_eq!((files.failed(&of, "of another team", second).len(), files.failing()), (1, 1));
        for _ in 0..100 {
            files.failed(&of, "of another team", second);
        }
        assert_eq!(names(&files, second + MAX_RETRY), ["a"]);
        assert!(files.given_up(&a.location, "cancelled"));
        assert_eq!(names(&files, second + MAX_RETRY * 100), [""; 0]);
        // A change of the file starts again.
        let changed = object(folder.path(), "a", b"12");
        files.observe(&[changed], second);
        assert_eq!(names(&files, second + REST), ["a"]);
    }

    #[test]
    fn files_that_fail_together_are_tried_again_together() {
        let folder = tempfile::tempdir().expect("a folder");
        let (a, b) = (object(folder.path(), "a", b"1"), object(folder.path(), "b", b"1"));
        let (begin, mut files) = (Instant::now(), WatchedFiles::default());
        files.observe(&[a.clone(), b.clone()], begin);
        let of = |files: &WatchedFiles, object: &Object| files.pending(&object.location).expect("there");
        let first = [of(&files, &a)];
        files.failed(&first, "broken", begin);
        assert!(of(&files, &a).has_failed && !of(&files, &b).has_failed);
        let both = [of(&files, &a), of(&files, &b)];
        let second = begin + MIN_RETRY;
        assert_eq!(files.failed(&both, "gone", second).len(), 2);
        assert_eq!(names(&files, second + MIN_RETRY), [""; 0]);
        assert_eq!(names(&files, second + MIN_RETRY * 2), ["a", "b"]);
        // A file that was loaded and undone is a candidate again, and another one is not sooner.
        files.loaded(&a.location);
        assert!(files.pending(&a.location).is_none());
        files.forget_loaded();
        assert_eq!(names(&files, second), ["a"]);
        assert!(files.is_changing(&a.location, begin, REST) && !files.is_changing(&b.location, begin, REST));
    }

    #[test]
    fn batches_have_bounds() {
        let since = Instant::now();
        let [location, identity] = [String::new(), String::new()];
        let batched = PendingFile { location, identity, size: 0, since, has_failed: false };
        let file = |size| PendingFile { size, ..batched.clone() };
        let sizes = |files: Vec<PendingFile>| batches(files).iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(sizes(vec![file(1); 2_500]), [1_000, 1_000, 500]);
        assert_eq!(sizes(vec![file(MAX_BATCH_BYTES / 2); 3]), [2, 1]);
        assert_eq!(sizes(vec![file(1), file(MAX_BATCH_BYTES * 2), file(1)]), [1, 1, 1]);
        assert_eq!(sizes(Vec::new()), [0; 0]);
    }
}
