//! Description of an event column beyond the core.

use crate::event_columns::{
    CORE_NAMES, ColumnOrigin, Conversion, EventColumn, Invalid, MessageField, Missing, inner_type,
};

/// A column that a load can fill.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ExtraColumn {
    pub(crate) name: String,
    /// Its ClickHouse type, as in the tables.
    pub(crate) sql_type: String,
    pub(crate) is_nullable: bool,
    pub(crate) field: MessageField,
    pub(crate) layout: CellLayout,
}

/// Representation of a column's values, apart from NULL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CellLayout {
    /// This number of bytes, as in ClickHouse's memory.
    Fixed(usize),
    Text,
    TextList,
    TextMap,
}

impl ExtraColumn {
    /// Returns `None` for a core column, a column that is not from a field of the message, and a
    /// type that a load can't write.
    pub(crate) fn of(column: &EventColumn) -> Option<Self> {
        let ColumnOrigin::Field(field) = &column.origin else { return None };
        if CORE_NAMES.contains(&column.name.as_str()) {
            return None;
        }
        Some(Self {
            name: column.name.clone(),
            sql_type: column.sql_type.clone(),
            is_nullable: is_nullable(&column.sql_type),
            layout: CellLayout::of(&field.conversion, &column.sql_type)?,
            field: field.clone(),
        })
    }

    /// A column from the message's field of the same name.
    #[cfg(test)]
    pub(crate) fn of_type(name: &str, sql_type: &str) -> std::sync::Arc<Self> {
        let field = MessageField {
            path: vec![name.to_owned()],
            conversion: Conversion::of_type(sql_type),
            missing: Missing::Default,
            invalid: Invalid::DeadLetter,
        };
        let (name, sql_type) = (name.to_owned(), sql_type.to_owned());
        let origin = ColumnOrigin::Field(field);
        let column = EventColumn { name, sql_type, origin, codec: None, comment: None, index: None };
        Self::of(&column).expect("a type that a load can write").into()
    }

    /// The type of the values that are sent. The server converts them to `LowCardinality`.
    pub(crate) fn wire_type(&self) -> String {
        let inner = inner_type(&self.sql_type);
        if self.is_nullable { format!("Nullable({inner})") } else { inner.to_owned() }
    }

    /// Whether a row without a value is rejected, unless the mapping has a default.
    pub(crate) fn is_required(&self) -> bool {
        self.field.missing == Missing::DeadLetter
    }

    /// Whether an invalid value is treated like a missing one.
    pub(crate) fn forgives_invalid(&self) -> bool {
        self.field.invalid == Invalid::Default
    }
}

impl CellLayout {
    /// Returns `None` for a type that a load can't write.
    pub(crate) fn of(conversion: &Conversion, sql_type: &str) -> Option<Self> {
        Some(match conversion {
            Conversion::Text | Conversion::Json | Conversion::Properties => Self::Text,
            Conversion::Uuid => Self::Fixed(16),
            Conversion::Integer { integer } => Self::Fixed(integer_bytes(integer)?),
            Conversion::Timestamp { .. } => Self::Fixed(8),
            Conversion::Seconds => Self::Fixed(4),
            Conversion::Float { float } => Self::Fixed(if float == "Float32" { 4 } else { 8 }),
            Conversion::Boolean => Self::Fixed(1),
            // The config names the size: see `event_columns::canonical_type`.
            Conversion::Enumeration { .. } => {
                Self::Fixed(if inner_type(sql_type).starts_with("Enum16") { 2 } else { 1 })
            }
            Conversion::StringArray => Self::TextList,
            Conversion::StringMap => Self::TextMap,
            Conversion::Parsed { .. } => return None,
        })
    }
}

/// Whether a type holds NULL. Types of other layouts than [`CellLayout`] may give any answer.
pub(super) fn is_nullable(sql_type: &str) -> bool {
    sql_type.contains("Nullable(")
}

/// Bytes of an integer of up to 64 bits.
fn integer_bytes(integer: &str) -> Option<usize> {
    match integer.trim_start_matches('U') {
        "Int8" => Some(1),
        "Int16" => Some(2),
        "Int32" => Some(4),
        "Int64" => Some(8),
        _ => None,
    }
}
