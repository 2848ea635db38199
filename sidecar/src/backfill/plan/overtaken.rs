//! Bundles that another load has overtaken.
//!
//! Two runs that begin at once with other sources may bundle a file differently. Each looks at the
//! ledger after it has recorded its bundles, and the later one sends no row. Its record stays, and
//! must not keep its other files from being loaded.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use crate::backfill::ledger::{KnownFile, KnownFiles, LedgerError, bundle_files, known_files, known_units};
use crate::node::Node;

/// A load of the same bytes under the same mapping.
type LoadedBytes<'k> = (&'k str, &'k str, &'k str);

fn loaded_bytes(file: &KnownFile) -> LoadedBytes<'_> {
    (&file.location, &file.identity, &file.mapping_fingerprint)
}

/// Leaves out the files of overtaken bundles.
pub(crate) async fn without_overtaken(
    database: &str,
    node: &Node,
    known: KnownFiles,
) -> Result<KnownFiles, LedgerError> {
    let mut all = KnownFiles::new(known.iter().cloned().collect());
    let (mut begun, mut looked) = (BTreeSet::new(), BTreeSet::new());
    // Whether a bundle is overtaken depends on the others of its files, and so on along the chain
    // of bundles that wait.
    loop {
        let contested = contested(&all).into_iter().filter(|id| !looked.contains(id));
        let contested: Vec<String> = contested.collect();
        if contested.is_empty() {
            break;
        }
        begun.extend(known_units(node, database, &contested).await?.begun_files().iter().cloned());
        let waiting = contested.iter().filter(|id| !begun.contains(*id)).map(String::as_str);
        let members = bundle_files(node, database, &waiting.collect::<Vec<_>>()).await?;
        let locations: Vec<&str> = members.iter().map(|file| file.location.as_str()).collect();
        all = all.joined(known_files(node, database, &locations, &[]).await?);
        looked.extend(contested);
    }
    let overtaken = overtaken(&all, &begun);
    Ok(known.without(&overtaken))
}

/// Returns the bundles that share a load with another one, and those of several files of which some
/// are not among `known`. Each of them may be overtaken, or overtake another.
fn contested(known: &KnownFiles) -> BTreeSet<String> {
    let (mut loads, mut seen) = (HashMap::<LoadedBytes<'_>, &str>::new(), HashMap::<&str, u32>::new());
    let mut contested = BTreeSet::new();
    for file in known.iter() {
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
/// and are never overtaken.
fn overtaken(known: &KnownFiles, begun: &BTreeSet<String>) -> BTreeSet<String> {
    let mut bundles = BTreeMap::<(bool, &str, &str), Vec<LoadedBytes<'_>>>::new();
    for file in known.iter() {
        let order = (!begun.contains(&file.file), file.at.as_str(), file.file.as_str());
        bundles.entry(order).or_default().push(loaded_bytes(file));
    }
    let (mut taken, mut overtaken) = (HashSet::new(), BTreeSet::new());
    for ((is_waiting, _, id), loads) in bundles {
        if is_waiting && loads.iter().any(|load| taken.contains(load)) {
            overtaken.insert(id.to_owned());
        } else {
            taken.extend(loads);
        }
    }
    overtaken
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn whole_bundles_without_a_rival_are_not_contested() {
        let whole = known(&[("x", "1", &["a", "b"]), ("y", "2", &["c"])]);
        assert_eq!(contested(&whole), ids(&[]));
        let in_part = KnownFiles::new(whole.iter().filter(|file| file.location != "a").cloned().collect());
        assert_eq!(contested(&in_part), ids(&["x"]));
    }
}
