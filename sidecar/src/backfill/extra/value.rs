//! One value of an extra column, for defaults and constants.

use serde::Serialize;

use super::column::{CellLayout, ExtraColumn};
use crate::event_columns::Conversion;

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) enum CellValue {
    Null,
    /// The first bytes are the value; their number is the layout's.
    Fixed([u8; 16]),
    Text(String),
    List(Vec<String>),
    Map(Vec<(String, String)>),
}

impl ExtraColumn {
    /// The type's default, as ClickHouse fills it in.
    pub(crate) fn default_value(&self) -> CellValue {
        if self.is_nullable {
            return CellValue::Null;
        }
        match self.layout {
            CellLayout::Fixed(_) => CellValue::Fixed(self.filler()),
            CellLayout::Text => CellValue::Text(String::new()),
            CellLayout::TextList => CellValue::List(Vec::new()),
            CellLayout::TextMap => CellValue::Map(Vec::new()),
        }
    }

    /// Bytes of a valid value, for NULL and for rejected rows.
    pub(crate) fn filler(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        if let Conversion::Enumeration { least, .. } = &self.field.conversion {
            bytes[..2].copy_from_slice(&least.to_le_bytes());
        }
        bytes
    }
}
