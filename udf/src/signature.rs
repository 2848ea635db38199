//! Argument and result types of functions, in ClickHouse's names.

use std::fmt;

/// Name of the result column that ClickHouse expects when the function's XML sets no `return_name`.
///
/// ClickHouse looks up the column by name and silently returns defaults (zeros) if it is missing.
/// The XML must therefore never set another name.
pub const RESULT_NAME: &str = "result";

/// A ClickHouse data type of arguments or results. `Display` writes it exactly as ClickHouse does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// Bytes of any length and content.
    String,
    /// 8 bits, unsigned. ClickHouse also sends `Bool` and flags in this type.
    UInt8,
    /// 32 bits, unsigned.
    UInt32,
    /// 64 bits, unsigned.
    UInt64,
    /// 64 bits, signed.
    Int64,
    /// 128 bits. On the wire: two little-endian halves, the first half of the text form first.
    Uuid,
    /// `DateTime64(6)`: microseconds since 1970 in UTC, 64 bits, signed.
    Micros,
    /// Any number of values of one type.
    Array(&'static Type),
    /// A value or `NULL`.
    Nullable(&'static Type),
    /// Named values, one of each type. Names are in ClickHouse's spelling: keywords in backquotes.
    Tuple(&'static [(&'static str, Type)]),
}

impl Type {
    /// Bytes of one value on the wire; `None` for types with values of variable width or in several
    /// pieces.
    pub fn width(self) -> Option<usize> {
        match self {
            Self::UInt8 => Some(size_of::<u8>()),
            Self::UInt32 => Some(size_of::<u32>()),
            Self::UInt64 | Self::Int64 | Self::Micros => Some(size_of::<u64>()),
            Self::Uuid => Some(size_of::<u128>()),
            Self::String | Self::Array(_) | Self::Nullable(_) | Self::Tuple(_) => None,
        }
    }

    /// Whether a column whose header says `found` has values of this type.
    ///
    /// ClickHouse casts arguments to the declared types, but treats types that differ only in time
    /// zone as equal: a `DateTime64(6, 'UTC')` is sent under that name. Its values count from 1970
    /// in UTC in every zone.
    pub fn is_named(self, found: &str) -> bool {
        let zoned = |rest: &str| rest.starts_with(", '") && rest.ends_with("')");
        found == self.to_string()
            || (self == Self::Micros && found.strip_prefix("DateTime64(6").is_some_and(zoned))
    }

    /// Returns the types of the consecutive columns on the wire that form one column of this type.
    pub fn pieces(self) -> Vec<Self> {
        match self {
            // One byte per row marks NULL. All values follow, including placeholders for NULLs.
            Self::Nullable(value) => [vec![Self::UInt8], value.pieces()].concat(),
            Self::Tuple(items) => items.iter().flat_map(|(_, item)| item.pieces()).collect(),
            single => vec![single],
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::String => f.write_str("String"),
            Self::UInt8 => f.write_str("UInt8"),
            Self::UInt32 => f.write_str("UInt32"),
            Self::UInt64 => f.write_str("UInt64"),
            Self::Int64 => f.write_str("Int64"),
            Self::Uuid => f.write_str("UUID"),
            Self::Micros => f.write_str("DateTime64(6)"),
            Self::Array(item) => write!(f, "Array({item})"),
            Self::Nullable(value) => write!(f, "Nullable({value})"),
            Self::Tuple(items) => {
                f.write_str("Tuple(")?;
                for (index, (name, item)) in items.iter().enumerate() {
                    let comma = if index > 0 { ", " } else { "" };
                    write!(f, "{comma}{name} {item}")?;
                }
                f.write_str(")")
            }
        }
    }
}

/// One parameter of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Argument {
    /// The argument's `name` in the function's XML, which ClickHouse sends as the column name.
    pub name: &'static str,
    /// Declared type, to which ClickHouse casts the query's values before sending.
    pub data_type: Type,
}

impl fmt::Display for Argument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.data_type)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_spelled_as_clickhouse_spells_them() {
        // SELECT x FORMAT Native shows the name in the column header.
        const PAIR: Type = Type::Tuple(&[("`from`", Type::UInt32), ("to", Type::UInt32)]);
        let written = [
            (Type::String, "String"),
            (Type::Array(&Type::Array(&Type::UInt8)), "Array(Array(UInt8))"),
            (Type::Array(&Type::Int64), "Array(Int64)"),
            (Type::Nullable(&Type::Uuid), "Nullable(UUID)"),
            (Type::Micros, "DateTime64(6)"),
            (PAIR, "Tuple(`from` UInt32, to UInt32)"),
        ];
        for (data_type, name) in written {
            assert_eq!(data_type.to_string(), name);
            assert!(data_type.is_named(name) && !data_type.is_named("DateTime64(3, 'UTC')"));
        }
        assert!(Type::Micros.is_named("DateTime64(6, 'Europe/Berlin')"));
        assert!(!Type::Int64.is_named("DateTime64(6, 'UTC')"));
    }
}
