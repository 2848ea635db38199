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

/// How all files of a job are loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct How<'a> {
    /// The weights of the shards.
    pub(super) weights: &'a [u32],
    /// The cut of files that nobody has begun.
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

/// The cut of each file, in the order of `files`, or every reason against loading them.
pub(super) fn claim(
    files: &[Wanted<'_>],
    known: &[KnownFile],
    how: How<'_>,
    repeat: Repeat,
) -> Result<Vec<Cut>, Vec<String>> {
    let (mut cuts, mut faults) = (Vec::new(), Vec::new());
    for file in files {
        let here = known.iter().filter(|known| known.location == file.location);
        let (same, others): (Vec<&KnownFile>, Vec<&KnownFile>) = here
            .partition(|known| known.identity == file.identity && known.mapping_fingerprint == file.mapping);
        if repeat == Repeat::Refuse && same.is_empty() {
            faults.extend(others.last().map(|known| fault(file, known)));
        }
        let begun = same.first();
        if let Some(known) = begun.filter(|known| known.weights != how.weights) {
            faults.push(format!(
                "{}: job {} began it while the shards had the weights {:?}, and they are {:?} now: its rows would be cut \
                 into other blocks; finish it under the old weights, or remove its rows",
                file.location, known.job, known.weights, how.weights
            ));
        }
        cuts.push(
            begun.map_or(how.cut, |known| Cut {
                slice_bytes: known.slice_bytes,
                unit_bytes: known.unit_bytes,
            }),
        );
    }
    if faults.is_empty() { Ok(cuts) } else { Err(faults) }
}

fn fault(file: &Wanted<'_>, known: &KnownFile) -> String {
    let Wanted { location, identity, .. } = file;
    let KnownFile { job, at, .. } = known;
    let next = format!("posthouse backfill status {job} shows it; --again loads the file in addition");
    if known.identity == *identity {
        format!("{location}: job {job} began to load it at {at} under another mapping or team: {next}")
    } else {
        format!(
            "{location}: its bytes have changed since job {job} began to load it at {at} (it was {}, it is {identity}): {next}",
            known.identity
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CUT: Cut = Cut { slice_bytes: 10, unit_bytes: 20 };
    const OLD: Cut = Cut { slice_bytes: 5, unit_bytes: 6 };
    const HOW: How<'_> = How { weights: &[1, 3], cut: CUT };
    const FILES: [Wanted<'_>; 1] = [Wanted { location: "/a", identity: "1", mapping: "m" }];

    fn known() -> KnownFile {
        KnownFile {
            job: "j".to_owned(),
            location: "/a".to_owned(),
            identity: "1".to_owned(),
            mapping_fingerprint: "m".to_owned(),
            weights: vec![1, 3],
            slice_bytes: OLD.slice_bytes,
            unit_bytes: OLD.unit_bytes,
            at: "then".to_owned(),
        }
    }

    fn refused(known: KnownFile) -> String {
        claim(&FILES, &[known], HOW, Repeat::Refuse).expect_err("a fault").join("\n")
    }

    #[test]
    fn a_new_file_is_cut_as_wanted_and_a_begun_one_as_it_was() {
        assert_eq!(claim(&FILES, &[], HOW, Repeat::Refuse), Ok(vec![CUT]));
        assert_eq!(claim(&FILES, &[known()], HOW, Repeat::Refuse), Ok(vec![OLD]));
    }

    #[test]
    fn what_would_be_loaded_twice_is_refused() {
        assert!(
            refused(KnownFile { identity: "2".to_owned(), ..known() }).contains("its bytes have changed")
        );
        assert!(
            refused(KnownFile { mapping_fingerprint: "n".to_owned(), ..known() }).contains("another mapping")
        );
        assert!(refused(KnownFile { weights: vec![1, 1], ..known() }).contains("weights [1, 1]"));
    }

    #[test]
    fn whoever_wants_it_twice_gets_it() {
        let changed = KnownFile { identity: "2".to_owned(), ..known() };
        assert_eq!(claim(&FILES, &[changed], HOW, Repeat::Allow), Ok(vec![CUT]));
    }
}
