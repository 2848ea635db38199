//! Evaluation of a source: each requirement, its state and its fix.

use super::catalog::{Catalog, Leaf, Publication, SourceRelation};
use super::{Requirement, RequirementState};
use crate::config::{Postgres, TableName};
use crate::persons::postgres::session::{literal, quoted};
use crate::persons::postgres::slot::qualified;
use crate::persons::postgres::table::{Table, TableKind};

/// Maximum number of partitions that a message names. The count includes all of them.
const MAX_NAMED: usize = 3;
/// The oldest supported PostgreSQL, whose catalog has every queried column.
const MIN_VERSION: u32 = 140_000;
/// Slots and senders beyond those in use, for posthouse and for its successor during an upgrade.
const SPARE: u32 = 2;

/// The requirements of a source, in the order in which an administrator would meet them.
pub(super) fn judge(config: &Postgres, catalog: &Catalog) -> Vec<Requirement> {
    let tables = Table::both(config);
    let mut requirements = server(catalog);
    requirements.push(role(catalog));
    for table in &tables {
        requirements.extend(source_table(config, catalog, table));
    }
    requirements.extend(lookup_indexes(config, catalog, &tables));
    requirements.push(publication(config, catalog, &tables));
    requirements.extend(slot(config, catalog));
    requirements.extend(prepared(catalog));
    requirements
}

fn ok(subject: impl Into<String>, found: impl Into<String>) -> Requirement {
    Requirement { subject: subject.into(), state: RequirementState::Ok, found: found.into(), fix: Vec::new() }
}

fn wrong(subject: impl Into<String>, found: impl Into<String>, fix: Vec<String>) -> Requirement {
    Requirement { state: RequirementState::Wrong, fix, ..ok(subject, found) }
}

fn missing(subject: impl Into<String>, found: impl Into<String>, fix: Vec<String>) -> Requirement {
    Requirement { state: RequirementState::Missing, fix, ..ok(subject, found) }
}

fn server(catalog: &Catalog) -> Vec<Requirement> {
    let server = &catalog.server;
    let version = format!("PostgreSQL {}", server.version / 10_000);
    let is_held = catalog.slot.as_ref().is_some_and(|slot| slot.is_active);
    let kind = match (server.version >= MIN_VERSION, server.is_standby) {
        (false, _) => wrong("server", format!("{version}, must be 14 or newer"), Vec::new()),
        (_, true) => {
            let found = "is a standby: set persons.postgres.address to the primary";
            wrong("server", format!("{version} {found}"), Vec::new())
        }
        (true, false) => ok("server", format!("{version}, the primary")),
    };
    let level = match server.wal_level.as_str() {
        "logical" => ok("wal_level", "logical"),
        level => {
            let fix = "ALTER SYSTEM SET wal_level = 'logical'; -- takes effect with a restart of the server";
            wrong("wal_level", format!("is {level}, must be logical"), vec![fix.to_owned()])
        }
    };
    let room = |setting: &str, used: u32, most: u32, is_taken: bool| {
        let fix = format!(
            "ALTER SYSTEM SET {setting} = {}; -- takes effect with a restart of the server",
            most + SPARE
        );
        match is_taken || used < most {
            true => ok(setting, format!("{used} of {most} in use")),
            false => wrong(setting, format!("all {most} are in use"), vec![fix]),
        }
    };
    let slots = room("max_replication_slots", server.slots, server.max_slots, catalog.slot.is_some());
    vec![kind, level, slots, room("max_wal_senders", server.senders, server.max_senders, is_held)]
}

fn role(catalog: &Catalog) -> Requirement {
    let name = &catalog.role.name;
    match catalog.role.may_replicate {
        true => ok(format!("role {name}"), "may replicate"),
        false => {
            let fix = format!("ALTER ROLE {} REPLICATION;", quoted(name));
            wrong(format!("role {name}"), "may not replicate", vec![fix])
        }
    }
}

/// The unmet requirements of one table, or a single met one.
fn source_table(config: &Postgres, catalog: &Catalog, table: &Table) -> Vec<Requirement> {
    let subject = format!("table {}", table.name);
    let role = quoted(&catalog.role.name);
    let Some(found) = catalog.table(&table.name) else {
        let next = format!("set persons.postgres.{}.table (and schema)", table.section());
        return vec![missing(
            subject,
            format!("does not exist in database {}: {next}", config.database),
            Vec::new(),
        )];
    };
    let mut faults = Vec::new();
    if !matches!(found.kind.as_str(), "r" | "p") {
        faults.push(wrong(&*subject, "is not a table, so the WAL has no changes of it", Vec::new()));
    }
    if !found.may_use_schema {
        let fix = format!("GRANT USAGE ON SCHEMA {} TO {role};", quoted(&found.schema));
        faults.push(missing(&*subject, format!("schema {} may not be used", found.schema), vec![fix]));
    }
    let hidden = |column: &&str| found.columns.iter().any(|has| has.name == **column && !has.may_select);
    if table.columns().any(|column| hidden(&column)) {
        let fix = format!("GRANT SELECT ON {} TO {role};", qualified(&table.name));
        faults.push(missing(&*subject, "may not be read", vec![fix]));
    }
    if found.has_row_security {
        let fix = format!("ALTER ROLE {role} BYPASSRLS;");
        faults.push(wrong(&*subject, "policies (row level security) would hide rows", vec![fix]));
    }
    if let Err(error) = table.places(&found.relation()) {
        faults.push(wrong(&*subject, error.to_string(), Vec::new()));
    }
    faults.extend(identity(&subject, &needed_columns(config, catalog, table), table, found));
    faults.extend(index(table, found, table.id_column(), "rows are looked up by it"));
    match faults.is_empty() {
        true => vec![ok(subject, leaves_text(found))],
        false => faults,
    }
}

/// The columns that every deletion must include. Distinct ids that can outlive their person are
/// found by the person's id.
fn needed_columns<'t>(config: &Postgres, catalog: &Catalog, table: &'t Table) -> Vec<&'t str> {
    let id_is_needed =
        table.kind == TableKind::Person && (!catalog.guarantees(config).has_foreign_key || table.is_soft());
    table.key_columns().chain(id_is_needed.then(|| table.id_column())).collect()
}

/// Requires an index in every partition, because each lookup would otherwise scan the table.
fn index(table: &Table, found: &SourceRelation, column: &str, why: &str) -> Option<Requirement> {
    (!found.is_indexed_by(column)).then(|| {
        let concurrently = if found.is_partitioned() { "" } else { "CONCURRENTLY " };
        let fix = format!("CREATE INDEX {concurrently}ON {} ({});", qualified(&table.name), quoted(column));
        missing(format!("table {}", table.name), format!("no index begins with {column}: {why}"), vec![fix])
    })
}

/// Indexes for lookups of related rows.
fn lookup_indexes(config: &Postgres, catalog: &Catalog, tables: &[Table; 2]) -> Vec<Requirement> {
    let [person, distinct_id] = tables;
    let needs_person_id = !catalog.guarantees(config).has_foreign_key || person.is_soft();
    let of_distinct_ids = catalog.table(&distinct_id.name).filter(|_| needs_person_id).and_then(|found| {
        let why = "distinct ids of created and deleted persons are looked up by it";
        index(distinct_id, found, &config.distinct_id.person_id, why)
    });
    let of_merges = catalog.table(&person.name).and_then(|found| {
        let column = config.person.merged_into_id.as_ref()?;
        index(person, found, column, "persons that were merged into another one are looked up by it")
    });
    of_distinct_ids.into_iter().chain(of_merges).collect()
}

fn leaves_text(table: &SourceRelation) -> String {
    match table.is_partitioned() {
        true => format!("can be read, and deletions of {} partitions have its key", table.leaves.len()),
        false => "can be read, and deletions have its key".to_owned(),
    }
}

/// Checks the replica identity of the leaves. Deletions in the WAL have only the columns of the
/// leaf's identity, and a partitioned table's identity does not apply to its partitions.
fn identity(subject: &str, needed: &[&str], table: &Table, found: &SourceRelation) -> Option<Requirement> {
    let foreign: Vec<&Leaf> = found.leaves.iter().filter(|leaf| leaf.kind == "f").collect();
    if let Some(leaf) = foreign.first() {
        let text = format!("partition {} is a foreign table, so the WAL has no changes of it", leaf.name);
        return Some(wrong(subject, text, Vec::new()));
    }
    let lacks =
        |leaf: &&Leaf| needed.iter().any(|column| !leaf.identity.iter().any(|identity| identity == column));
    let lacking: Vec<&Leaf> = found.leaves.iter().filter(lacks).collect();
    let first = lacking.first()?;
    let columns: Vec<&str> = needed
        .iter()
        .copied()
        .filter(|column| !first.identity.iter().any(|identity| identity == column))
        .collect();
    let fix = lacking.iter().flat_map(|leaf| identity_fix(table, found, leaf)).collect();
    let columns = columns.join(", ");
    let text = match found.is_partitioned() {
        false => format!("deletions do not have {columns}, needed to identify the row"),
        true => format!(
            "deletions of {} of {} partitions do not have {columns}, needed to identify the row: {}",
            lacking.len(),
            found.leaves.len(),
            named(&lacking)
        ),
    };
    Some(wrong(subject, text, fix))
}

fn named(leaves: &[&Leaf]) -> String {
    let names: Vec<&str> = leaves.iter().take(MAX_NAMED).map(|leaf| leaf.name.as_str()).collect();
    let more = if leaves.len() > MAX_NAMED { ", …" } else { "" };
    format!("{}{more}", names.join(", "))
}

/// An identity index needs columns without NULL. If a column is nullable, use REPLICA IDENTITY
/// FULL.
fn identity_fix(table: &Table, found: &SourceRelation, leaf: &Leaf) -> Vec<String> {
    // Named by OID, because a renamed table's indexes keep their names.
    let (name, target) = (format!("posthouse_identity_{}", leaf.oid), qualified(&leaf.name()));
    let columns: Vec<&str> = table.key_columns().chain([table.id_column()]).collect();
    let has_no_null =
        |wanted: &&str| found.columns.iter().any(|column| column.name == **wanted && column.is_not_null);
    if !columns.iter().all(has_no_null) {
        return vec![format!("ALTER TABLE {target} REPLICA IDENTITY FULL;")];
    }
    let columns = columns.into_iter().map(quoted).collect::<Vec<_>>().join(", ");
    vec![
        format!("CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS {} ON {target} ({columns});", quoted(&name)),
        format!("ALTER TABLE {target} REPLICA IDENTITY USING INDEX {};", quoted(&name)),
    ]
}

fn publication(config: &Postgres, catalog: &Catalog, tables: &[Table; 2]) -> Requirement {
    let (name, subject) = (quoted(&config.publication), format!("publication {}", config.publication));
    let found = |table: &Table| catalog.table(&table.name);
    let Some(publication) = &catalog.publication else {
        let may = catalog.role.may_create
            && tables.iter().all(|table| found(table).is_some_and(|table| table.is_owner));
        let [person, distinct_id] = tables.each_ref().map(|table| qualified(&table.name));
        let fix = format!(
            "CREATE PUBLICATION {name} FOR TABLE {person}, {distinct_id} WITH (publish = 'insert, update, delete, truncate', \
             publish_via_partition_root = true);"
        );
        return match (may, &catalog.slot) {
            // Without the publication PostgreSQL decodes no changes, with or without an error.
            (_, Some(_)) => missing(subject, "no longer exists, but the slot does", vec![fix]),
            (true, None) => ok(subject, "posthouse run creates it"),
            (false, None) => {
                missing(subject, "does not exist, and the role does not own the tables", vec![fix])
            }
        };
    };
    let mut fix = Vec::new();
    let mut faults = Vec::new();
    let is_partitioned = tables.iter().any(|table| found(table).is_some_and(SourceRelation::is_partitioned));
    if !publication.has_all_kinds {
        faults.push("does not publish insert, update, delete and truncate".to_owned());
        fix.push(format!("ALTER PUBLICATION {name} SET (publish = 'insert, update, delete, truncate');"));
    }
    if is_partitioned && !publication.via_root {
        faults.push("publishes partitions under their own names".to_owned());
        fix.push(format!("ALTER PUBLICATION {name} SET (publish_via_partition_root = true);"));
    }
    for table in tables {
        if let Some((fault, statements)) = published(publication, &name, table) {
            faults.push(fault);
            fix.extend(statements);
        }
    }
    match faults.is_empty() {
        true => ok(subject, "publishes every change of both tables"),
        false => wrong(subject, faults.join("; "), fix),
    }
}

fn published(publication: &Publication, name: &str, table: &Table) -> Option<(String, Vec<String>)> {
    let TableName { schema, name: table_name } = &table.name;
    let target = qualified(&table.name);
    let mut entries = publication.tables.iter();
    let Some(entry) = entries.find(|entry| entry.schema == *schema && entry.name == *table_name) else {
        let fix = format!("ALTER PUBLICATION {name} ADD TABLE {target};");
        return Some((format!("does not have table {}", table.name), vec![fix]));
    };
    let again = || {
        vec![
            format!("ALTER PUBLICATION {name} DROP TABLE {target};"),
            format!("ALTER PUBLICATION {name} ADD TABLE {target};"),
        ]
    };
    if let Some(filter) = &entry.filter {
        return Some((format!("publishes only rows of {} with {filter}", table.name), again()));
    }
    let columns = entry.columns.as_ref()?;
    let lacks: Vec<&str> =
        table.columns().filter(|column| !columns.iter().any(|has| has == column)).collect();
    match lacks.is_empty() {
        true => None,
        false => Some((format!("does not have columns {} of {}", lacks.join(", "), table.name), again())),
    }
}

fn slot(config: &Postgres, catalog: &Catalog) -> Option<Requirement> {
    let subject = format!("slot {}", config.slot);
    let drop = || vec![format!("SELECT pg_drop_replication_slot({});", literal(&config.slot))];
    let Some(slot) = &catalog.slot else { return Some(ok(subject, "posthouse run creates it")) };
    let of = format!("is of plugin {} in database {}", slot.plugin, slot.database);
    if slot.plugin != "pgoutput" || slot.database != config.database {
        let next = "choose another name as persons.postgres.slot";
        return Some(wrong(subject, format!("{of}: {next}"), Vec::new()));
    }
    if slot.is_two_phase {
        let found = "was created with two_phase, so prepared transactions would be missed; posthouse run creates another";
        return Some(wrong(subject, found, drop()));
    }
    if slot.is_temporary {
        return Some(wrong(subject, "is temporary; posthouse run creates another", drop()));
    }
    Some(match (slot.is_lost, slot.is_active) {
        (true, _) => {
            let reason = slot.invalidation_reason.as_deref().unwrap_or("max_slot_wal_keep_size");
            ok(
                subject,
                format!(
                    "lost its WAL ({reason}); posthouse run recreates it and takes a new initial snapshot"
                ),
            )
        }
        (false, true) => ok(subject, "a posthouse holds it"),
        (false, false) => ok(subject, "is free"),
    })
}

/// Transactions that the creation of a slot would wait for.
fn prepared(catalog: &Catalog) -> Vec<Requirement> {
    if catalog.slot.is_some() {
        return Vec::new();
    }
    let transactions = catalog.prepared.iter().map(|prepared| Requirement {
        subject: format!("prepared transaction {}", prepared.name),
        state: RequirementState::Blocks,
        found: format!(
            "of {} in database {}, open for {} s: the slot is created when it ends",
            prepared.owner, prepared.database, prepared.seconds
        ),
        fix: vec![format!(
            "-- in database {}: COMMIT PREPARED {name}; or ROLLBACK PREPARED {name};",
            prepared.database,
            name = literal(&prepared.name)
        )],
    });
    transactions.collect()
}
