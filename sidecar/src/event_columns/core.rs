//! Columns of the documented events table.

use super::{ColumnOrigin, Conversion, EventColumn, Missing};

/// Compression of JSON texts, in ClickHouse's words.
pub(super) const JSON_CODEC: &str = "ZSTD(3)";

/// Names of the columns of every profile, in the order of the tables.
pub(crate) const CORE_NAMES: [&str; 11] = [
    "uuid",
    "event",
    "properties",
    "timestamp",
    "team_id",
    "distinct_id",
    "elements_hash",
    "created_at",
    "_timestamp",
    "_offset",
    "elements_chain",
];

/// The columns of every profile, in the order of the tables.
pub(crate) fn core() -> Vec<EventColumn> {
    use Missing::{DeadLetter, Default, MessageTimestamp};
    vec![
        EventColumn::of_field("uuid", "UUID", DeadLetter),
        text("event", DeadLetter),
        converted("properties", Conversion::Properties, Default).with_codec(JSON_CODEC),
        EventColumn::of_field("timestamp", "DateTime64(6, 'UTC')", DeadLetter),
        EventColumn::of_field("team_id", "Int64", DeadLetter),
        text("distinct_id", DeadLetter),
        text("elements_hash", Default),
        EventColumn::of_field("created_at", "DateTime64(6, 'UTC')", MessageTimestamp),
        EventColumn::new("_timestamp", "DateTime", ColumnOrigin::MessageTimestamp),
        EventColumn::new("_offset", "UInt64", ColumnOrigin::Offset),
        text("elements_chain", Default),
    ]
}

/// A text that may not be an object or a list.
fn text(name: &str, missing: Missing) -> EventColumn {
    converted(name, Conversion::Text, missing)
}

fn converted(name: &str, conversion: Conversion, missing: Missing) -> EventColumn {
    let mut column = EventColumn::of_field(name, "String", missing);
    if let ColumnOrigin::Field(field) = &mut column.origin {
        field.conversion = conversion;
    }
    column
}
