//! Registry of event columns: name, type, and where each value comes from.
//!
//! Message reading, views, tables, dead-letter reasons and backfills follow from it. A profile is a
//! list of columns; the config adds its own.

mod changing;
mod conversion;
mod core;
mod person_key;
mod posthog;

pub(crate) use self::changing::changing_function;
pub(crate) use self::conversion::{Conversion, canonical as canonical_type, inner as inner_type};
pub(crate) use self::core::CORE_NAMES;
use self::core::core;
pub(crate) use self::person_key::{PERSON_KEY_FILE, person_key};
use self::posthog::posthog;

/// Start of a parsed value's name in the views, for columns that the core lacks.
pub(crate) const PARSED: &str = "parsed ";

/// A list of columns to begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EventProfile {
    /// The documented columns.
    Core,
    /// Those of a PostHog of 2026.
    Posthog,
}

impl EventProfile {
    /// Its columns, in the order of the tables.
    pub(crate) fn columns(self) -> Vec<EventColumn> {
        match self {
            Self::Core => core(),
            Self::Posthog => posthog(),
        }
    }

    /// The name by which its queries know the table of distinct ids.
    pub(crate) fn distinct_id_table(self) -> &'static str {
        match self {
            Self::Core => "person_distinct_id",
            Self::Posthog => "person_distinct_id2",
        }
    }

    /// The column of the application's distinct ids that is above 0 if earlier events can have
    /// another person.
    pub(crate) fn person_changes(self) -> Option<&'static str> {
        match self {
            Self::Core => None,
            Self::Posthog => Some("version"),
        }
    }
}

/// A column of `sharded_events`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EventColumn {
    /// Safe between backticks.
    pub(crate) name: String,
    /// Its ClickHouse type; checked to be only a type.
    pub(crate) sql_type: String,
    pub(crate) origin: ColumnOrigin,
    /// Arguments of `CODEC`.
    pub(crate) codec: Option<String>,
    /// Safe between single quotes.
    pub(crate) comment: Option<String>,
    /// The type of its data-skipping index, for example `minmax`.
    pub(crate) index: Option<String>,
}

/// Source of a column's values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ColumnOrigin {
    /// A field of the message.
    Field(MessageField),
    /// The timestamp of the Kafka message, the same on every read. A backfill's rows have the
    /// type's default, except in `_timestamp`.
    MessageTimestamp,
    /// The partition of the Kafka message.
    Partition,
    /// The offset of the Kafka message, or the place of a backfill's row.
    Offset,
    /// Computed by the shard from other columns; not part of an insert.
    Materialized(Derivation),
}

/// A field of the message and its conversion. Every conversion is total.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MessageField {
    /// Keys from the message's top level; at least one. Each is safe between single quotes and
    /// backticks.
    pub(crate) path: Vec<String>,
    pub(crate) conversion: Conversion,
    pub(crate) missing: Missing,
    pub(crate) invalid: Invalid,
}

/// Rule for a field that a message lacks, or that is null.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing {
    /// The message is a dead letter.
    DeadLetter,
    /// The type's default, which is NULL for `Nullable`.
    Default,
    /// The timestamp of the Kafka message.
    MessageTimestamp,
}

/// Rule for a field whose value is not one of the column's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Invalid {
    /// The message is a dead letter.
    DeadLetter,
    /// As if the field were missing.
    Default,
}

/// Computation of a materialized column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Derivation {
    /// A property of a JSON column, as text without its quotes.
    Property { source: String, key: String },
    /// A file below `sql/` with an expression over columns of the table.
    File(&'static str),
    /// The config's own expression over columns of the table.
    Expression(String),
}

impl EventColumn {
    fn new(name: &str, sql_type: &str, origin: ColumnOrigin) -> Self {
        let (name, sql_type) = (name.to_owned(), sql_type.to_owned());
        Self { name, sql_type, origin, codec: None, comment: None, index: None }
    }

    /// A column from the message's field of the same name.
    fn of_field(name: &str, sql_type: &str, missing: Missing) -> Self {
        let field = MessageField {
            path: vec![name.to_owned()],
            conversion: Conversion::of_type(sql_type),
            missing,
            invalid: Invalid::DeadLetter,
        };
        Self::new(name, sql_type, ColumnOrigin::Field(field))
    }

    fn with_codec(mut self, codec: &str) -> Self {
        self.codec = Some(codec.to_owned());
        self
    }

    /// Whether an insert has the column.
    pub(crate) fn is_written(&self) -> bool {
        !matches!(self.origin, ColumnOrigin::Materialized(_))
    }

    /// Name of its data-skipping index.
    pub(crate) fn index_name(&self) -> Option<String> {
        self.index.as_ref().map(|index| format!("{index}_{}", self.name))
    }
}
