//! Numbered upgrades, each run once on every node.
//!
//! An upgrade makes a change that a comparison of definitions cannot express.

use std::collections::BTreeMap;

use anyhow::bail;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::sql;

/// One numbered file of `sql/upgrades/`: a single statement that is safe to repeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Upgrade {
    /// Number and name, for example `0001_database_comment`.
    pub(crate) name: &'static str,
    /// Path below `sql/`.
    #[serde(skip)]
    pub(crate) file: &'static str,
}

/// Returns all upgrades in the order of their numbers.
pub(super) fn all() -> impl Iterator<Item = Upgrade> {
    sql::paths("upgrades/").filter_map(|file| {
        let name = file.strip_prefix("upgrades/")?.strip_suffix(".sql")?;
        name.starts_with(|first: char| first.is_ascii_digit()).then_some(Upgrade { name, file })
    })
}

impl Upgrade {
    /// SHA-256 of the file as released, in hex.
    pub(super) fn checksum(&self) -> String {
        let digest = Sha256::digest(sql::text(self.file).unwrap_or_default());
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Returns the upgrades that the node lacks; `recorded` has the checksum of each upgrade
/// run, by name.
pub(super) fn pending(node: &str, recorded: &BTreeMap<String, String>) -> anyhow::Result<Vec<Upgrade>> {
    if let Some(name) = recorded.keys().find(|name| !all().any(|upgrade| upgrade.name == name.as_str())) {
        bail!(
            "node {node} has run upgrade {name}, which this posthouse does not know: use the newer posthouse that ran it"
        );
    }
    let mut pending = Vec::new();
    for upgrade in all() {
        match recorded.get(upgrade.name) {
            None => pending.push(upgrade),
            Some(checksum) if *checksum == upgrade.checksum() => {}
            Some(checksum) => bail!(
                "upgrade {} differs from the one that node {node} has run (checksum {checksum} there, {} here): \
                 a released upgrade never changes; restore the file and write a new one",
                upgrade.name,
                upgrade.checksum()
            ),
        }
    }
    Ok(pending)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checksums of all released upgrades. Each new file adds a line; existing lines never change.
    const RELEASED: &[(&str, &str)] =
        &[("0001_database_comment", "56cc9c80124779bc41b29fba068221ee621f21b39ff1d60995d52037a958a7bd")];

    #[test]
    fn released_upgrades_are_frozen() {
        let ours: Vec<(&str, String)> = all().map(|upgrade| (upgrade.name, upgrade.checksum())).collect();
        let ours: Vec<(&str, &str)> =
            ours.iter().map(|(name, checksum)| (*name, checksum.as_str())).collect();
        assert_eq!(ours, RELEASED);
    }

    #[test]
    fn a_node_gets_only_what_it_has_not_had() {
        let had = all().map(|upgrade| (upgrade.name.to_owned(), upgrade.checksum())).collect();
        assert_eq!(pending("ch1", &had).expect("nothing changed"), []);
        assert_eq!(pending("ch1", &BTreeMap::new()).expect("nothing changed"), all().collect::<Vec<_>>());
    }

    #[test]
    fn a_changed_file_and_an_unknown_one_are_refused() {
        let changed = BTreeMap::from([("0001_database_comment".to_owned(), "beef".to_owned())]);
        let error = pending("ch1", &changed).expect_err("another checksum").to_string();
        assert!(
            error.contains("0001_database_comment") && error.contains("ch1") && error.contains("beef"),
            "{error}"
        );
        let newer = BTreeMap::from([("9999_later".to_owned(), "beef".to_owned())]);
        let error = pending("ch2", &newer).expect_err("an unknown one").to_string();
        assert!(error.contains("9999_later") && error.contains("newer"), "{error}");
    }
}
