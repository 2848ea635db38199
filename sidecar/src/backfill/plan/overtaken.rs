//! Bundles that another load has overtaken.
//!
//! Two runs that begin at once with other sources may bundle a file differently. Each looks at the
//! ledger after it has recorded its bundles, and the later one sends no row. Its record stays, and
//! must not keep its other files from being loaded, also when the earlier bundle is undone.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::Bundle;
use crate::backfill::ledger::{
    KnownFile, KnownFiles, LedgerError, bundle_files, claimed_bundles, known_files, known_units,
};
use crate::node::Node;

/// A load of the same bytes under the same mapping.
type LoadedBytes<'k> = (&'k str, &'k str, &'k str);

fn loaded_bytes(file: &KnownFile) -> LoadedBytes<'_> {
    (&file.location, &file.identity, &file.mapping_fingerprint)
}

/// Bundles that may overtake each other.
struct Rivals {
    files: KnownFiles,
    /// Those that share files with others.
    contested: BTreeSet<String>,
    /// Those of which a run may have sent blocks.
    begun: BTreeSet<String>,
}

/// Leaves out the files of overtaken bundles.
pub(crate) async fn without_overtaken(
    database: &str,
    node: &Node,
    known: KnownFiles,
) -> Result<KnownFiles, LedgerError> {
    let Rivals { files, begun, .. } = rivals(database, node, &known).await?;
    Ok(known.without(&overtaken(&files, &begun)))
}

/// Returns the location of a file that another run may load, if that run overtakes the bundle that
/// this run has just claimed. A bundle that another run has claimed or begun comes first.
///
/// Of two runs, the one that claims later sees the claim of the other. So at most one of them goes
/// on, whatever the clocks of the nodes say.
pub(crate) async fn overtaking(
    database: &str,
    node: &Node,
    bundle: &Bundle,
) -> Result<Option<String>, LedgerError> {
    let locations: Vec<&str> = bundle.files.iter().map(|file| file.object.location.as_str()).collect();
    let known = known_files(node, database, &locations, &[]).await?;
    let Rivals { files, contested, mut begun } = rivals(database, node, &known).await?;
    let others: Vec<&str> = contested.iter().map(String::as_str).filter(|id| *id != bundle.id).collect();
    begun.extend(claimed_bundles(node, database, &others).await?);
    let is_overtaken = overtaken(&files, &begun).contains(&bundle.id);
    let is_shared = |location: &&&str| known.at(location).any(|file| file.file != bundle.id);
    Ok(is_overtaken.then(|| locations.iter().find(is_shared).copied().unwrap_or_default().to_owned()))
}

async fn rivals(database: &str, node: &Node, known: &KnownFiles) -> Result<Rivals, LedgerError> {
    let mut files = KnownFiles::new(known.iter().chain(known.undone()).cloned().collect());
    let (mut begun, mut looked) = (BTreeSet::new(), BTreeSet::new());
    // Whether a bundle is overtaken depends on the others of its files, and so on along the chain
    // of bundles that wait.
    loop {
        let contested = contested(&files).into_iter().filter(|id| !looked.contains(id));
        let contested: Vec<String> = contested.collect();
        if contested.is_empty() {
            return Ok(Rivals { files, contested: looked, begun });
        }
        begun.extend(known_units(node, database, &contested).await?.begun_files().iter().cloned());
        let waiting = contested.iter().filter(|id| !begun.contains(*id)).map(String::as_str);
        let members = bundle_files(node, database, &waiting.collect::<Vec<_>>()).await?;
        let locations: Vec<&str> = members.iter().map(|file| file.location.as_str()).collect();
        files = files.joined(known_files(node, database, &locations, &[]).await?);
        looked.extend(contested);
    }
}

/// Returns the bundles that share a load with another one, and those of several files of which some
/// are not among `known`. Each of them may be overtaken, or overtake another. Undone bundles may
/// have overtaken others.
fn contested(known: &KnownFiles) -> BTreeSet<String> {
    let (mut loads, mut seen) = (HashMap::<LoadedBytes<'_>, &str>::new(), HashMap::<&str, u32>::new());
    let mut contested = BTreeSet::new();
    for file in known.iter().chain(known.undone()) {
        *seen.entry(&file.file).or_default() += 1;
        let first = *loads.entry(loaded_bytes(file)).or_insert(&file.file);
        if first != file.file {
            contested.extend([first.to_owned(), file.file.clone()]);
        }
    }
    let in_part = known.iter().filter(|file| seen.get(file.file.as_str()) < Some(&file.bundle_files));
    contested.extend(in_part.map(|file| file.file.clone()));
    contested
}

/// Returns the bundles with a file that an earlier bundle has. Bundles that were begun come first,
/// and are never overtaken. A bundle that is undone has overtaken those that were recorded before
/// the end of its undo. Their runs have sent no row.
fn overtaken(known: &KnownFiles, begun: &BTreeSet<String>) -> BTreeSet<String> {
    let mut bundles = BTreeMap::<(bool, &str, &str), Vec<&KnownFile>>::new();
    for file in known.iter().chain(known.undone()) {
        let order = (!begun.contains(&file.file), file.at.as_str(), file.file.as_str());
        bundles.entry(order).or_default().push(file);
    }
    // Each load that is taken, with the end of its undo.
    let (mut taken, mut overtaken) = (HashMap::<LoadedBytes<'_>, Vec<&str>>::new(), BTreeSet::new());
    for ((is_waiting, at, id), files) in bundles {
        let is_held = |until: &&str| until.is_empty() || at < *until;
        let is_taken =
            |file: &&KnownFile| taken.get(&loaded_bytes(file)).is_some_and(|ends| ends.iter().any(is_held));
        if is_waiting && files.iter().any(is_taken) {
            overtaken.insert(id.to_owned());
            continue;
        }
        for file in files {
            taken.entry(loaded_bytes(file)).or_default().push(&file.undone_at);
        }
    }
    overtaken
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backfill::ledger::UndoMark;

    fn known(bundles: &[(&str, &str, &[&str])]) -> KnownFiles {
        let file = |id: &str, at: &str, location: &str, bundle_files: usize| KnownFile {
            file: id.to_owned(),
            location: location.to_owned(),
            identity: location.to_owned(),
            bundle_files: bundle_files as u32,
            at: at.to_owned(),
            ..KnownFile::example()
        };
        let of = |(id, at, locations): &(&str, &str, &[&str])| -> Vec<KnownFile> {
            locations.iter().map(|location| file(id, at, location, locations.len())).collect()
        };
        KnownFiles::new(bundles.iter().flat_map(of).collect())
    }

    fn ids(ids: &[&str]) -> BTreeSet<String> {
        ids.iter().map(|id| (*id).to_owned()).collect()
    }

    #[test]
    fn the_first_bundle_of_a_file_overtakes_later_ones() {
        let known = known(&[("x", "1", &["a", "b"]), ("y", "2", &["b", "c"]), ("z", "3", &["c", "d"])]);
        assert_eq!(contested(&known), ids(&["x", "y", "z"]));
        // The last one shares a file only with an overtaken one.
        assert_eq!(overtaken(&known, &ids(&[])), ids(&["y"]));
        assert_eq!(overtaken(&known, &ids(&["y"])), ids(&["x", "z"]));
        assert_eq!(
            known.without(&ids(&["y"])).at("c").map(|file| file.file.as_str()).collect::<Vec<_>>(),
            ["z"]
        );
    }

    #[test]
    fn an_undone_bundle_has_overtaken_those_that_were_recorded_before_its_end() {
        let bundles: &[(&str, &str, &[&str])] =
            &[("x", "1", &["a", "b"]), ("y", "2", &["b", "c"]), ("z", "4", &["c", "d"])];
        let after_undo = |end: &str| {
            let undone = |file: &KnownFile| match file.file.as_str() {
                "x" => KnownFile { undo: UndoMark::Undone, undone_at: end.to_owned(), ..file.clone() },
                _ => file.clone(),
            };
            KnownFiles::new(known(bundles).iter().map(undone).collect())
        };
        // The run of y has given up. The load of z has not begun its unit yet.
        let known = after_undo("3");
        assert_eq!(contested(&known), ids(&["x", "y", "z"]));
        assert_eq!(overtaken(&known, &ids(&["x"])), ids(&["y"]));
        // A bundle that was recorded after the undo is loaded.
        assert_eq!(overtaken(&after_undo("2"), &ids(&["x"])), ids(&["z"]));
        // A bundle that was recorded in part has overtaken no other.
        let in_part = known.undone().map(|file| KnownFile { is_in_part: true, ..file.clone() });
        let in_part = KnownFiles::new(known.iter().cloned().chain(in_part).collect());
        assert_eq!(overtaken(&in_part, &ids(&[])), ids(&["z"]));
    }

    #[test]
    fn whole_bundles_without_a_rival_are_not_contested() {
        let whole = known(&[("x", "1", &["a", "b"]), ("y", "2", &["c"])]);
        assert_eq!(contested(&whole), ids(&[]));
        let in_part = KnownFiles::new(whole.iter().filter(|file| file.location != "a").cloned().collect());
        assert_eq!(contested(&in_part), ids(&["x"]));
    }
}
