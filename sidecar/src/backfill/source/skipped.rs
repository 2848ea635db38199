//! Files that a folder or a glob reaches and a load leaves out.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

/// Names kept for each reason: enough to recognize the files, whatever their number.
const MAX_EXAMPLES: usize = 20;
/// Names for each reason in a line of text.
const SHOWN_EXAMPLES: usize = 3;

/// Reason to leave a file out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SkipReason {
    /// Another path of a file that is read already: a link.
    Link,
    /// A link that leads nowhere.
    DanglingLink,
    /// A name that is not one of Parquet.
    OtherName,
    /// The name of a file or folder begins with a dot or an underscore.
    Hidden,
    /// The list of an export's files.
    Manifest,
    /// An empty file whose name is not one of Parquet.
    EmptyMarker,
    /// Rejected rows of earlier loads.
    Quarantine,
    /// A pipe, socket or device.
    Special,
    /// A key with a leading slash, a part of dots or a control character, which can't be requested.
    UnreadableKey,
}

/// Files that were left out for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Skipped {
    pub reason: SkipReason,
    /// Number of files. A skipped folder counts once.
    pub files: u64,
    /// Up to 20 of them, without secrets. A folder ends with a slash.
    pub examples: Vec<String>,
}

/// Left out files by reason, in bounded memory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct SkippedFiles {
    by_reason: BTreeMap<SkipReason, Skipped>,
    /// The last folder, because a bucket's listing reports it with each of its files.
    last_folder: String,
}

impl SkippedFiles {
    /// Counts a file or folder. Calls in a row for one folder count once.
    pub(super) fn add(&mut self, reason: SkipReason, name: &str) {
        let empty = || Skipped { reason, files: 0, examples: Vec::new() };
        let skipped = self.by_reason.entry(reason).or_insert_with(empty);
        if name.ends_with('/') {
            if self.last_folder == name {
                return;
            }
            name.clone_into(&mut self.last_folder);
        }
        skipped.files += 1;
        if skipped.examples.len() < MAX_EXAMPLES {
            skipped.examples.push(name.to_owned());
        }
    }

    /// Adds the files that another argument left out.
    pub(super) fn extend(&mut self, other: Self) {
        for (reason, skipped) in other.by_reason {
            let unnamed = skipped.files.saturating_sub(skipped.examples.len() as u64);
            skipped.examples.iter().for_each(|name| self.add(reason, name));
            if let Some(all) = self.by_reason.get_mut(&reason) {
                all.files += unnamed;
            }
        }
    }

    pub(super) fn into_vec(self) -> Vec<Skipped> {
        self.by_reason.into_values().collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_reason.is_empty()
    }
}

impl fmt::Display for SkippedFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<String> = self.by_reason.values().map(Skipped::to_string).collect();
        f.write_str(&texts.join("; "))
    }
}

impl Skipped {
    /// Whether these may be files of data, which nobody left out on purpose.
    pub(crate) fn is_unreadable(&self) -> bool {
        match self.reason {
            SkipReason::DanglingLink | SkipReason::Special | SkipReason::UnreadableKey => true,
            SkipReason::Link
            | SkipReason::OtherName
            | SkipReason::Hidden
            | SkipReason::Manifest
            | SkipReason::EmptyMarker
            | SkipReason::Quarantine => false,
        }
    }
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.examples.get(..SHOWN_EXAMPLES).unwrap_or(&self.examples);
        write!(f, "{} {}: {}", self.files, self.reason, shown.join(", "))?;
        match self.files.saturating_sub(shown.len() as u64) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

impl fmt::Display for SkipReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Link => "linked to a file that is read",
            Self::DanglingLink => "linked to nothing",
            Self::OtherName => "not named *.parquet",
            Self::Hidden => "hidden",
            Self::Manifest => "manifest",
            Self::EmptyMarker => "empty",
            Self::Quarantine => "of rejected rows",
            Self::Special => "no regular file",
            Self::UnreadableKey => "with a key that can't be requested",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_all_and_names_some() {
        let (mut one, mut other) = (SkippedFiles::default(), SkippedFiles::default());
        (0..30).for_each(|number| one.add(SkipReason::OtherName, &format!("{number}.csv")));
        ["_a/", "_a/", ".b"].iter().for_each(|name| other.add(SkipReason::Hidden, name));
        (0..40).for_each(|number| other.add(SkipReason::OtherName, &format!("{number}.txt")));
        one.extend(other);
        let text = one.to_string();
        assert_eq!(text, "70 not named *.parquet: 0.csv, 1.csv, 2.csv and 67 more; 2 hidden: _a/, .b");
        let skipped = one.into_vec();
        assert_eq!(skipped.iter().map(|skipped| skipped.examples.len()).collect::<Vec<_>>(), [20, 2]);
    }
}
