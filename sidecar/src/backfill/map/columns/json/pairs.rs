//! Pairs of a map without repeated keys.

use std::collections::HashSet;

use arrow_array::BinaryViewArray;
use arrow_buffer::OffsetBuffer;

/// Up to this number of pairs, comparing all keys with each other is cheaper than hashing them.
const MAX_COMPARED: usize = 16;

/// The rows of a map column. The format gives a repeated key its last value, so earlier pairs of
/// the same key are left out.
pub(in crate::backfill::map::columns) struct PairsOfMap {
    offsets: OffsetBuffer<i32>,
    /// Indexes of the last row's pairs.
    pairs: Vec<usize>,
}

impl PairsOfMap {
    pub(in crate::backfill::map::columns) fn new(offsets: OffsetBuffer<i32>) -> Self {
        Self { offsets, pairs: Vec::new() }
    }

    /// Returns the indexes of a row's pairs, in their order.
    pub(in crate::backfill::map::columns) fn of_row(
        &mut self,
        row: usize,
        keys: &BinaryViewArray,
    ) -> &[usize] {
        let range = self.offsets[row] as usize..self.offsets[row + 1] as usize;
        self.pairs.clear();
        if range.len() > MAX_COMPARED {
            let mut seen = HashSet::with_capacity(range.len());
            self.pairs.extend(range.rev().filter(|pair| seen.insert(keys.value(*pair))));
            self.pairs.reverse();
        } else {
            let end = range.end;
            let is_last = |pair: &usize| (pair + 1..end).all(|later| !is_same(keys, *pair, later));
            self.pairs.extend(range.filter(is_last));
        }
        &self.pairs
    }
}

/// The low half of a view has the length and the first four bytes.
fn is_same(keys: &BinaryViewArray, one: usize, other: usize) -> bool {
    keys.views()[one] as u64 == keys.views()[other] as u64 && keys.value(one) == keys.value(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_last_pair_of_each_key() {
        let few = ["a", "b", "a", "", "b", "a longer key than a view", "a longer key than a vieW"];
        let many: Vec<String> = (0..40).map(|key| (key % 30).to_string()).collect();
        let keys = few.into_iter().chain(many.iter().map(String::as_str));
        let keys = BinaryViewArray::from_iter_values(keys);
        let mut pairs = PairsOfMap::new(OffsetBuffer::new(vec![0, 0, 7, 47].into()));
        assert_eq!(pairs.of_row(0, &keys), [0; 0]);
        assert_eq!(pairs.of_row(1, &keys), [2, 3, 4, 5, 6]);
        let expected: Vec<usize> = (17..47).collect();
        assert_eq!(pairs.of_row(2, &keys), expected);
    }
}
