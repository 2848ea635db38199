//! Pages of an audit: buckets of keys that are compared at once, bounded in rows.

use std::fmt::Write;

/// Rows of PostgreSQL and of all nodes that a page has, unless a single bucket has more. A row takes 64 bytes while it is
/// compared, and 120 where it is wrong.
const PAGE_ROWS: u64 = 400_000;
/// Buckets of keys: the first 16 bits of their digest.
const BUCKETS: usize = 1 << 16;

/// A set of buckets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Page {
    bits: Vec<u8>,
}

impl Page {
    fn empty() -> Self {
        Self { bits: vec![0; BUCKETS / 8] }
    }

    fn add(&mut self, bucket: u16) {
        self.bits[usize::from(bucket / 8)] |= 1 << (bucket % 8);
    }

    /// Its bits as PostgreSQL's `get_bit` and ClickHouse's `bitTest` count them, in hexadecimal. A list of buckets
    /// would not fit into a statement where all of them differ.
    pub(super) fn hex(&self) -> String {
        let mut text = String::with_capacity(2 * self.bits.len());
        for byte in &self.bits {
            // Writing to a string does not fail.
            let _ = write!(text, "{byte:02x}");
        }
        text
    }
}

/// The pages of buckets, each given with its rows.
pub(super) fn pages(buckets: &[(u16, u64)]) -> Vec<Page> {
    let mut pages = Vec::new();
    let (mut page, mut rows) = (Page::empty(), 0);
    for (bucket, count) in buckets {
        if rows > 0 && rows + count > PAGE_ROWS {
            pages.push(std::mem::replace(&mut page, Page::empty()));
            rows = 0;
        }
        page.add(*bucket);
        rows += (*count).max(1);
    }
    if rows > 0 {
        pages.push(page);
    }
    pages
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_have_every_bucket_once_and_no_more_rows_than_fit() {
        let buckets: Vec<(u16, u64)> =
            (0..=u16::MAX).map(|bucket| (bucket, u64::from(bucket % 50))).collect();
        let pages = pages(&buckets);
        let set = |page: &Page, bucket: u16| page.bits[usize::from(bucket / 8)] >> (bucket % 8) & 1 == 1;
        for (bucket, _) in &buckets {
            assert_eq!(pages.iter().filter(|page| set(page, *bucket)).count(), 1);
        }
        for page in &pages {
            let rows: u64 =
                buckets.iter().filter(|(bucket, _)| set(page, *bucket)).map(|(_, rows)| rows).sum();
            assert!(rows <= PAGE_ROWS && page.hex().len() == BUCKETS / 4);
        }
        assert!(super::pages(&[]).is_empty() && super::pages(&[(3, 10 * PAGE_ROWS), (4, 0)]).len() == 2);
    }
}
