//! Parsing of person and distinct id rows from PostgreSQL's text form.

use std::fmt;

use uuid::Uuid;

use crate::kafka::shown_key;

use super::pgoutput::Cell;
use super::table::{Table, TableKind, distinct_id, person};

/// The key of a person in ClickHouse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct PersonKey {
    pub(crate) team_id: i64,
    pub(crate) uuid: Uuid,
}

/// The key of a distinct id in ClickHouse.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct DistinctIdKey {
    pub(crate) team_id: i64,
    pub(crate) distinct_id: String,
}

/// The key of a row in ClickHouse.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    Person(PersonKey),
    DistinctId(DistinctIdKey),
}

impl Key {
    /// Parses the output of [`Display`](fmt::Display); `None` if it is no key of this kind.
    pub(crate) fn parse(kind: TableKind, text: &str) -> Option<Self> {
        let (team_id, rest) = text.split_once(':')?;
        let team_id = team_id.parse().ok()?;
        Some(match kind {
            TableKind::Person => Self::Person(PersonKey { team_id, uuid: rest.parse().ok()? }),
            TableKind::DistinctId => {
                Self::DistinctId(DistinctIdKey { team_id, distinct_id: rest.to_owned() })
            }
        })
    }
}

impl Key {
    /// The key without a distinct id, which may be an e-mail address.
    pub(crate) fn for_logs(&self) -> String {
        shown_key(self.to_string().as_bytes())
    }
}

// The format in message keys and audit reports.
impl fmt::Display for PersonKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.team_id, self.uuid)
    }
}

impl fmt::Display for DistinctIdKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.team_id, self.distinct_id)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Person(key) => key.fmt(f),
            Self::DistinctId(key) => key.fmt(f),
        }
    }
}

/// A person in PostgreSQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Person {
    /// The primary key, which distinct ids reference.
    pub(crate) id: i64,
    pub(crate) key: PersonKey,
    /// JSON.
    pub(crate) properties: String,
    /// Whether a user has logged in.
    pub(crate) is_identified: bool,
    /// In the text form of ClickHouse's `DateTime64(3, 'UTC')`; years from 1900 to 2299.
    pub(crate) created_at: String,
    pub(crate) presence: Presence,
}

/// Whether a person is live, deleted or merged although its row exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Presence {
    Live,
    Deleted,
    /// Merged into another person, given by [`Person::id`].
    MergedInto(i64),
}

/// A distinct id in PostgreSQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DistinctId {
    pub(crate) key: DistinctIdKey,
    /// The person, by [`Person::id`]; absent for NULL.
    pub(crate) person_id: Option<i64>,
    /// Whether a column says that earlier events can have another person.
    pub(crate) has_changed: bool,
    /// Whether it is deleted although its row exists.
    pub(crate) is_deleted: bool,
}

/// A value that can't be parsed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("column {column} of a row in {table} is {found}, which is no {wanted}: please report this")]
pub(crate) struct ValueError {
    table: String,
    column: String,
    found: String,
    wanted: &'static str,
}

/// Parser for the values of one row.
pub(crate) struct RowReader<'a> {
    table: &'a Table,
    cells: &'a [Cell],
}

/// The range of ClickHouse's timestamps. PostgreSQL's calendar is longer and has infinity.
const EARLIEST: &str = "1900-01-01 00:00:00";
const LATEST: &str = "2299-12-31 23:59:59.999";
const NEVER: &str = "1970-01-01 00:00:00";

impl<'a> RowReader<'a> {
    pub(crate) fn new(table: &'a Table, cells: &'a [Cell]) -> Self {
        Self { table, cells }
    }

    /// The row's key; `None` if a part of it is NULL, because ClickHouse can't store it.
    pub(crate) fn key(&self) -> Result<Option<Key>, ValueError> {
        Ok(match self.table.kind {
            TableKind::Person => self.person_key()?.map(Key::Person),
            TableKind::DistinctId => self.distinct_id_key()?.map(Key::DistinctId),
        })
    }

    fn person_key(&self) -> Result<Option<PersonKey>, ValueError> {
        let (team_id, uuid) = (self.integer(person::TEAM)?, self.text(person::UUID)?);
        let (Some(team_id), Some(uuid)) = (team_id, uuid) else { return Ok(None) };
        let uuid = Uuid::try_parse(uuid).map_err(|_| self.wrong(person::UUID, "uuid"))?;
        Ok(Some(PersonKey { team_id, uuid }))
    }

    fn distinct_id_key(&self) -> Result<Option<DistinctIdKey>, ValueError> {
        let (team_id, id) = (self.integer(distinct_id::TEAM)?, self.text(distinct_id::DISTINCT_ID)?);
        let (Some(team_id), Some(id)) = (team_id, id) else { return Ok(None) };
        Ok(Some(DistinctIdKey { team_id, distinct_id: id.to_owned() }))
    }

    pub(crate) fn person(&self) -> Result<Option<Person>, ValueError> {
        let (Some(key), Some(id)) = (self.person_key()?, self.integer(person::ID)?) else { return Ok(None) };
        Ok(Some(Person {
            id,
            key,
            properties: self.text(person::PROPERTIES)?.unwrap_or("{}").to_owned(),
            is_identified: self.text(person::IDENTIFIED)? == Some("t"),
            created_at: moment(self.text(person::CREATED)?),
            presence: self.presence()?,
        }))
    }

    fn presence(&self) -> Result<Presence, ValueError> {
        let merged_into = self.table.merged_into().map(|place| self.integer(place)).transpose()?.flatten();
        Ok(match (self.is_deleted()?, merged_into) {
            (true, _) => Presence::Deleted,
            (false, Some(id)) => Presence::MergedInto(id),
            (false, None) => Presence::Live,
        })
    }

    fn is_deleted(&self) -> Result<bool, ValueError> {
        let deleted = self.table.is_deleted().map(|place| self.text(place)).transpose()?.flatten();
        Ok(deleted == Some("t"))
    }

    pub(crate) fn distinct_id(&self) -> Result<Option<DistinctId>, ValueError> {
        let Some(key) = self.distinct_id_key()? else { return Ok(None) };
        let person_id = self.integer(distinct_id::PERSON)?;
        let changes = self.table.person_changes().map(|place| self.integer(place)).transpose()?.flatten();
        let has_changed = changes.is_some_and(|changes| changes > 0);
        Ok(Some(DistinctId { key, person_id, has_changed, is_deleted: self.is_deleted()? }))
    }

    /// The primary key.
    pub(crate) fn id(&self) -> Result<Option<i64>, ValueError> {
        // It is the first column of both tables.
        self.integer(person::ID)
    }

    /// The version written by the application.
    pub(crate) fn version(&self) -> Result<u64, ValueError> {
        let place = match self.table.kind {
            TableKind::Person => person::VERSION,
            TableKind::DistinctId => distinct_id::VERSION,
        };
        // In the original's schema, a row that was never changed has NULL.
        let version = self.integer(place)?.unwrap_or(0);
        version.try_into().map_err(|_| self.wrong(place, "version of 0 or more"))
    }

    fn text(&self, place: usize) -> Result<Option<&'a str>, ValueError> {
        match self.cells.get(place) {
            Some(Cell::Text(bytes)) => match simdutf8::basic::from_utf8(bytes) {
                Ok(text) => Ok(Some(text)),
                Err(_) => Err(self.wrong(place, "text in UTF-8")),
            },
            Some(Cell::Null) | None => Ok(None),
            Some(Cell::Unchanged) => Err(self.wrong(place, "value that was looked up")),
        }
    }

    fn integer(&self, place: usize) -> Result<Option<i64>, ValueError> {
        let text = self.text(place)?;
        text.map(|text| text.parse().map_err(|_| self.wrong(place, "integer"))).transpose()
    }

    fn wrong(&self, place: usize, wanted: &'static str) -> ValueError {
        let found = match self.cells.get(place) {
            // The value may identify a person, so only its length is shown.
            Some(Cell::Text(bytes)) => format!("a value of {} bytes", bytes.len()),
            Some(Cell::Unchanged) => "not sent".to_owned(),
            Some(Cell::Null) | None => "NULL".to_owned(),
        };
        ValueError {
            table: self.table.name.to_string(),
            column: self.table.column(place).to_owned(),
            found,
            wanted,
        }
    }
}

/// Converts PostgreSQL's `2026-11-01 10:42:06.502+00` by removing the zone. It is always UTC,
/// because every session requests it.
fn moment(text: Option<&str>) -> String {
    let Some(text) = text else { return NEVER.to_owned() };
    if text.starts_with('-') || text.ends_with("BC") {
        return EARLIEST.to_owned();
    }
    let text = text.strip_suffix("+00").unwrap_or(text);
    let year = text.split_once('-').and_then(|(year, _)| year.parse::<u32>().ok());
    match year {
        Some(1900..2300) => milliseconds(text),
        Some(..1900) => EARLIEST.to_owned(),
        // Includes infinity.
        Some(2300..) | None => LATEST.to_owned(),
    }
}

/// Truncates to milliseconds, before 1970 too; does not round.
fn milliseconds(text: &str) -> String {
    let end = text.find('.').map_or(text.len(), |point| text.len().min(point + 4));
    text.get(..end).unwrap_or(text).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_show_no_distinct_id_unless_it_is_a_uuid() {
        let uuid = "018f5a7e-0000-4000-8000-000000000001";
        let distinct_id =
            |id: &str| Key::DistinctId(DistinctIdKey { team_id: 2, distinct_id: id.to_owned() });
        // The digest is that of `printf anna@example.com | sha256sum`.
        assert_eq!(distinct_id("anna@example.com").for_logs(), "2:sha256(f7d54c22dda5…)");
        assert_eq!(distinct_id(uuid).for_logs(), format!("2:{uuid}"));
        let person = PersonKey { team_id: 2, uuid: uuid.parse().expect("a uuid") };
        assert_eq!(Key::Person(person).for_logs(), format!("2:{uuid}"));
    }

    #[test]
    fn times_beyond_clickhouses_calendar_are_its_ends() {
        for (found, told) in [
            (Some("2026-11-01 10:42:06.502+00"), "2026-11-01 10:42:06.502"),
            (Some("2026-11-01 10:42:06.502999+00"), "2026-11-01 10:42:06.502"),
            (Some("2026-11-01 10:42:06.5"), "2026-11-01 10:42:06.5"),
            (Some("2026-11-01 10:42:06"), "2026-11-01 10:42:06"),
            (Some("infinity"), LATEST),
            (Some("-infinity"), EARLIEST),
            (Some("0044-03-15 12:00:00+00 BC"), EARLIEST),
            (Some("1899-12-31 23:59:59+00"), EARLIEST),
            (Some("10000-01-01 00:00:00+00"), LATEST),
            (None, NEVER),
        ] {
            assert_eq!(moment(found), told, "{found:?}");
        }
    }
}
