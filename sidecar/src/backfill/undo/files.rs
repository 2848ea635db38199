//! The files that an undo takes.

use anyhow::bail;
use minijinja::context;
use serde::Deserialize;

use super::UndoRequest;
use crate::backfill::ledger::LedgerError;
use crate::node::Node;
use crate::sql;

/// Maximum names in an error.
const MAX_NAMES: usize = 5;

/// Choice among a job's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FilesChoice {
    /// Those that no other job has.
    Own,
    /// All, also for other jobs that have them.
    All,
    /// Those that are undone, if rows of them are stored in spite of that.
    Undone,
}

/// A set of a job's files, as in `sql/backfill/file_set.sql`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FileSet {
    /// Not undone.
    Live,
    /// Not undone, and of no other job.
    Own,
    /// Marked by an undo that is not finished.
    Undoing,
    Undone,
}

impl FileSet {
    /// Name in the SQL files.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Own => "own",
            Self::Undoing => "undoing",
            Self::Undone => "undone",
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
struct UndoFile {
    file: String,
    undone_by: String,
    begun_at: String,
    other_jobs: Vec<String>,
    missing: Vec<String>,
}

/// The files of an undo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct UndoFiles {
    set: FileSet,
    /// Ids in the ledger, sorted.
    ids: Vec<String>,
    /// Other jobs that have some of them.
    other_jobs: Vec<String>,
    kept: usize,
    /// Time at which the first load of them began.
    begun_at: String,
}

impl UndoFiles {
    /// Chooses the files of the request's job.
    ///
    /// # Errors
    /// Fails if other jobs have some of the files and the request does not say how to treat them,
    /// or if an undo of another job has marked one.
    pub(super) async fn choose(
        node: &Node,
        database: &str,
        request: &UndoRequest<'_>,
    ) -> anyhow::Result<Self> {
        let set = match request.files {
            Some(FilesChoice::Undone) => FileSet::Undone,
            _ => FileSet::Live,
        };
        let sql = sql::render("backfill/undo_files.sql", context! { database, set => set.name() })
            .map_err(LedgerError::from)?;
        let files = node.query(&sql).param("job", request.job).rows::<UndoFile>().await;
        Self::of(request, &files.map_err(LedgerError::from)?)
    }

    fn of(request: &UndoRequest<'_>, files: &[UndoFile]) -> anyhow::Result<Self> {
        let job = request.job;
        if request.files == Some(FilesChoice::Undone) {
            return Self::taken(job, FileSet::Undone, files.iter().collect(), 0);
        }
        if let Some(other) = files.iter().map(|file| &file.undone_by).find(|by| !by.is_empty() && *by != job)
        {
            bail!(
                "an undo of job {other} has not finished with files of job {job}: posthouse backfill undo {other} --execute \
                 continues it"
            );
        }
        let (set, taken) = set_of(request, files)?;
        let missing: Vec<&String> = taken.iter().flat_map(|file| &file.missing).collect();
        if !missing.is_empty() {
            bail!(
                "files of job {job} were loaded together with others that it does not have, and can't be taken back alone: {}: \
                 undo job {} instead",
                names(missing.into_iter()),
                names(taken.iter().flat_map(|file| &file.other_jobs))
            );
        }
        let kept = files.len() - taken.len();
        Self::taken(job, set, taken, kept)
    }

    fn taken(job: &str, set: FileSet, taken: Vec<&UndoFile>, kept: usize) -> anyhow::Result<Self> {
        if taken.is_empty() {
            bail!("job {job} has no file that can be taken back: posthouse backfill status {job} shows it");
        }
        let mut other_jobs: Vec<String> = taken.iter().flat_map(|file| &file.other_jobs).cloned().collect();
        other_jobs.sort_unstable();
        other_jobs.dedup();
        let begun_at = taken.iter().map(|file| &file.begun_at).min().cloned().unwrap_or_default();
        let ids: Vec<String> = taken.iter().map(|file| file.file.clone()).collect();
        Ok(Self { set, kept, ids, other_jobs, begun_at })
    }

    /// All files that are undone.
    pub(super) fn undone() -> Self {
        let (ids, other_jobs, begun_at) = (Vec::new(), Vec::new(), String::new());
        Self { set: FileSet::Undone, ids, other_jobs, kept: 0, begun_at }
    }

    pub(super) fn set(&self) -> FileSet {
        self.set
    }

    pub(super) fn ids(&self) -> &[String] {
        &self.ids
    }

    pub(super) fn count(&self) -> usize {
        self.ids.len()
    }

    /// Files of the job that stay.
    pub(super) fn kept(&self) -> usize {
        self.kept
    }

    /// Time at which the first load of them began.
    pub(super) fn begun_at(&self) -> &str {
        &self.begun_at
    }

    /// Whether they are undone already.
    pub(super) fn is_undone(&self) -> bool {
        self.set == FileSet::Undone
    }

    /// Whether an undo has marked them.
    pub(super) fn is_begun(&self) -> bool {
        self.set == FileSet::Undoing
    }

    /// Changes the set after the files were marked.
    pub(super) fn begin(&mut self) {
        self.set = FileSet::Undoing;
    }

    /// All jobs that have some of them.
    pub(super) fn jobs<'f>(&'f self, job: &'f str) -> impl Iterator<Item = &'f str> {
        [job].into_iter().chain(self.other_jobs.iter().map(String::as_str))
    }
}

/// The set of an undo, and its files.
fn set_of<'f>(
    request: &UndoRequest<'_>,
    files: &'f [UndoFile],
) -> anyhow::Result<(FileSet, Vec<&'f UndoFile>)> {
    let marked: Vec<&UndoFile> = files.iter().filter(|file| !file.undone_by.is_empty()).collect();
    if !marked.is_empty() {
        return Ok((FileSet::Undoing, marked));
    }
    let (own, shared): (Vec<&UndoFile>, Vec<&UndoFile>) =
        files.iter().partition(|file| file.other_jobs.is_empty());
    match request.files {
        Some(FilesChoice::Own) if !shared.is_empty() => Ok((FileSet::Own, own)),
        None if !shared.is_empty() => bail!(
            "{} of {} files of job {} are also files of job {}: --files own keeps them and takes back the others, --files all \
             takes them back for all jobs",
            shared.len(),
            files.len(),
            request.job,
            names(shared.iter().flat_map(|file| &file.other_jobs))
        ),
        _ => Ok((FileSet::Live, files.iter().collect())),
    }
}

/// Some distinct names.
fn names<'n>(names: impl Iterator<Item = &'n String>) -> String {
    let mut names: Vec<&str> = names.map(String::as_str).collect();
    names.sort_unstable();
    names.dedup();
    match names.get(..MAX_NAMES) {
        Some(some) if names.len() > MAX_NAMES => {
            format!("{} and {} more", some.join(", "), names.len() - MAX_NAMES)
        }
        _ => names.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn request(files: Option<FilesChoice>) -> UndoRequest<'static> {
        UndoRequest { job: "j", files, accept_collapsed: 0, answer_holds: Duration::ZERO }
    }

    fn file(name: &str, other_jobs: &[&str]) -> UndoFile {
        let other_jobs = other_jobs.iter().map(|job| (*job).to_owned()).collect();
        UndoFile { file: name.to_owned(), begun_at: name.to_owned(), other_jobs, ..UndoFile::default() }
    }

    fn refused(choice: Option<FilesChoice>, files: &[UndoFile]) -> String {
        UndoFiles::of(&request(choice), files).expect_err("a refusal").to_string()
    }

    #[test]
    fn asks_how_to_treat_files_of_other_jobs() {
        let files = [file("a", &["k"]), file("b", &[])];
        let refusal = refused(None, &files);
        assert!(
            refusal.starts_with("1 of 2 files of job j are also files of job k: --files own"),
            "{refusal}"
        );
        let own = UndoFiles::of(&request(Some(FilesChoice::Own)), &files).expect("files");
        assert_eq!((own.set(), own.ids(), own.kept()), (FileSet::Own, &["b".to_owned()][..], 1));
        let all = UndoFiles::of(&request(Some(FilesChoice::All)), &files).expect("files");
        assert_eq!((all.count(), all.kept(), all.begun_at()), (2, 0, "a"));
        assert_eq!(all.jobs("j").collect::<Vec<_>>(), ["j", "k"]);
        assert!(refused(Some(FilesChoice::Own), &files[..1]).contains("no file that can be taken back"));
    }

    #[test]
    fn refuses_files_that_were_loaded_together_with_others() {
        let missing = ["/c", "/d"].map(str::to_owned).to_vec();
        let refusal = refused(Some(FilesChoice::All), &[UndoFile { missing, ..file("a", &["k"]) }]);
        assert!(refusal.contains("/c, /d: undo job k instead"), "{refusal}");
    }

    #[test]
    fn continues_with_the_files_of_an_unfinished_undo() {
        let by = |job: &str| UndoFile { undone_by: job.to_owned(), ..file("b", &["k"]) };
        let files = UndoFiles::of(&request(None), &[file("a", &[]), by("j")]).expect("files");
        assert_eq!((files.set(), files.count(), files.kept()), (FileSet::Undoing, 1, 1));
        let refusal = refused(None, &[by("k")]);
        assert!(refusal.contains("posthouse backfill undo k --execute"), "{refusal}");
    }
}
