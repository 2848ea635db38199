//! Values of an extra column in a block, as streams of the `Native` format.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::BinaryViewArray;
use bytes::Bytes;

use super::column::NativeColumn;
use super::memory::Memory;
use super::text::{length, push_text, text_bytes};
use crate::backfill::extra::{Cells, ExtraColumn, ExtraValues};

/// One column of a block. The streams follow one another in this order; a layout leaves some empty.
#[derive(Debug)]
pub(super) struct ExtraStreams {
    column: Arc<ExtraColumn>,
    /// A byte per row, which is 1 for NULL.
    nulls: NativeColumn,
    /// The number of items up to the end of each list or map.
    ends: NativeColumn,
    /// Values, items of lists, or keys of maps.
    values: NativeColumn,
    /// Values of maps.
    map_values: NativeColumn,
    /// Items of all rows so far.
    items: u64,
}

impl ExtraStreams {
    pub(super) fn new(column: Arc<ExtraColumn>) -> Self {
        let [nulls, ends, values, map_values] = [(); 4].map(|()| NativeColumn::default());
        Self { column, nulls, ends, values, map_values, items: 0 }
    }

    /// Appends `rows` of a batch.
    pub(super) fn extend(&mut self, values: &ExtraValues, rows: &[usize], memory: &Arc<Memory>) {
        if let Some(nulls) = &values.nulls {
            self.nulls.extend(rows.iter().map(|row| [u8::from(nulls[*row])]), memory);
        }
        match &values.cells {
            Cells::Fixed { width, bytes } => self.extend_fixed(*width, bytes, rows, memory),
            Cells::Texts(texts) => {
                rows.iter().for_each(|row| push_text(&mut self.values, memory, texts.value(*row)));
            }
            Cells::Lists { rows: lists, items } => {
                self.extend_ends(lists, rows, memory);
                push_items(&mut self.values, lists, items, rows, memory);
            }
            Cells::Maps { rows: maps, keys, values } => {
                self.extend_ends(maps, rows, memory);
                push_items(&mut self.values, maps, keys, rows, memory);
                push_items(&mut self.map_values, maps, values, rows, memory);
            }
        }
    }

    fn extend_fixed(&mut self, width: usize, bytes: &[u8], rows: &[usize], memory: &Arc<Memory>) {
        for row in rows {
            self.values.end(width, memory).extend_from_slice(&bytes[row * width..][..width]);
        }
    }

    fn extend_ends(&mut self, lists: &[Range<usize>], rows: &[usize], memory: &Arc<Memory>) {
        for row in rows {
            self.items += lists[*row].len() as u64;
            self.ends.end(8, memory).extend_from_slice(&self.items.to_le_bytes());
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.column.name
    }

    pub(super) fn wire_type(&self) -> String {
        self.column.wire_type()
    }

    /// Size of all values in bytes.
    pub(super) fn bytes(&self) -> u64 {
        [&self.nulls, &self.ends, &self.values, &self.map_values].map(NativeColumn::bytes).iter().sum()
    }

    /// All values in pieces. Each piece releases its memory when dropped.
    pub(super) fn into_pieces(self) -> impl Iterator<Item = Bytes> {
        [self.nulls, self.ends, self.values, self.map_values].into_iter().flat_map(NativeColumn::into_pieces)
    }
}

fn push_items(
    column: &mut NativeColumn,
    lists: &[Range<usize>],
    items: &BinaryViewArray,
    rows: &[usize],
    memory: &Arc<Memory>,
) {
    for item in rows.iter().flat_map(|row| lists[*row].clone()) {
        push_text(column, memory, items.value(item));
    }
}

/// Bytes of a row's value in a block.
pub(super) fn row_bytes(values: &ExtraValues, row: usize) -> u64 {
    let texts = |items: &BinaryViewArray, row: &Range<usize>| -> u64 {
        row.clone().map(|item| text_bytes(length(items, item))).sum()
    };
    let value = match &values.cells {
        Cells::Fixed { width, .. } => *width as u64,
        Cells::Texts(array) => text_bytes(length(array, row)),
        Cells::Lists { rows, items } => 8 + texts(items, &rows[row]),
        Cells::Maps { rows, keys, values } => 8 + texts(keys, &rows[row]) + texts(values, &rows[row]),
    };
    value + u64::from(values.nulls.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_layout_is_native_as_the_server_writes_it() {
        // SELECT ['a', 'bc'] AS tags, map() AS labels, NULL AS perhaps, 'x' AS word, then [''],
        // map('k', 'v', '', 'w'), toInt8(-2), 'ü'. FORMAT Native, without the names and types. The
        // value of a NULL may be any.
        let texts = |texts: &[&str]| BinaryViewArray::from_iter_values(texts);
        let cells = [
            ("Array(String)", None, Cells::Lists { rows: vec![2..3, 0..2], items: texts(&["a", "bc", ""]) }),
            (
                "Map(String, String)",
                None,
                Cells::Maps { rows: vec![0..2, 0..0], keys: texts(&["k", ""]), values: texts(&["v", "w"]) },
            ),
            ("Nullable(Int8)", Some(vec![false, true]), Cells::Fixed { width: 1, bytes: vec![0xfe, 0] }),
            ("LowCardinality(String)", None, Cells::Texts(texts(&["ü", "x"]))),
        ];
        let memory = Memory::new(u64::MAX);
        let written = cells.map(|(sql_type, nulls, cells)| {
            let column = ExtraColumn::of_type("a", sql_type);
            let values = ExtraValues { column: column.clone(), nulls, cells };
            let mut streams = ExtraStreams::new(column);
            // One row at a time, in another order than in the batch.
            streams.extend(&values, &[1], &memory);
            streams.extend(&values, &[0], &memory);
            assert_eq!(streams.bytes(), row_bytes(&values, 0) + row_bytes(&values, 1), "{sql_type}");
            let bytes: Vec<u8> = streams.into_pieces().flatten().collect();
            bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
        });
        let wanted = [
            "02000000000000000300000000000000016102626300",
            "00000000000000000200000000000000016b0001760177",
            "010000fe",
            "017802c3bc",
        ];
        assert_eq!(written, wanted);
    }
}
