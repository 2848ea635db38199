//! The source's state in PostgreSQL's catalog.

use minijinja::context;
use serde::Deserialize;

use crate::config::{Postgres, TableName};
use crate::persons::postgres::pgoutput::{Relation, RelationColumn};
use crate::persons::postgres::session::{PostgresError, Session, literal};

/// One observation of the source.
#[derive(Debug, Clone, Deserialize)]
pub(in super::super) struct Catalog {
    pub(crate) server: Server,
    pub(crate) role: PostgresRole,
    pub(crate) tables: Vec<SourceRelation>,
    pub(crate) publication: Option<Publication>,
    pub(crate) slot: Option<SlotEntry>,
    pub(crate) prepared: Vec<PreparedTransaction>,
}

#[derive(Debug, Clone, Deserialize)]
pub(in super::super) struct Server {
    /// As `server_version_num`: 180001 is 18.1.
    pub(crate) version: u32,
    pub(crate) wal_level: String,
    pub(crate) is_standby: bool,
    pub(crate) max_slots: u32,
    pub(crate) slots: u32,
    pub(crate) max_senders: u32,
    pub(crate) senders: u32,
}

#[derive(Debug, Clone, Deserialize)]
pub(in super::super) struct PostgresRole {
    pub(crate) name: String,
    pub(crate) may_replicate: bool,
    /// Whether it may create objects, including publications, in this database.
    pub(crate) may_create: bool,
}

/// A table, partitioned or not.
#[derive(Debug, Clone, Deserialize)]
pub(in super::super) struct SourceRelation {
    pub(crate) schema: String,
    pub(crate) name: String,
    /// Changes when another table takes the name.
    pub(crate) oid: u64,
    /// As `pg_class.relkind`.
    pub(crate) kind: String,
    pub(crate) may_use_schema: bool,
    pub(crate) is_owner: bool,
    /// Whether policies would hide rows from this role.
    pub(crate) has_row_security: bool,
    pub(crate) columns: Vec<SourceColumn>,
    /// The columns of each unique index without predicate or expressions.
    pub(crate) unique: Vec<Vec<String>>,
    /// The OIDs of tables that it references.
    pub(crate) references: Vec<u64>,
    /// The tables that hold rows: itself, or the leaves of its partitions.
    pub(crate) leaves: Vec<Leaf>,
}

/// Constraints that the source enforces, so that posthouse need not check for violations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Guarantees {
    /// Whether no two persons, and no two distinct ids, have the same team and key.
    pub(crate) unique: [bool; 2],
    /// Whether every distinct id has an existing person at the end of each transaction.
    pub(crate) has_foreign_key: bool,
}

impl Guarantees {
    /// For a table that is only read, not streamed, so no violations have to be checked.
    pub(in super::super) const ALL: Self = Self { unique: [true; 2], has_foreign_key: true };
}

#[derive(Debug, Clone, Deserialize)]
pub(in super::super) struct SourceColumn {
    pub(crate) name: String,
    pub(crate) type_id: u32,
    pub(crate) is_not_null: bool,
    pub(crate) may_select: bool,
}

#[derive(Debug, Clone, Deserialize)]
pub(in super::super) struct Leaf {
    pub(crate) schema: String,
    pub(crate) name: String,
    /// As `pg_class.relkind`.
    pub(crate) kind: String,
    pub(crate) oid: u64,
    /// Changes with TRUNCATE and with a rewrite.
    pub(crate) file: u64,
    /// The first column of each index without a predicate.
    pub(crate) first_of_indexes: Vec<String>,
    /// The columns that a deletion includes.
    pub(crate) identity: Vec<String>,
}

#[derive(Debug, Clone, Deserialize)]
pub(in super::super) struct Publication {
    pub(crate) oid: u64,
    /// The OIDs of its entries of both tables. A table that is removed and added back has another
    /// one.
    pub(crate) entries: Vec<u64>,
    pub(crate) has_all_kinds: bool,
    pub(crate) via_root: bool,
    pub(crate) tables: Vec<PublishedTable>,
}

#[derive(Debug, Clone, Deserialize)]
pub(in super::super) struct PublishedTable {
    pub(crate) schema: String,
    pub(crate) name: String,
    /// Absent before PostgreSQL 15, which publishes all columns.
    pub(crate) columns: Option<Vec<String>>,
    pub(crate) filter: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
pub(in super::super) struct SlotEntry {
    pub(crate) plugin: String,
    pub(crate) database: String,
    pub(crate) is_active: bool,
    pub(crate) is_lost: bool,
    /// PostgreSQL 17 and later.
    pub(crate) invalidation_reason: Option<String>,
    pub(crate) is_temporary: bool,
    pub(crate) is_two_phase: bool,
}

#[derive(Debug, Clone, Deserialize)]
pub(in super::super) struct PreparedTransaction {
    pub(crate) name: String,
    pub(crate) database: String,
    pub(crate) owner: String,
    pub(crate) seconds: i64,
}

impl Catalog {
    /// Reads the catalog in one statement, and so in one consistent view.
    pub(in super::super) async fn read(session: &Session, config: &Postgres) -> Result<Self, PostgresError> {
        const TASK: &str = "describe the person tables";
        let values = context! {
            person_schema => literal(&config.person.table.schema),
            person_table => literal(&config.person.table.name),
            distinct_id_schema => literal(&config.distinct_id.table.schema),
            distinct_id_table => literal(&config.distinct_id.table.name),
            publication => literal(&config.publication),
            slot => literal(&config.slot),
        };
        let [text] = session.row(TASK, "postgres/catalog.sql", values).await?;
        serde_json::from_str(&text).map_err(|error| session.odd(TASK, format!("no catalog ({error})")))
    }

    /// Whether the role may count the rows of a table.
    pub(in super::super) fn can_be_read(&self, name: &TableName) -> bool {
        self.table(name).is_some_and(|table| {
            let may_select = table.columns.iter().any(|column| column.may_select);
            table.may_use_schema && may_select && !table.has_row_security
        })
    }

    /// A number that changes when the stream may have missed changes. Causes are another table of
    /// the same name or in the publication, a partition that was attached, detached or emptied, and
    /// a change of the constraints that the stream relies on.
    pub(in super::super) fn fingerprint(&self, config: &Postgres) -> u64 {
        let mut numbers = Vec::new();
        for table in &self.tables {
            numbers.push(table.oid);
            if table.is_partitioned() {
                numbers.extend(table.leaves.iter().flat_map(|leaf| [leaf.oid, leaf.file]));
            }
        }
        numbers.sort_unstable();
        if let Some(publication) = &self.publication {
            numbers.push(publication.oid);
            numbers.extend(&publication.entries);
        }
        let Guarantees { unique: [persons, distinct_ids], has_foreign_key } = self.guarantees(config);
        numbers.extend([persons, distinct_ids, has_foreign_key].map(u64::from));
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        xxhash_rust::xxh3::xxh3_64(&bytes)
    }

    /// The constraints that the source enforces.
    pub(in super::super) fn guarantees(&self, config: &Postgres) -> Guarantees {
        let (person, distinct_id) = (self.table(&config.person.table), self.table(&config.distinct_id.table));
        let is_unique = |table: Option<&SourceRelation>, key: [&str; 2]| {
            let within = |columns: &Vec<String>| columns.iter().all(|column| key.contains(&column.as_str()));
            table.is_some_and(|table| table.unique.iter().any(within))
        };
        let references = person
            .zip(distinct_id)
            .is_some_and(|(person, distinct_id)| distinct_id.references.contains(&person.oid));
        Guarantees {
            unique: [
                is_unique(person, [&config.person.team_id, &config.person.uuid]),
                is_unique(distinct_id, [&config.distinct_id.team_id, &config.distinct_id.distinct_id]),
            ],
            has_foreign_key: references,
        }
    }

    pub(super) fn table(&self, name: &TableName) -> Option<&SourceRelation> {
        self.tables.iter().find(|table| table.schema == name.schema && table.name == name.name)
    }
}

impl SourceRelation {
    /// Whether rows can be looked up by a column in every partition.
    pub(super) fn is_indexed_by(&self, column: &str) -> bool {
        self.leaves.iter().all(|leaf| leaf.first_of_indexes.iter().any(|first| first == column))
    }

    pub(super) fn is_partitioned(&self) -> bool {
        self.kind == "p"
    }

    /// The table as the stream describes it. The leaves determine the columns of deletions.
    pub(super) fn relation(&self) -> Relation {
        let columns = self.columns.iter().map(|column| RelationColumn {
            name: column.name.clone(),
            type_id: column.type_id,
            is_identity: false,
        });
        Relation { id: 0, schema: self.schema.clone(), name: self.name.clone(), columns: columns.collect() }
    }
}

impl Leaf {
    pub(super) fn name(&self) -> TableName {
        TableName { schema: self.schema.clone(), name: self.name.clone() }
    }
}
