//! Values of an extra column in a batch.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{BinaryViewArray, BooleanArray};
use arrow_select::filter::filter;

use super::column::{CellLayout, ExtraColumn};
use super::value::CellValue;

/// One value per row of the batch.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ExtraValues {
    pub(crate) column: Arc<ExtraColumn>,
    /// Whether each row is NULL; only for a nullable column.
    pub(crate) nulls: Option<Vec<bool>>,
    pub(crate) cells: Cells,
}

/// Values by their layout. A row that is NULL has any valid value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Cells {
    /// Values of `width` bytes, one after the other.
    Fixed {
        width: usize,
        bytes: Vec<u8>,
    },
    Texts(BinaryViewArray),
    /// The items of each row.
    Lists {
        rows: Vec<Range<usize>>,
        items: BinaryViewArray,
    },
    /// The keys and values of each row.
    Maps {
        rows: Vec<Range<usize>>,
        keys: BinaryViewArray,
        values: BinaryViewArray,
    },
}

impl ExtraValues {
    /// The same value in each of `rows` rows.
    pub(crate) fn repeated(column: &Arc<ExtraColumn>, value: &CellValue, rows: usize) -> Self {
        let nulls = column.is_nullable.then(|| vec![*value == CellValue::Null; rows]);
        let texts =
            |texts: &[&str]| BinaryViewArray::from_iter_values(texts.iter().map(|text| text.as_bytes()));
        let cells = match (column.layout, value) {
            (CellLayout::Fixed(width), CellValue::Fixed(bytes)) => fixed(width, bytes, rows),
            (CellLayout::Fixed(width), _) => fixed(width, &column.filler(), rows),
            (CellLayout::Text, value) => {
                let text = if let CellValue::Text(text) = value { text.as_str() } else { "" };
                let text = texts(&[text]);
                let views = vec![text.views()[0]; rows];
                Cells::Texts(BinaryViewArray::new(views.into(), text.data_buffers().to_vec(), None))
            }
            (CellLayout::TextList, value) => {
                let items = if let CellValue::List(items) = value { items.as_slice() } else { &[] };
                let items: Vec<&str> = items.iter().map(String::as_str).collect();
                Cells::Lists { rows: vec![0..items.len(); rows], items: texts(&items) }
            }
            (CellLayout::TextMap, value) => {
                let pairs = if let CellValue::Map(pairs) = value { pairs.as_slice() } else { &[] };
                let (keys, values): (Vec<&str>, Vec<&str>) =
                    pairs.iter().map(|(key, value)| (key.as_str(), value.as_str())).unzip();
                Cells::Maps { rows: vec![0..pairs.len(); rows], keys: texts(&keys), values: texts(&values) }
            }
        };
        Self { column: column.clone(), nulls, cells }
    }

    /// Whether a row is NULL.
    pub(crate) fn is_null(&self, row: usize) -> bool {
        self.nulls.as_ref().is_some_and(|nulls| nulls[row])
    }

    /// The rows that are `good`.
    pub(crate) fn kept(&self, good: &[bool]) -> Self {
        let nulls = self.nulls.as_ref().map(|nulls| kept(nulls, good));
        let cells = match &self.cells {
            Cells::Fixed { width, bytes } => {
                let values = bytes.chunks_exact(*width).zip(good).filter(|(_, good)| **good);
                Cells::Fixed { width: *width, bytes: values.flat_map(|(value, _)| value).copied().collect() }
            }
            Cells::Texts(texts) => Cells::Texts(kept_texts(texts, good)),
            Cells::Lists { rows, items } => Cells::Lists { rows: kept(rows, good), items: items.clone() },
            Cells::Maps { rows, keys, values } => {
                Cells::Maps { rows: kept(rows, good), keys: keys.clone(), values: values.clone() }
            }
        };
        Self { column: self.column.clone(), nulls, cells }
    }
}

fn fixed(width: usize, value: &[u8; 16], rows: usize) -> Cells {
    Cells::Fixed { width, bytes: value[..width].repeat(rows) }
}

fn kept<T: Clone>(values: &[T], good: &[bool]) -> Vec<T> {
    values.iter().zip(good).filter(|(_, good)| **good).map(|(value, _)| value.clone()).collect()
}

fn kept_texts(texts: &BinaryViewArray, good: &[bool]) -> BinaryViewArray {
    match filter(texts, &BooleanArray::from(good.to_vec())) {
        Ok(kept) => kept.as_binary_view().clone(),
        // Unreachable: both have the batch's length.
        Err(_) => BinaryViewArray::new(kept(texts.views(), good).into(), texts.data_buffers().to_vec(), None),
    }
}
