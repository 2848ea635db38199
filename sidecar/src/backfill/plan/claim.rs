//! Whether files may be loaded, given what the ledger remembers of them: nothing is loaded twice by mistake.

use super::units::Cut;
use crate::backfill::ledger::KnownFile;

/// A file that is to be loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wanted<'a> {
    /// Where it is.
    pub(super) location: &'a str,
    /// What its bytes are known by.
    pub(super) identity: &'a str,
    /// What the mapping means for it, with the team of the command line.
    pub(super) mapping: &'a str,
}

/// How files are loaded that nobody has begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct How {
    /// The weights of the shards.
    pub(super) weights: Vec<u32>,
    /// The cut.
    pub(super) cut: Cut,
}

/// What to do about files that were loaded in another form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// They are refused.
    Refuse,
    /// Their rows come in addition to those that are there.
    Allow,
}

/// How each file is loaded, in the order of `files`, or every reason against loading them. A file that was begun is loaded as
/// it was begun.
pub(super) fn claim(
    files: &[Wanted<'_>],
    known_files: &[KnownFile],
    how: &How,
    repeat: Repeat,
) -> Result<Vec<How>, Vec<String>> {
    let (mut hows, mut faults) = (Vec::new(), Vec::new());
    for file in files {
        let is_same = |known: &&KnownFile| {
            known.location == file.location
                && known.identity == file.identity
                && known.mapping_fingerprint == file.mapping
        };
        let Some(begun) = known_files.iter().find(is_same) else {
            if repeat == Repeat::Refuse {
                faults.extend(other_form(file, files, known_files));
            }
            hows.push(how.clone());
            continue;
        };
        let cut = Cut { slice_bytes: begun.slice_bytes, unit_bytes: begun.unit_bytes };
        hows.push(How { weights: begun.weights.clone(), cut });
    }
    if faults.is_empty() { Ok(hows) } else { Err(faults) }
}

/// The shards that take rows under these weights.
pub(super) fn owners(weights: &[u32]) -> Vec<u32> {
    (1..).zip(weights).filter(|(_, weight)| **weight > 0).map(|(shard, _)| shard).collect()
}

/// Why a file that nobody has begun in this form is better not loaded.
fn other_form(file: &Wanted<'_>, files: &[Wanted<'_>], known_files: &[KnownFile]) -> Option<String> {
    let Wanted { location, identity, .. } = file;
    let next =
        |job: &str| format!("posthouse backfill status {job} shows it; --again loads the file in addition");
    let here = known_files.iter().rfind(|known| known.location == *location);
    // A copy that is loaded along with its original is wanted.
    let copied = |known: &&KnownFile| {
        known.identity == *identity
            && known.mapping_fingerprint == file.mapping
            && files.iter().all(|wanted| wanted.location != known.location)
    };
    match (here, known_files.iter().find(copied)) {
        (Some(KnownFile { job, at, .. }), _) if here.is_some_and(|known| known.identity == *identity) => {
            Some(format!(
                "{location}: job {job} began to load it at {at} under another mapping or team: {}",
                next(job)
            ))
        }
        (Some(KnownFile { job, at, identity: was, .. }), _) => Some(format!(
            "{location}: its bytes have changed since job {job} began to load it at {at} (it was {was}, it is {identity}): {}",
            next(job)
        )),
        (None, Some(KnownFile { job, location: other, .. })) => Some(format!(
            "{location}: it has the same bytes as {other}, which job {job} has begun to load: {}",
            next(job)
        )),
        (None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CUT: Cut = Cut { slice_bytes: 10, unit_bytes: 20 };
    const OLD: Cut = Cut { slice_bytes: 5, unit_bytes: 6 };
    const FILES: [Wanted<'_>; 1] = [Wanted { location: "/a", identity: "1", mapping: "m" }];

    fn how(weights: &[u32], cut: Cut) -> How {
        How { weights: weights.to_vec(), cut }
    }

    fn known() -> KnownFile {
        KnownFile {
            job: "j".to_owned(),
            file: "f".to_owned(),
            location: "/a".to_owned(),
            identity: "1".to_owned(),
            mapping_fingerprint: "m".to_owned(),
            weights: vec![1, 3],
            slice_bytes: OLD.slice_bytes,
            unit_bytes: OLD.unit_bytes,
            at: "then".to_owned(),
        }
    }

    fn claimed(known: &[KnownFile], repeat: Repeat) -> Result<Vec<How>, Vec<String>> {
        claim(&FILES, known, &how(&[1, 3], CUT), repeat)
    }

    fn refused(known: KnownFile) -> String {
        claimed(&[known], Repeat::Refuse).expect_err("a fault").join("\n")
    }

    #[test]
    fn a_new_file_is_loaded_as_wanted_and_a_begun_one_as_it_was() {
        assert_eq!(claimed(&[], Repeat::Refuse), Ok(vec![how(&[1, 3], CUT)]));
        assert_eq!(claimed(&[known()], Repeat::Refuse), Ok(vec![how(&[1, 3], OLD)]));
        // Begun under other weights: they are what tells whether it is done.
        let other = KnownFile { weights: vec![1], ..known() };
        assert_eq!(claimed(&[other], Repeat::Refuse), Ok(vec![how(&[1], OLD)]));
    }

    #[test]
    fn what_would_be_loaded_twice_is_refused() {
        assert!(
            refused(KnownFile { identity: "2".to_owned(), ..known() }).contains("its bytes have changed")
        );
        assert!(
            refused(KnownFile { mapping_fingerprint: "n".to_owned(), ..known() }).contains("another mapping")
        );
        assert!(refused(KnownFile { location: "/b".to_owned(), ..known() }).contains("the same bytes as /b"));
    }

    #[test]
    fn whoever_wants_it_twice_gets_it() {
        let changed = KnownFile { identity: "2".to_owned(), ..known() };
        assert_eq!(claimed(&[changed], Repeat::Allow), Ok(vec![how(&[1, 3], CUT)]));
    }

    #[test]
    fn shards_without_weight_own_nothing() {
        assert_eq!(owners(&[2, 0, 3]), [1, 3]);
    }
}
