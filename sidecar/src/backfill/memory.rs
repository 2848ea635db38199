//! Division of `--memory` between posthouse itself, decoding, and blocks that await sending.
//!
//! Three sixteenths are for posthouse and decoding together, and an amount that both need with
//! usual files at least.

use std::num::NonZeroU64;

use crate::backfill::read::MemoryBounds;

/// Memory of posthouse without a row, in bytes, with its program.
const OWN: u64 = 28 << 20;
/// Usual memory for decoding, in bytes: pages of a mebibyte for each column, the size that writers
/// make.
const USUAL_DECODING: u64 = 64 << 20;
/// Least memory for decoding, in bytes, however small `--memory` is.
const MIN_DECODING: u64 = 8 << 20;

/// Returns the part of `memory` for decoding rows of files that have `page_bytes` of pages open at
/// once.
pub(crate) fn decoding(memory: NonZeroU64, page_bytes: u64) -> MemoryBounds {
    MemoryBounds::within(usize::try_from(decoding_bytes(memory, page_bytes)).unwrap_or(usize::MAX))
}

fn decoding_bytes(memory: NonZeroU64, page_bytes: u64) -> u64 {
    beside_blocks(memory, page_bytes).saturating_sub(OWN).max(MIN_DECODING)
}

/// Returns the part of `memory` for posthouse and decoding. Large pages take what blocks leave,
/// which is a quarter at least.
fn beside_blocks(memory: NonZeroU64, page_bytes: u64) -> u64 {
    let usual = (memory.get() / 16).saturating_mul(3).max(USUAL_DECODING + OWN);
    let pages = MemoryBounds::memory_for(page_bytes).saturating_add(OWN);
    usual.max(pages).min(memory.get() / 4 * 3)
}

/// Returns the part of `memory` for blocks until they are sent, in bytes.
pub(crate) fn block_bytes(memory: NonZeroU64, page_bytes: u64) -> u64 {
    memory.get() - beside_blocks(memory, page_bytes)
}

/// Returns the largest slice that fits into `memory`. The slice is smaller than the memory for
/// blocks, because the allocations of its columns are not filled to the end.
pub(crate) fn largest_slice(memory: NonZeroU64, page_bytes: u64) -> NonZeroU64 {
    let bytes = block_bytes(memory, page_bytes);
    NonZeroU64::new(bytes - bytes / 32).unwrap_or(NonZeroU64::MIN)
}

/// Returns the smallest `--memory`, in MiB, for slices of `slice` bytes.
pub(crate) fn memory_for(slice: u64) -> u64 {
    let blocks = (slice / 31).saturating_mul(32).saturating_add(64);
    let usual = blocks.saturating_add(USUAL_DECODING + OWN);
    let beside_decoding = (blocks / 13).saturating_mul(16).max(usual);
    (beside_decoding.min(blocks.saturating_mul(4)) >> 20) + 1
}

/// Returns the smallest `--memory`, in MiB, for files that have `page_bytes` of pages open at once.
pub(crate) fn memory_for_pages(page_bytes: u64) -> u64 {
    let decoding = MemoryBounds::memory_for(page_bytes);
    let memory = if decoding > MIN_DECODING { beside_quarter(decoding) } else { 1 };
    memory.div_ceil(1 << 20)
}

/// Returns a `--memory`, in MiB, that is enough for `page_bytes` of pages that the plan did not
/// find.
pub(crate) fn memory_for_unplanned_pages(page_bytes: u64) -> u64 {
    let decoding = MemoryBounds::memory_for(page_bytes);
    match decoding > USUAL_DECODING {
        true => decoding.saturating_add(OWN).div_ceil(3).saturating_mul(16).div_ceil(1 << 20),
        false => memory_for_pages(page_bytes),
    }
}

/// Returns the memory of which posthouse and decoding take three quarters.
fn beside_quarter(decoding: u64) -> u64 {
    decoding.saturating_add(OWN).div_ceil(3).saturating_mul(4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_and_decoding_fit_into_memory() {
        for (memory, slice) in [(512, 403), (2_048, 1_612), (128, 34), (64, 15), (1, 0)] {
            let memory = NonZeroU64::new(memory << 20).expect("not 0");
            let blocks = block_bytes(memory, 0);
            assert_eq!(largest_slice(memory, 0).get() >> 20, slice);
            assert!(largest_slice(memory, 0).get() < blocks);
            assert!(blocks + decoding_bytes(memory, 0) <= memory.get().max(MIN_DECODING + memory.get() / 4));
        }
        for (memory, pages) in
            [(50, 0), (64, 9), (96, 30), (128, 60), (256, 100), (400, 0), (512, 72), (4_096, 0)]
        {
            let (memory, pages) = (NonZeroU64::new(memory << 20).expect("not 0"), pages << 20);
            let used = OWN + decoding_bytes(memory, pages) + block_bytes(memory, pages);
            assert!(used <= memory.get(), "{used} of {memory}");
        }
    }

    #[test]
    fn the_memory_that_a_slice_needs_is_enough_and_hardly_more() {
        for slice in [1, 4, 15, 62, 200, 403, 1_612, 10_000].map(|slice| slice << 20) {
            let largest = |memory| largest_slice(NonZeroU64::new(memory << 20).expect("not 0"), 0).get();
            let memory = memory_for(slice);
            assert!(largest(memory) >= slice, "{memory} for {slice}");
            assert!(memory < 3 || largest(memory - 2) < slice, "{memory} for {slice}");
        }
    }

    #[test]
    fn the_memory_that_pages_need_is_enough_and_hardly_more() {
        for pages in [1, 40, 49, 72, 73, 200, 5_000].map(|pages| pages << 20) {
            let bound =
                |memory, pages| decoding(NonZeroU64::new(memory << 20).expect("not 0"), pages).decoded as u64;
            let memory = memory_for_pages(pages);
            assert!(bound(memory, pages) >= pages, "{memory} for {pages}");
            assert!(memory < 3 || bound(memory - 2, pages) < pages, "{memory} for {pages}");
            assert!(bound(memory_for_unplanned_pages(pages), 0) >= pages, "{pages}");
        }
        let memory = NonZeroU64::new(512 << 20).expect("not 0");
        assert_eq!(decoding(memory, 51 << 20), decoding(memory, 0));
        assert_eq!(block_bytes(memory, 144 << 20) >> 20, 292);
        assert_eq!(block_bytes(memory, 1 << 40) >> 20, 128);
    }
}
