//! Check of files against previous loads.
//!
//! No file is loaded twice by mistake.

use std::collections::{BTreeSet, HashSet};

use super::units::Cut;
use crate::backfill::extra::FilledColumn;
use crate::backfill::ledger::{KnownFile, KnownFiles, UndoMark};

/// A file of the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RequestedFile<'a> {
    pub(super) location: &'a str,
    /// Identity of the file's bytes.
    pub(super) identity: &'a str,
    /// Fingerprint of the mapping for this file, with the team of the command line.
    pub(super) mapping: &'a str,
    /// Fingerprints of the same mapping when the config had fewer columns.
    pub(super) earlier: &'a [String],
    pub(super) rows: u64,
}

/// Settings for the load of new files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LoadSettings {
    /// The weights of the shards.
    pub(super) weights: Vec<u32>,
    pub(super) cut: Cut,
}

/// Treatment of files that were loaded in another form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IfLoaded {
    /// Refuse to load them.
    Refuse,
    /// Load their rows in addition to the existing ones.
    LoadAgain,
}

/// Whether a load of a file was begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PreviousLoad {
    None,
    /// In this bundle of so many files, with these settings.
    Begun {
        bundle: String,
        file_count: u32,
        settings: LoadSettings,
    },
}

/// Returns the previous load of each file, in the order of `files`, or every reason to refuse them.
pub(super) fn check_previous_loads(
    files: &[RequestedFile<'_>],
    known: &KnownFiles,
    if_loaded: IfLoaded,
) -> Result<Vec<PreviousLoad>, Vec<String>> {
    let (mut previous, mut faults) = (Vec::new(), Vec::new());
    let requested: HashSet<&str> = files.iter().map(|file| file.location).collect();
    for file in files {
        if let Some(undone) = being_undone(file, known) {
            faults.push(undone);
            previous.push(PreviousLoad::None);
            continue;
        }
        let Some(begun) = first_load(file, known) else {
            if if_loaded == IfLoaded::Refuse {
                faults.extend(other_form(file, &requested, known));
            }
            previous.push(PreviousLoad::None);
            continue;
        };
        let cut = Cut { slice_bytes: begun.slice_bytes, unit_bytes: begun.unit_bytes };
        previous.push(PreviousLoad::Begun {
            bundle: begun.file.clone(),
            file_count: begun.bundle_files,
            settings: LoadSettings { weights: begun.weights.clone(), cut },
        });
    }
    if faults.is_empty() { Ok(previous) } else { Err(faults) }
}

/// Returns the first load of these bytes here, under this mapping.
pub(super) fn first_load<'k>(file: &RequestedFile<'_>, known: &'k KnownFiles) -> Option<&'k KnownFile> {
    known
        .at(file.location)
        .find(|known| known.identity == file.identity && known.mapping_fingerprint == file.mapping)
}

/// Returns the shards that take rows under these weights.
pub(super) fn owners(weights: &[u32]) -> Vec<u32> {
    (1..).zip(weights).filter(|(_, weight)| **weight > 0).map(|(shard, _)| shard).collect()
}

/// Returns the reason to refuse a file whose undo is not finished.
fn being_undone(file: &RequestedFile<'_>, known: &KnownFiles) -> Option<String> {
    let KnownFile { location, undone_by, .. } =
        known.at(file.location).find(|known| known.undo == UndoMark::Undoing)?;
    Some(format!(
        "{location}: an undo of job {undone_by} has not finished with it: posthouse backfill undo {undone_by} --execute \
         continues it, then load the file"
    ))
}

/// Returns the reason to refuse a file that was not begun in this form.
fn other_form(
    file: &RequestedFile<'_>,
    requested: &HashSet<&str>,
    known_files: &KnownFiles,
) -> Option<String> {
    let RequestedFile { location, identity, .. } = file;
    let next = |job: &str| {
        format!("posthouse backfill status {job} shows it; --allow-reload loads the file in addition")
    };
    let here = known_files.at(location).next_back();
    // A copy in the same load as its original is intended. Empty files are often equal.
    let copied = |known: &&KnownFile| {
        file.rows > 0
            && (known.mapping_fingerprint == file.mapping
                || file.earlier.contains(&known.mapping_fingerprint))
            && !requested.contains(known.location.as_str())
    };
    match (here, known_files.with_bytes(identity).find(copied)) {
        (Some(KnownFile { job, at, .. }), _) if here.is_some_and(|known| known.identity == *identity) => {
            let difference =
                here.map_or_else(String::new, |known| difference(&known.mapping_fingerprint, file.mapping));
            Some(format!("{location}: job {job} started to load it at {at} {difference}: {}", next(job)))
        }
        (Some(KnownFile { job, at, identity: was, .. }), _) => Some(format!(
            "{location}: its bytes have changed since job {job} started to load it at {at} (it was {was}, it is {identity}): {}",
            next(job)
        )),
        (None, Some(KnownFile { job, location: other, .. })) => Some(format!(
            "{location}: it has the same bytes as {other}, which job {job} has started to load: {}",
            next(job)
        )),
        (None, None) => None,
    }
}

/// Names the difference between two fingerprints.
fn difference(known: &str, wanted: &str) -> String {
    let names = |fingerprint: &str| -> BTreeSet<String> {
        let columns = FilledColumn::in_fingerprint(fingerprint).unwrap_or_default();
        columns.into_iter().map(|column| column.name).collect()
    };
    let (known, wanted) = (names(known), names(wanted));
    let list = |one: &BTreeSet<String>, other: &BTreeSet<String>| {
        one.difference(other).cloned().collect::<Vec<_>>().join(", ")
    };
    match (list(&wanted, &known).as_str(), list(&known, &wanted).as_str()) {
        ("", "") => "under another mapping or team".to_owned(),
        ("", more) => format!("with the columns {more}, which this load leaves out"),
        (less, _) => format!("without the columns {less}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: Cut = Cut { slice_bytes: 5, unit_bytes: 6 };
    const FILES: [RequestedFile<'_>; 1] =
        [RequestedFile { location: "/a", identity: "1", mapping: "m", earlier: &[], rows: 1 }];

    fn settings(weights: &[u32], cut: Cut) -> LoadSettings {
        LoadSettings { weights: weights.to_vec(), cut }
    }

    fn known() -> KnownFile {
        KnownFile {
            weights: vec![1, 3],
            slice_bytes: OLD.slice_bytes,
            unit_bytes: OLD.unit_bytes,
            ..KnownFile::example()
        }
    }

    fn claimed(known: &[KnownFile], if_loaded: IfLoaded) -> Result<Vec<PreviousLoad>, Vec<String>> {
        check_previous_loads(&FILES, &KnownFiles::new(known.to_vec()), if_loaded)
    }

    fn begun(settings: LoadSettings) -> Result<Vec<PreviousLoad>, Vec<String>> {
        Ok(vec![PreviousLoad::Begun { bundle: "f".to_owned(), file_count: 1, settings }])
    }

    fn refused(known: KnownFile) -> String {
        claimed(&[known], IfLoaded::Refuse).expect_err("a fault").join("\n")
    }

    #[test]
    fn a_new_file_is_loaded_as_wanted_and_a_begun_one_as_it_was() {
        assert_eq!(claimed(&[], IfLoaded::Refuse), Ok(vec![PreviousLoad::None]));
        assert_eq!(claimed(&[known()], IfLoaded::Refuse), begun(settings(&[1, 3], OLD)));
        // Begun under other weights, which decide whether it is done.
        let other = KnownFile { weights: vec![1], ..known() };
        assert_eq!(claimed(&[other], IfLoaded::Refuse), begun(settings(&[1], OLD)));
    }

    #[test]
    fn what_would_be_loaded_twice_is_refused() {
        assert!(
            refused(KnownFile { identity: "2".to_owned(), ..known() }).contains("its bytes have changed")
        );
        assert!(
            refused(KnownFile { mapping_fingerprint: "n".to_owned(), ..known() }).contains("another mapping")
        );
        let filled = r#"m [{"name":"person_id","type":"UUID"}]"#.to_owned();
        let refusal = refused(KnownFile { mapping_fingerprint: filled.clone(), ..known() });
        assert!(refusal.contains("with the columns person_id, which this load leaves out"), "{refusal}");
        assert!(difference("m", &filled).ends_with("without the columns person_id"));
        assert!(refused(KnownFile { location: "/b".to_owned(), ..known() }).contains("the same bytes as /b"));
    }

    #[test]
    fn a_copy_of_a_load_with_fewer_columns_is_refused() {
        let earlier = ["n".to_owned()];
        let files = [RequestedFile { earlier: &earlier, ..FILES[0] }];
        let known = [KnownFile { location: "/b".to_owned(), mapping_fingerprint: "n".to_owned(), ..known() }];
        let known = KnownFiles::new(known.to_vec());
        let faults = check_previous_loads(&files, &known, IfLoaded::Refuse).expect_err("a fault");
        assert!(faults[0].contains("the same bytes as /b"), "{faults:?}");
        assert!(check_previous_loads(&FILES, &known, IfLoaded::Refuse).is_ok());
    }

    #[test]
    fn loads_a_changed_file_a_second_time_on_request() {
        let changed = KnownFile { identity: "2".to_owned(), ..known() };
        assert_eq!(claimed(&[changed], IfLoaded::LoadAgain), Ok(vec![PreviousLoad::None]));
    }

    #[test]
    fn refuses_a_file_whose_undo_is_not_finished() {
        let undone = KnownFile { undo: UndoMark::Undoing, undone_by: "k".to_owned(), ..known() };
        for if_loaded in [IfLoaded::Refuse, IfLoaded::LoadAgain] {
            let faults = claimed(std::slice::from_ref(&undone), if_loaded).expect_err("a fault");
            assert!(faults[0].contains("posthouse backfill undo k --execute"), "{faults:?}");
        }
    }

    #[test]
    fn shards_without_weight_own_nothing() {
        assert_eq!(owners(&[2, 0, 3]), [1, 3]);
    }
}
