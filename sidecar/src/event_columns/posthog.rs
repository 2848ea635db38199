//! Columns that a PostHog of 2026 has beyond the core.

use super::core::JSON_CODEC;
use super::{ColumnOrigin, Derivation, EventColumn, Missing, core};

/// Number of group types of a project.
const GROUPS: u8 = 5;

/// Materialized columns from properties that the app filters by without asking first.
const PROPERTIES: [&str; 7] =
    ["$group_0", "$group_1", "$group_2", "$group_3", "$group_4", "$session_id", "$window_id"];

/// Start of the comment by which the app finds a materialized column of a property.
const COMMENT: &str = "column_materializer::";

/// Columns computed from the clicked elements, with their types and the files of their expressions.
const ELEMENTS: [(&str, &str, &str); 4] = [
    ("elements_chain_href", "String", "events/elements_chain_href.sql"),
    ("elements_chain_texts", "Array(String)", "events/elements_chain_texts.sql"),
    ("elements_chain_ids", "Array(String)", "events/elements_chain_ids.sql"),
    (
        "elements_chain_elements",
        "Array(Enum8('a' = 1, 'button' = 2, 'form' = 3, 'input' = 4, 'select' = 5, 'textarea' = 6, 'label' = 7))",
        "events/elements_chain_elements.sql",
    ),
];

/// All columns of the profile, in the order of the tables.
pub(crate) fn posthog() -> Vec<EventColumn> {
    let json = |name: &str| EventColumn::of_field(name, "String", Missing::Default).with_codec(JSON_CODEC);
    let time = |name: &str| EventColumn::of_field(name, "DateTime64(3, 'UTC')", Missing::Default);
    let mut columns = core();
    columns.extend([
        EventColumn::of_field("person_id", "UUID", Missing::Default),
        time("person_created_at"),
        json("person_properties"),
    ]);
    columns.extend((0..GROUPS).map(|group| json(&format!("group{group}_properties"))));
    columns.extend((0..GROUPS).map(|group| time(&format!("group{group}_created_at"))));
    let mode = "Enum8('full' = 0, 'propertyless' = 1, 'force_upgrade' = 2)";
    columns.push(EventColumn::of_field("person_mode", mode, Missing::Default));
    let moment = "Nullable(DateTime64(6, 'UTC'))";
    columns.push(EventColumn::new("inserted_at", moment, ColumnOrigin::MessageTimestamp));
    columns.extend(PROPERTIES.map(property));
    columns.extend(ELEMENTS.map(|(name, sql_type, file)| {
        EventColumn::new(name, sql_type, ColumnOrigin::Materialized(Derivation::File(file)))
    }));
    columns
}

fn property(key: &str) -> EventColumn {
    let derivation = Derivation::Property { source: "properties".to_owned(), key: key.to_owned() };
    let mut column = EventColumn::new(key, "String", ColumnOrigin::Materialized(derivation));
    column.comment = Some(format!("{COMMENT}{key}"));
    column.index = Some("minmax".to_owned());
    column
}
