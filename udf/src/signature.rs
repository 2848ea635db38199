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
    /// 32 bits, unsigned.
    UInt32,
    /// 64 bits, unsigned.
    UInt64,
    /// Any number of values of one type.
    Array(&'static Type),
}

impl Type {
    /// Bytes one value takes on the wire, for types whose values all take the same.
    pub fn width(self) -> Option<usize> {
        match self {
            Self::UInt32 => Some(size_of::<u32>()),
            Self::UInt64 => Some(size_of::<u64>()),
            Self::String | Self::Array(_) => None,
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::String => f.write_str("String"),
            Self::UInt32 => f.write_str("UInt32"),
            Self::UInt64 => f.write_str("UInt64"),
            Self::Array(item) => write!(f, "Array({item})"),
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
        // SELECT toTypeName('') , toTypeName(1::UInt32), toTypeName(1::UInt64), toTypeName([[1::UInt32]])
        let written = [Type::String, Type::UInt32, Type::UInt64, Type::Array(&Type::Array(&Type::UInt32))];
        let written = written.map(|data_type| data_type.to_string());
        assert_eq!(written, ["String", "UInt32", "UInt64", "Array(Array(UInt32))"]);
    }
}
