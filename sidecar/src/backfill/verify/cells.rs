//! Sums of the hashes of extra values, for the columns that each file has filled.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::BlockSum;
use crate::backfill::extra::{FilledColumn, HashedColumn, UnknownColumns};
use crate::backfill::ledger::LedgerError;
use crate::node::Node;
use crate::sql;

/// Columns beyond the core that a job has filled.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct FilledByFile {
    /// Of all files, in the order of the sums.
    columns: Vec<FilledColumn>,
    /// Indexes of the columns of each file that has any.
    files: BTreeMap<String, Vec<usize>>,
}

#[derive(Deserialize)]
struct FileFingerprint {
    file: String,
    mapping_fingerprint: String,
}

impl FilledByFile {
    /// Reads the fingerprints of a job's files.
    pub(super) async fn of_job(node: &Node, database: &str, job: &str) -> Result<Self, LedgerError> {
        let sql = sql::render("backfill/job_fingerprints.sql", minijinja::context! { database })?;
        let files: Vec<FileFingerprint> = node.query(&sql).param("job", job).rows().await?;
        Ok(Self::of(&files)?)
    }

    fn of(files: &[FileFingerprint]) -> Result<Self, UnknownColumns> {
        let mut columns = BTreeSet::new();
        let mut filled = BTreeMap::new();
        for FileFingerprint { file, mapping_fingerprint } in files {
            let of_file = FilledColumn::in_fingerprint(mapping_fingerprint)?;
            columns.extend(of_file.iter().cloned());
            if !of_file.is_empty() {
                filled.insert(file.clone(), of_file);
            }
        }
        let columns: Vec<FilledColumn> = columns.into_iter().collect();
        let index = |column: &FilledColumn| columns.binary_search(column).ok();
        let indexes = |of_file: Vec<FilledColumn>| of_file.iter().filter_map(index).collect();
        let files = filled.into_iter().map(|(file, of_file)| (file, indexes(of_file))).collect();
        Ok(Self { columns, files })
    }

    /// The columns for their hashes in SQL.
    pub(super) fn hashed(&self) -> Result<Vec<HashedColumn>, UnknownColumns> {
        self.columns.iter().map(FilledColumn::hashed).collect()
    }

    /// Adds to each checksum in `found` the sums of the columns that the block's file has filled. A
    /// block that is not expected has another checksum in any case.
    pub(super) fn add_cells(&self, expected: &[BlockSum], found: &mut [BlockSum]) {
        if self.columns.is_empty() {
            return;
        }
        let key = |block: &BlockSum| (block.shard, block.month, block.slice);
        let files: BTreeMap<_, &str> =
            expected.iter().map(|block| (key(block), block.file.as_str())).collect();
        for block in found {
            let filled = files.get(&key(block)).and_then(|file| self.files.get(*file));
            let sums = filled.into_iter().flatten().filter_map(|index| block.cells.get(*index));
            block.checksum = sums.fold(block.checksum, |sum, cells| sum.wrapping_add(*cells));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(file: &str, columns: &str) -> FileFingerprint {
        let mapping_fingerprint = format!("0123{columns}");
        FileFingerprint { file: file.to_owned(), mapping_fingerprint }
    }

    fn block(shard: u32, file: &str) -> BlockSum {
        let (file, cells) = (file.to_owned(), vec![1, 20, u64::MAX]);
        BlockSum { shard, checksum: 5, file, cells, ..BlockSum::default() }
    }

    #[test]
    fn a_block_has_the_columns_of_its_file() {
        let filled = FilledByFile::of(&[
            file("plain", ""),
            file("one", r#" [{"name":"b","type":"UUID"}]"#),
            file("two", r#" [{"name":"c","type":"Int8"},{"name":"a","type":"String"}]"#),
        ])
        .expect("good fingerprints");
        let expected = [block(1, "plain"), block(2, "one"), block(3, "two")];
        let mut found = [block(1, ""), block(2, ""), block(3, ""), block(4, "")];
        filled.add_cells(&expected, &mut found);
        assert_eq!(found.map(|block| block.checksum), [5, 25, 5, 5]);
        assert!(FilledByFile::of(&[file("new", " {}")]).is_err());
    }
}
