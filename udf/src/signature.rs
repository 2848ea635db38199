//! What a function takes and returns, in ClickHouse's own names.

use std::fmt;

/// The name of the result column, as ClickHouse expects it when the function's XML sets no `return_name`.
///
/// ClickHouse looks the column up by name and silently answers defaults (zeros) where it is missing, so the
/// XML must never name another one.
pub const RESULT_NAME: &str = "result";

/// A ClickHouse data type that functions take or return. `Display` writes it exactly as ClickHouse does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// Bytes of any length and content.
    String,
    /// 8 bits, unsigned; also what a `Bool` or a flag is sent as.
    UInt8,
    /// 32 bits, unsigned.
    UInt32,
    /// 64 bits, unsigned.
    UInt64,
    /// 64 bits, signed.
    Int64,
    /// 128 bits, on the wire as two little-endian halves, the one that is written first in text first.
    Uuid,
    /// `DateTime64(6)`: microseconds since 1970 in UTC, 64 bits, signed.
    Micros,
    /// Any number of values of one type.
    Array(&'static Type),
    /// A value or `NULL`.
    Nullable(&'static Type),
    /// Named values, one of each type. Names as ClickHouse writes them: in backquotes where they are keywords.
    Tuple(&'static [(&'static str, Type)]),
}

impl Type {
    /// Bytes one value takes on the wire, for types whose values all take the same and lie in one piece.
    pub fn width(self) -> Option<usize> {
        match self {
            Self::UInt8 => Some(size_of::<u8>()),
            Self::UInt32 => Some(size_of::<u32>()),
            Self::UInt64 | Self::Int64 | Self::Micros => Some(size_of::<u64>()),
            Self::Uuid => Some(size_of::<u128>()),
            Self::String | Self::Array(_) | Self::Nullable(_) | Self::Tuple(_) => None,
        }
    }

    /// Whether a column whose header names `found` has values of this type.
    ///
    /// ClickHouse casts arguments to the declared types, except that types which differ in their time zone alone are the
    /// same to it: a `DateTime64(6, 'UTC')` comes under its own name. Its values count from 1970 in UTC in any zone.
    pub fn is_named(self, found: &str) -> bool {
        let zoned = |rest: &str| rest.starts_with(", '") && rest.ends_with("')");
        found == self.to_string()
            || (self == Self::Micros && found.strip_prefix("DateTime64(6").is_some_and(zoned))
    }

    /// The types whose columns stand on the wire one after the other, where one column of this type is expected.
    pub fn pieces(self) -> Vec<Self> {
        match self {
            // One byte a row says whether it is NULL; then all values, those of NULLs too.
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

/// One argument of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Argument {
    /// The `name` of the argument in the function's XML, which ClickHouse sends as the column's name.
    pub name: &'static str,
    /// Its type. ClickHouse casts the values of the query to it before it sends them.
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
        // SELECT x FORMAT Native shows the name in the header of the column.
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
