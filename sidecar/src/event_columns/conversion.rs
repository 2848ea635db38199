//! Conversion of a message's field to a column's type.

use serde::Serialize;

/// How a field's text becomes a value. The parser gives every field as text: a string as its value,
/// all else as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub(crate) enum Conversion {
    Uuid,
    /// Text that may not be an object or a list.
    Text,
    /// An integer type of ClickHouse, such as `Int64`.
    Integer {
        integer: String,
    },
    /// `DateTime64` with this number of fractional digits.
    Timestamp {
        digits: u8,
    },
    /// `DateTime`, whose years are 1970 to 2106.
    Seconds,
    /// A float type of ClickHouse; finite values only.
    Float {
        float: String,
    },
    /// `true`, `false`, `1` and `0`.
    Boolean,
    /// One of the names; `least` has the least number, and is the type's default.
    Enumeration {
        names: Vec<String>,
        numbers: Vec<i16>,
        least: i16,
    },
    /// A list; its items as text.
    StringArray,
    /// An object; its values as text.
    StringMap,
    /// Text, an object or a list, as text.
    Json,
    /// The `properties` of an event: as in the message, byte for byte.
    Properties,
    /// Any other type, by the parser. Invalid values can't be distinguished from missing ones.
    Parsed {
        json_type: String,
        is_nullable: bool,
    },
}

/// Types that can't be inside `Nullable`. JSON gives their default for a missing or invalid value.
const NEVER_NULLABLE: [&str; 8] =
    ["Nullable", "Array", "Map", "Tuple", "LowCardinality", "Variant", "Dynamic", "JSON"];

impl Conversion {
    /// The conversion for a ClickHouse type. `Nullable` and `LowCardinality` are looked through.
    pub(crate) fn of_type(sql_type: &str) -> Self {
        let (name, arguments) = parts(inner(sql_type));
        match (name, arguments) {
            ("UUID", None) => Self::Uuid,
            ("String", None) => Self::Json,
            ("DateTime" | "DateTime32", _) => Self::Seconds,
            ("Bool", None) => Self::Boolean,
            ("Float32" | "Float64", None) => Self::Float { float: name.to_owned() },
            ("Array", Some("String")) => Self::StringArray,
            ("Map", Some("String, String" | "String,String")) => Self::StringMap,
            ("DateTime64", Some(arguments)) => timestamp(arguments).unwrap_or_else(|| Self::parsed(sql_type)),
            ("Enum8" | "Enum16" | "Enum", Some(items)) => {
                enumeration(items).unwrap_or_else(|| Self::parsed(sql_type))
            }
            _ if is_integer(name) => Self::Integer { integer: name.to_owned() },
            _ => Self::parsed(sql_type),
        }
    }

    fn parsed(sql_type: &str) -> Self {
        let is_nullable = !NEVER_NULLABLE.contains(&parts(sql_type).0);
        let json_type = if is_nullable { format!("Nullable({sql_type})") } else { sql_type.to_owned() };
        Self::Parsed { json_type, is_nullable }
    }

    /// Whether values of another type can be distinguished from missing ones.
    pub(crate) fn finds_invalid(&self) -> bool {
        !matches!(self, Self::Json | Self::Properties | Self::Parsed { .. })
    }
}

/// The type as the server shows it: names of an enumeration in the order of their numbers.
pub(crate) fn canonical(sql_type: &str) -> String {
    let within = inner(sql_type);
    let Conversion::Enumeration { names, numbers, .. } = Conversion::of_type(within) else {
        return sql_type.to_owned();
    };
    let mut items: Vec<_> = numbers.iter().zip(&names).collect();
    items.sort_unstable();
    let fits = |number: &i16| i8::try_from(*number).is_ok();
    let name = match parts(within).0 {
        "Enum" if numbers.iter().all(fits) => "Enum8",
        "Enum" => "Enum16",
        name => name,
    };
    let items: Vec<String> = items.iter().map(|(number, name)| format!("'{name}' = {number}")).collect();
    sql_type.replace(within, &format!("{name}({})", items.join(", ")))
}

/// The type within `LowCardinality` and `Nullable`.
pub(crate) fn inner(sql_type: &str) -> &str {
    match parts(sql_type) {
        ("LowCardinality" | "Nullable", Some(within)) => inner(within),
        _ => sql_type,
    }
}

/// Name and arguments, for example of `Array(String)`.
fn parts(sql_type: &str) -> (&str, Option<&str>) {
    match sql_type.trim().split_once('(') {
        Some((name, rest)) => (name.trim(), rest.trim_end().strip_suffix(')').map(str::trim)),
        None => (sql_type.trim(), None),
    }
}

fn is_integer(name: &str) -> bool {
    let bits = name.strip_prefix('U').unwrap_or(name).strip_prefix("Int");
    bits.is_some_and(|bits| ["8", "16", "32", "64", "128", "256"].contains(&bits))
}

fn timestamp(arguments: &str) -> Option<Conversion> {
    let digits: u8 = arguments.split(',').next()?.trim().parse().ok()?;
    (digits <= 9).then_some(Conversion::Timestamp { digits })
}

/// Reads `'full' = 0, 'propertyless' = 1`. Without numbers the first name is 1.
fn enumeration(items: &str) -> Option<Conversion> {
    let (mut names, mut numbers) = (Vec::new(), Vec::new());
    let mut rest = items;
    while !rest.trim().is_empty() {
        let (name, after) = rest.trim_start().strip_prefix('\'')?.split_once('\'')?;
        let (number, after) = after.split_once(',').unwrap_or((after, ""));
        let next = numbers.last().map_or(1, |last: &i16| last.saturating_add(1));
        let number = match number.trim().strip_prefix('=') {
            Some(number) => number.trim().parse().ok()?,
            None => number.trim().is_empty().then_some(next)?,
        };
        names.push(name.to_owned());
        numbers.push(number);
        rest = after;
    }
    let least = numbers.iter().copied().min()?;
    Some(Conversion::Enumeration { names, numbers, least })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_have_their_conversions() {
        let integer = |name: &str| Conversion::Integer { integer: name.to_owned() };
        for (sql_type, wanted) in [
            ("UUID", Conversion::Uuid),
            ("Nullable(UUID)", Conversion::Uuid),
            ("LowCardinality(String)", Conversion::Json),
            ("LowCardinality(Nullable(String))", Conversion::Json),
            ("Bool", Conversion::Boolean),
            ("UInt8", integer("UInt8")),
            ("Nullable(Int256)", integer("Int256")),
            ("DateTime64(3, 'UTC')", Conversion::Timestamp { digits: 3 }),
            ("DateTime64(6)", Conversion::Timestamp { digits: 6 }),
            ("Nullable(DateTime('UTC'))", Conversion::Seconds),
            ("Array(String)", Conversion::StringArray),
            ("Map(String, String)", Conversion::StringMap),
        ] {
            assert_eq!(Conversion::of_type(sql_type), wanted, "{sql_type}");
        }
        for sql_type in ["Int7", "Decimal(9, 2)", "DateTime64(10)", "Array(UUID)", "Enum8(1)"] {
            assert!(!Conversion::of_type(sql_type).finds_invalid(), "{sql_type}");
        }
    }

    #[test]
    fn names_of_an_enumeration_have_numbers() {
        let read = |items| match Conversion::of_type(items) {
            Conversion::Enumeration { names, numbers, least } => (names.join("|"), numbers, least),
            other => panic!("{other:?}"),
        };
        let two = read("Enum8('full' = 0, 'a, b' = -1)");
        assert_eq!(two, ("full|a, b".to_owned(), vec![0, -1], -1));
        assert_eq!(read("Nullable(Enum('x', 'y'))"), ("x|y".to_owned(), vec![1, 2], 1));
        assert_eq!(canonical("Nullable(Enum('x','y' = -5))"), "Nullable(Enum8('y' = -5, 'x' = 1))");
        assert_eq!(canonical("Enum('x' = 300)"), "Enum16('x' = 300)");
        assert_eq!(canonical("Map(String, UUID)"), "Map(String, UUID)");
    }
}
