//! Pages of an audit: sets of key buckets, bounded in rows.

use std::fmt::Write;

/// Maximum number of rows per page, of PostgreSQL and all nodes, unless a single bucket has more. A
/// row takes 64 bytes during the comparison, and 120 if it is wrong.
const PAGE_ROWS: u64 = 400_000;
/// Number of key buckets: one for each value of the digest's first 16 bits.
const BUCKETS: usize = 1 << 16;

/// A set of buckets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AuditPage {
    bits: Vec<u8>,
}

impl AuditPage {
    fn empty() -> Self {
        Self { bits: vec![0; BUCKETS / 8] }
    }

    fn add(&mut self, bucket: u16) {
        self.bits[usize::from(bucket / 8)] |= 1 << (bucket % 8);
    }

    /// Returns its bits in hexadecimal, in the bit order of PostgreSQL's `get_bit` and ClickHouse's
    /// `bitTest`. A list of all buckets would exceed the size of a statement.
    pub(super) fn hex(&self) -> String {
        let mut text = String::with_capacity(2 * self.bits.len());
        for byte in &self.bits {
            // Writing to a String can't fail.
            let _ = write!(text, "{byte:02x}");
        }
        text
    }
}

/// Groups buckets with their row counts into pages.
pub(super) fn pages(buckets: &[(u16, u64)]) -> Vec<AuditPage> {
    let mut pages = Vec::new();
    let (mut page, mut rows) = (AuditPage::empty(), 0);
    for (bucket, count) in buckets {
        if rows > 0 && rows + count > PAGE_ROWS {
            pages.push(std::mem::replace(&mut page, AuditPage::empty()));
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
        let set = |page: &AuditPage, bucket: u16| page.bits[usize::from(bucket / 8)] >> (bucket % 8) & 1 == 1;
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
