//! Source tables: the columns that posthouse reads, their order and types.

use anyhow::{bail, ensure};

use crate::config::{Postgres, TableName, VersionRule};

use super::pgoutput::{Cell, Relation};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum TableKind {
    Person,
    DistinctId,
}

/// Accepted column types, by their PostgreSQL OIDs (`pg_type.dat`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    Integer,
    Uuid,
    Json,
    Boolean,
    Moment,
    Text,
}

impl Type {
    fn ids(self) -> &'static [u32] {
        match self {
            // bigint, smallint, integer
            Self::Integer => &[20, 21, 23],
            Self::Uuid => &[2950],
            // jsonb, json
            Self::Json => &[3802, 114],
            Self::Boolean => &[16],
            // timestamp with and without time zone
            Self::Moment => &[1184, 1114],
            // text, varchar
            Self::Text => &[25, 1043],
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Integer => "bigint, integer or smallint",
            Self::Uuid => "uuid",
            Self::Json => "jsonb or json",
            Self::Boolean => "boolean",
            Self::Moment => "timestamp with time zone",
            Self::Text => "text or varchar",
        }
    }
}

/// A column that posthouse reads.
#[derive(Debug, Clone, PartialEq, Eq)]
struct TableColumn {
    /// Its key in the config.
    key: &'static str,
    name: String,
    data_type: Type,
    /// Whether deletions must include it.
    in_identity: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Table {
    pub(crate) kind: TableKind,
    pub(crate) name: TableName,
    columns: Vec<TableColumn>,
}

/// Config keys of optional columns, which come last.
const PERSON_CHANGES: &str = "person_changes";
const IS_DELETED: &str = "is_deleted";
const MERGED_INTO: &str = "merged_into_id";

/// Indexes of a person's values.
pub(crate) mod person {
    pub(crate) const ID: usize = 0;
    pub(crate) const TEAM: usize = 1;
    pub(crate) const UUID: usize = 2;
    pub(crate) const IDENTIFIED: usize = 3;
    pub(crate) const CREATED: usize = 4;
    pub(crate) const PROPERTIES: usize = 5;
    pub(crate) const VERSION: usize = 6;
}

/// Indexes of a distinct id's values. The primary key has the same index as a person's.
pub(crate) mod distinct_id {
    pub(crate) const TEAM: usize = 1;
    pub(crate) const DISTINCT_ID: usize = 2;
    pub(crate) const PERSON: usize = 3;
    pub(crate) const VERSION: usize = 4;
}

impl Table {
    /// Both tables, persons first.
    pub(crate) fn both(config: &Postgres) -> [Self; 2] {
        let versioned = config.version == VersionRule::Column;
        let column = |key, name: &String, data_type, in_identity| TableColumn {
            key,
            name: name.clone(),
            data_type,
            in_identity,
        };
        let names = &config.person;
        let mut person = vec![
            column("id", &names.id, Type::Integer, false),
            column("team_id", &names.team_id, Type::Integer, true),
            column("uuid", &names.uuid, Type::Uuid, true),
            column("is_identified", &names.is_identified, Type::Boolean, false),
            column("created_at", &names.created_at, Type::Moment, false),
            column("properties", &names.properties, Type::Json, false),
        ];
        if versioned {
            person.push(column("version", &names.version, Type::Integer, true));
        }
        person.extend(names.is_deleted.iter().map(|name| column(IS_DELETED, name, Type::Boolean, false)));
        person
            .extend(names.merged_into_id.iter().map(|name| column(MERGED_INTO, name, Type::Integer, false)));
        let names = &config.distinct_id;
        let mut distinct_id = vec![
            column("id", &names.id, Type::Integer, false),
            column("team_id", &names.team_id, Type::Integer, true),
            column("distinct_id", &names.distinct_id, Type::Text, true),
            column("person_id", &names.person_id, Type::Integer, false),
        ];
        if versioned {
            distinct_id.push(column("version", &names.version, Type::Integer, true));
        }
        distinct_id.extend(
            names.person_changes.iter().map(|name| column(PERSON_CHANGES, name, Type::Integer, false)),
        );
        distinct_id
            .extend(names.is_deleted.iter().map(|name| column(IS_DELETED, name, Type::Boolean, false)));
        [
            Self { kind: TableKind::Person, name: config.person.table.clone(), columns: person },
            Self {
                kind: TableKind::DistinctId,
                name: config.distinct_id.table.clone(),
                columns: distinct_id,
            },
        ]
    }

    /// The index of the column that is above 0 if earlier events can have another person, if
    /// configured.
    pub(crate) fn person_changes(&self) -> Option<usize> {
        self.columns.iter().position(|column| column.key == PERSON_CHANGES)
    }

    /// The index of the column that marks a remaining row as deleted, if configured.
    pub(crate) fn is_deleted(&self) -> Option<usize> {
        self.columns.iter().position(|column| column.key == IS_DELETED)
    }

    /// The index of the column with the person that a person was merged into, if configured.
    pub(crate) fn merged_into(&self) -> Option<usize> {
        self.columns.iter().position(|column| column.key == MERGED_INTO)
    }

    /// Whether rows remain after a deletion or merge.
    pub(crate) fn is_soft(&self) -> bool {
        self.is_deleted().is_some() || self.merged_into().is_some()
    }

    /// Its columns, by PostgreSQL's names, in the order of its values.
    pub(crate) fn columns(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(|column| column.name.as_str())
    }

    /// The name of a column by its index.
    pub(crate) fn column(&self, place: usize) -> &str {
        self.columns.get(place).map_or("", |column| &column.name)
    }

    pub(crate) fn section(&self) -> &'static str {
        match self.kind {
            TableKind::Person => "person",
            TableKind::DistinctId => "distinct_id",
        }
    }

    /// The columns of a row's key in ClickHouse, and the version if the application counts it.
    /// Every deletion must include them.
    pub(crate) fn key_columns(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().filter(|column| column.in_identity).map(|column| column.name.as_str())
    }

    /// The primary key.
    pub(crate) fn id_column(&self) -> &str {
        self.column(person::ID)
    }

    /// Returns the indexes of its columns in the rows of `relation`.
    pub(crate) fn places(&self, relation: &Relation) -> anyhow::Result<Vec<usize>> {
        self.columns.iter().map(|column| self.find(column, relation)).collect()
    }

    /// Returns the same for rows of an earlier table layout; `None` for a column that is missing
    /// there or has an unsupported type.
    pub(crate) fn places_then(&self, relation: &Relation) -> Vec<Option<usize>> {
        self.columns.iter().map(|column| self.find(column, relation).ok()).collect()
    }

    /// Whether rows with these columns include the key columns. All other columns can be looked up.
    pub(crate) fn has_key_at(&self, places: &[Option<usize>]) -> bool {
        let is_key = |column: &TableColumn| column.in_identity || column.key == "id";
        self.columns.iter().zip(places).all(|(column, place)| place.is_some() || !is_key(column))
    }

    fn find(&self, column: &TableColumn, relation: &Relation) -> anyhow::Result<usize> {
        let found = relation.columns.iter().enumerate().find(|(_, found)| found.name == column.name);
        let (table, name) = (&self.name, &column.name);
        let Some((place, found)) = found else {
            bail!(
                "table {table} has no column {name}: the table is not synced until the column is back, or persons.postgres.\
                 {}.{} names its replacement",
                self.section(),
                column.key
            );
        };
        ensure!(
            column.data_type.ids().contains(&found.type_id),
            "column {name} of table {table} has an unsupported type (OID {} in pg_type): it must be {}",
            found.type_id,
            column.data_type.name()
        );
        Ok(place)
    }
}

/// The values of `row` at `places`. A value without an index has to be looked up.
pub(crate) fn pick(row: &[Cell], places: &[Option<usize>]) -> Vec<Cell> {
    let value = |place: &Option<usize>| match place {
        Some(place) => row.get(*place).cloned().unwrap_or(Cell::Null),
        None => Cell::Unchanged,
    };
    places.iter().map(value).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Config;
    use crate::persons::postgres::pgoutput::RelationColumn;

    /// The tables with their default names.
    pub(crate) fn tables() -> [Table; 2] {
        let text = "kafka.brokers = [\"127.0.0.1:1\"]\n[[shards]]\n[[shards.replicas]]\nname = \"a\"\nurl = \"http://a:1\"\n\
             address = \"a:2\"\n[persons.postgres]\naddress = \"b:3\"\ndatabase = \"c\"\nuser = \"d\"\n";
        let config = Config::parse(text, Path::new("")).expect("a config");
        Table::both(config.persons.and_then(|persons| persons.postgres).as_ref().expect("a source"))
    }

    fn person() -> Table {
        let [person, _] = tables();
        person
    }

    fn relation(columns: &[(&str, u32, bool)]) -> Relation {
        let column = |(name, type_id, is_identity): &(&str, u32, bool)| RelationColumn {
            name: (*name).to_owned(),
            type_id: *type_id,
            is_identity: *is_identity,
        };
        let columns = columns.iter().map(column).collect();
        Relation { id: 1, schema: "public".to_owned(), name: "posthog_person".to_owned(), columns }
    }

    const COLUMNS: [(&str, u32, bool); 7] = [
        ("properties", 3802, false),
        ("new", 25, false),
        ("id", 20, true),
        ("team_id", 23, true),
        ("uuid", 2950, true),
        ("created_at", 1184, false),
        ("is_identified", 16, false),
    ];

    #[test]
    fn columns_are_found_wherever_they_stand_and_others_ignored() {
        assert_eq!(person().places(&relation(&COLUMNS)).expect("columns"), [2, 3, 4, 6, 5, 0]);
    }

    #[test]
    fn columns_that_rows_of_another_time_lack_are_looked_up_but_never_their_keys() {
        let then = |change: fn(&mut Vec<(&str, u32, bool)>)| {
            let mut columns = COLUMNS.to_vec();
            change(&mut columns);
            let places = person().places_then(&relation(&columns));
            (person().has_key_at(&places), places)
        };
        let (id, team, uuid) = (Some(2), Some(3), Some(4));
        assert_eq!(then(|_| ()), (true, vec![id, team, uuid, Some(6), Some(5), Some(0)]));
        assert_eq!(
            then(|columns| columns[6].0 = "known"),
            (true, vec![id, team, uuid, None, Some(5), Some(0)])
        );
        assert_eq!(then(|columns| columns[5].1 = 25), (true, vec![id, team, uuid, Some(6), None, Some(0)]));
        assert_eq!(then(|columns| columns[2].0 = "number").1[0], None);
        assert!(!then(|columns| columns[2].0 = "number").0 && !then(|columns| columns[4].1 = 25).0);
    }

    #[test]
    fn what_is_not_as_it_must_be_is_named_with_the_next_step() {
        let refused = |change: fn(&mut Vec<(&str, u32, bool)>)| {
            let mut columns = COLUMNS.to_vec();
            change(&mut columns);
            person().places(&relation(&columns)).expect_err("refused").to_string()
        };
        let gone = refused(|columns| columns.retain(|column| column.0 != "properties"));
        assert!(
            gone.contains("no column properties") && gone.contains("persons.postgres.person.properties"),
            "{gone}"
        );
        let retyped = refused(|columns| columns[4].1 = 25);
        assert!(retyped.contains("column uuid") && retyped.contains("it must be uuid"), "{retyped}");
    }
}
