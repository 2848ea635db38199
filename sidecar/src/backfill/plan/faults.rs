//! Faults of files, all of them at once.

use std::collections::BTreeMap;

use anyhow::anyhow;

use super::files;
use crate::backfill::source::SourceError;

/// Files that are named for each kind of fault.
const EXAMPLES: usize = 3;
/// Kinds of faults that are shown. The others are counted.
const KINDS: usize = 20;

/// Faults by kind, which is their text without the file.
#[derive(Debug, Default)]
pub(super) struct FileFaults {
    kinds: BTreeMap<String, FaultKind>,
    /// The first fault.
    first: Option<anyhow::Error>,
    count: usize,
}

#[derive(Debug, Default)]
struct FaultKind {
    count: usize,
    examples: Vec<String>,
}

impl FileFaults {
    /// Adds the fault of the file at `location`.
    ///
    /// # Errors
    /// Returns a fault that all files of the source would have: a store that does not answer.
    pub(super) fn add(&mut self, location: &str, fault: anyhow::Error) -> anyhow::Result<()> {
        if matches!(fault.downcast_ref(), Some(SourceError::Unreachable { .. })) {
            return Err(fault);
        }
        self.count += 1;
        let kind = self.kinds.entry(kind(location, &fault)).or_default();
        kind.count += 1;
        if kind.examples.len() < EXAMPLES {
            kind.examples.push(location.to_owned());
        }
        self.first.get_or_insert(fault);
        Ok(())
    }

    /// Returns the faults as one error, which is that of the file if there is one only.
    ///
    /// # Errors
    /// Fails if a fault was added.
    pub(super) fn none(self) -> anyhow::Result<()> {
        let Some(first) = self.first else { return Ok(()) };
        if self.count == 1 {
            return Err(first);
        }
        let mut kinds: Vec<(String, FaultKind)> = self.kinds.into_iter().collect();
        kinds.sort_by_key(|(_, kind)| std::cmp::Reverse(kind.count));
        let others = kinds.len().saturating_sub(KINDS);
        let mut lines: Vec<String> = kinds.iter().take(KINDS).map(line).collect();
        if others > 0 {
            lines.push(format!("and {others} other kinds of faults"));
        }
        Err(anyhow!("{} can't be loaded; nothing was written\n  {}", files(self.count), lines.join("\n  ")))
    }
}

/// The text of a fault without the file's name.
fn kind(location: &str, fault: &anyhow::Error) -> String {
    let text = format!("{fault:#}").replace(location, "");
    text.trim_start_matches([':', ' ']).to_owned()
}

fn line((problem, kind): &(String, FaultKind)) -> String {
    let more = match kind.count - kind.examples.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("{}: {problem}: {}{more}", files(kind.count), kind.examples.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(faults: &[(&str, &str)]) -> String {
        let mut all = FileFaults::default();
        for (location, problem) in faults {
            all.add(location, anyhow!("{location}: {problem}")).expect("a fault of the file");
        }
        format!("{:#}", all.none().expect_err("faults"))
    }

    #[test]
    fn faults_are_told_by_kind_with_examples() {
        assert!(FileFaults::default().none().is_ok());
        assert_eq!(faults(&[("/a", "no footer")]), "/a: no footer");
        let many = [
            ("/a", "no footer"),
            ("/b", "no column"),
            ("/c", "no column"),
            ("/d", "no column"),
            ("/e", "no column"),
        ];
        let expected = "5 files can't be loaded; nothing was written\n  4 files: no column: /b, /c, /d and 1 more\n  \
                        1 file: no footer: /a";
        assert_eq!(faults(&many), expected);
    }

    #[test]
    fn a_store_that_does_not_answer_ends_the_plan() {
        let (location, endpoint, problem) = ("s3://b/a".to_owned(), "http://e".to_owned(), "p".to_owned());
        let gone = SourceError::Unreachable { location, endpoint, problem };
        assert!(FileFaults::default().add("s3://b/a", gone.into()).is_err());
    }
}
