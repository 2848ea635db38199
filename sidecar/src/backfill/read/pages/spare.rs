//! The memory of a page, used again for the next of any column: most of what a fresh page costs is the system's, to find it
//! and to clear it.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

/// Pages above this size are not kept, since the gauge does not know of the one that is. Writers make pages of a megabyte.
const MOST_SPARE_BYTES: usize = 2 << 20;

/// The bytes of one page that nobody reads any more, for all columns of a row group.
#[derive(Debug, Clone, Default)]
pub(in super::super) struct Spare(Arc<Mutex<Vec<u8>>>);

impl Spare {
    /// `length` bytes that `fill` writes; they begin as those of some earlier page, or zeros.
    ///
    /// # Errors
    /// That of `fill`.
    pub(super) fn filled<E>(
        &self,
        length: usize,
        fill: impl FnOnce(&mut [u8]) -> Result<(), E>,
    ) -> Result<Bytes, E> {
        let mut bytes = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        if bytes.len() < length {
            // Not by growing: what an earlier page had need not be copied.
            bytes = vec![0; length];
        }
        let mut buffer = Buffer { bytes, length, spare: self.0.clone() };
        fill(&mut buffer.bytes[..length])?;
        Ok(Bytes::from_owner(buffer))
    }
}

/// A page's bytes and more, which go back when it is dropped.
struct Buffer {
    bytes: Vec<u8>,
    length: usize,
    spare: Arc<Mutex<Vec<u8>>>,
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        if spare.len() < self.bytes.len() && self.bytes.len() <= MOST_SPARE_BYTES {
            *spare = std::mem::take(&mut self.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(spare: &Spare, length: usize, byte: u8) -> Bytes {
        let fill = |bytes: &mut [u8]| {
            bytes.fill(byte);
            Ok::<(), ()>(())
        };
        spare.filled(length, fill).unwrap()
    }

    #[test]
    fn pages_stand_where_earlier_ones_stood() {
        let spare = Spare::default();
        let first = filled(&spare, 100, 1);
        let place = first.as_ptr();
        // The first is still there.
        let second = filled(&spare, 50, 2);
        assert_eq!((&first[..], &second[..]), (&[1; 100][..], &[2; 50][..]));
        drop((first, second));
        let third = filled(&spare, 60, 3);
        assert_eq!((third.as_ptr(), &third[..]), (place, &[3; 60][..]));
        // One of a hundred bytes is not enough for it.
        drop(third);
        assert_eq!(filled(&spare, 200, 4)[..], [4; 200]);
    }

    #[test]
    fn large_pages_are_not_kept() {
        let spare = Spare::default();
        drop(filled(&spare, MOST_SPARE_BYTES + 1, 1));
        assert!(spare.0.lock().unwrap().is_empty());
    }

    #[test]
    fn a_page_that_cannot_be_filled_leaves_its_memory() {
        let spare = Spare::default();
        let place = filled(&spare, 100, 1).as_ptr();
        assert_eq!(spare.filled(100, |_| Err("broken")), Err("broken"));
        assert_eq!(filled(&spare, 100, 2).as_ptr(), place);
    }
}
