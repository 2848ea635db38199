//! Sizes of nested values as JSON, from their real lengths.

use std::ops::Range;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, OffsetSizeTrait, RecordBatch};
use arrow_schema::DataType;

/// Quotes or brackets, and the comma.
const PUNCTUATION: u64 = 3;
/// Characters of most numbers and timestamps.
const NUMBER: u64 = 20;

/// Returns about the bytes of the nested columns of `rows` as JSON, without escapes.
pub(super) fn json_bytes(batch: &RecordBatch, rows: Range<usize>) -> u64 {
    let nested = batch.columns().iter().filter(|column| column.data_type().is_nested());
    nested.map(|column| bytes(column, rows.clone())).sum()
}

fn bytes(array: &ArrayRef, rows: Range<usize>) -> u64 {
    let count = rows.len() as u64;
    let values = match array.data_type() {
        DataType::Struct(fields) => {
            let names: u64 = fields.iter().map(|field| field.name().len() as u64 + PUNCTUATION).sum();
            let children = array.as_struct().columns().iter();
            names * count + children.map(|child| bytes(child, rows.clone())).sum::<u64>()
        }
        DataType::List(_) => {
            let list = array.as_list::<i32>();
            bytes(list.values(), items(list.value_offsets(), rows))
        }
        DataType::Map(..) => {
            let map = array.as_map();
            let pairs = items(map.value_offsets(), rows);
            bytes(map.keys(), pairs.clone()) + bytes(map.values(), pairs)
        }
        DataType::BinaryView => {
            // The low half of a view's first half is the length.
            let views = array.as_binary_view().views();
            views[rows].iter().map(|view| u64::from(*view as u32)).sum()
        }
        DataType::FixedSizeBinary(width) => count * u64::try_from(*width).unwrap_or(0),
        DataType::Boolean | DataType::Null => count * 2,
        _ => count * NUMBER,
    };
    values + count * PUNCTUATION
}

fn items<O: OffsetSizeTrait>(offsets: &[O], rows: Range<usize>) -> Range<usize> {
    offsets[rows.start].as_usize()..offsets[rows.end].as_usize()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::builder::{BinaryViewBuilder, ListBuilder};
    use arrow_array::{BinaryViewArray, StructArray};

    use super::*;

    #[test]
    fn sums_the_lengths_of_the_rows_alone() {
        let mut list = ListBuilder::new(BinaryViewBuilder::new());
        for row in [&["a longer text than a view"; 2][..], &["b"], &[]] {
            row.iter().for_each(|text| list.values().append_value(text));
            list.append(true);
        }
        let text: ArrayRef = Arc::new(BinaryViewArray::from_iter_values(["", "xyz", ""]));
        let list: ArrayRef = Arc::new(list.finish());
        let inner = RecordBatch::try_from_iter([("list", list), ("t", text.clone())]).expect("equal lengths");
        let inner: ArrayRef = Arc::new(StructArray::from(inner));
        let batch = RecordBatch::try_from_iter([("flat", text), ("p", inner)]).expect("equal lengths");
        // {"list":["b"],"t":"xyz"}
        assert_eq!(json_bytes(&batch, 1..2), 24 + 3);
        let [first, rest] = [0..1, 1..3].map(|rows| json_bytes(&batch, rows));
        assert_eq!(first + rest, json_bytes(&batch, 0..3));
        assert!(first > 50 && rest < 60, "{first} {rest}");
        assert_eq!(json_bytes(&batch.slice(1, 1), 0..1), 24 + 3);
    }
}
