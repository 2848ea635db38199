//! Values of a column beyond the core, row by row.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::BinaryViewArray;
use arrow_array::builder::{ArrayBuilder, BinaryViewBuilder};

use crate::backfill::extra::{CellLayout, CellValue, Cells, ExtraColumn, ExtraValues};
use crate::backfill::map::mapping::find::ResolvedColumn;
use crate::backfill::map::reject::Faults;

/// Problem of a value: the value for display, and the end of a sentence that starts with it.
pub(super) type CellProblem = (String, String);

/// A column's rows during decoding.
pub(super) struct CellRows<'a> {
    pub(super) column: &'a Arc<ExtraColumn>,
    /// Column of the file, for messages.
    pub(super) source: &'a str,
    pub(super) values: &'a ResolvedColumn,
    /// Replaces null. Without a default, a null is rejected.
    pub(super) default: Option<&'a CellValue>,
}

impl CellRows<'_> {
    /// Calls `push` for every row that is not null. Other rows have the default, and so have
    /// invalid ones if the column forgives them.
    pub(super) fn build(
        &self,
        faults: &mut Faults,
        mut push: impl FnMut(usize, &mut CellsBuilder) -> Result<(), CellProblem>,
    ) -> ExtraValues {
        let name = &self.column.name;
        let filler = self.column.default_value();
        let mut builder = CellsBuilder::new(self.column, self.values.array.len());
        for row in 0..self.values.array.len() {
            let problem = if self.values.is_null(row) {
                format!("{name} is null (column {})", self.source)
            } else {
                match push(row, &mut builder) {
                    Ok(()) => continue,
                    Err((shown, problem)) => format!("{name} {shown} in column {} {problem}", self.source),
                }
            };
            let replaced = self.values.is_null(row) || self.column.forgives_invalid();
            match self.default.filter(|_| replaced) {
                Some(default) => builder.push_value(default),
                None => {
                    faults.add(row, &problem);
                    builder.push_value(&filler);
                }
            }
        }
        builder.finish()
    }
}

/// Collects the values of one column.
pub(super) struct CellsBuilder {
    column: Arc<ExtraColumn>,
    nulls: Vec<bool>,
    /// Values of a fixed size.
    bytes: Vec<u8>,
    /// Items of each list or map.
    rows: Vec<Range<usize>>,
    items: BinaryViewBuilder,
    map_values: BinaryViewBuilder,
}

impl CellsBuilder {
    fn new(column: &Arc<ExtraColumn>, rows: usize) -> Self {
        let (items, map_values) = (BinaryViewBuilder::new(), BinaryViewBuilder::new());
        let nulls = Vec::with_capacity(if column.is_nullable { rows } else { 0 });
        Self { column: column.clone(), nulls, bytes: Vec::new(), rows: Vec::new(), items, map_values }
    }

    pub(super) fn push_fixed(&mut self, value: [u8; 16]) {
        if let CellLayout::Fixed(width) = self.column.layout {
            self.bytes.extend_from_slice(&value[..width]);
        }
        self.push_null(false);
    }

    pub(super) fn push_list<T: AsRef<[u8]>>(&mut self, items: impl IntoIterator<Item = T>) {
        let start = self.items.len();
        items.into_iter().for_each(|item| self.items.append_value(item));
        self.rows.push(start..self.items.len());
        self.push_null(false);
    }

    pub(super) fn push_map<T: AsRef<[u8]>>(&mut self, pairs: impl IntoIterator<Item = (T, T)>) {
        let start = self.items.len();
        for (key, value) in pairs {
            self.items.append_value(key);
            self.map_values.append_value(value);
        }
        self.rows.push(start..self.items.len());
        self.push_null(false);
    }

    fn push_value(&mut self, value: &CellValue) {
        match value {
            CellValue::Fixed(bytes) => self.push_fixed(*bytes),
            CellValue::List(items) => self.push_list(items),
            CellValue::Map(pairs) => self.push_map(pairs.iter().map(|(key, value)| (key, value))),
            CellValue::Null | CellValue::Text(_) => {
                self.push_fixed(self.column.filler());
                if let Some(null) = self.nulls.last_mut() {
                    *null = true;
                }
            }
        }
    }

    fn push_null(&mut self, is_null: bool) {
        if self.column.is_nullable {
            self.nulls.push(is_null);
        }
    }

    fn finish(mut self) -> ExtraValues {
        let (items, map_values): (BinaryViewArray, BinaryViewArray) =
            (self.items.finish(), self.map_values.finish());
        let cells = match self.column.layout {
            CellLayout::Fixed(width) => Cells::Fixed { width, bytes: self.bytes },
            CellLayout::TextMap => Cells::Maps { rows: self.rows, keys: items, values: map_values },
            // Texts have no builder: see `ExtraReader::texts`.
            CellLayout::Text | CellLayout::TextList => Cells::Lists { rows: self.rows, items },
        };
        let nulls = self.column.is_nullable.then_some(self.nulls);
        ExtraValues { column: self.column, nulls, cells }
    }
}
