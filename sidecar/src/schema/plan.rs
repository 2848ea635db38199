//! Planning of the schema changes of one node.

mod lookup;
mod protected;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use self::lookup::lacking_functions;
pub(super) use self::lookup::{LackingNodes, index_functions};
use self::protected::{changing_column, is_accepted_instead, renaming, stored_instead};
use super::column::ColumnDeclaration;
use super::compare::{Comparison, ObjectDifference, StorageColumns, Unmanaged, compare};
use super::definition::Definition;
use super::feeders::Feeder;
use super::objects::{Role, SchemaObject};
use super::upgrades::Upgrade;
use crate::config::{Config, Consumer};

/// An object on one node, as the config describes it.
#[derive(Debug, Clone)]
pub(super) struct Desired {
    pub(crate) object: &'static SchemaObject,
    pub(crate) sql: String,
    /// `sql` after the node's own formatter, parsed.
    pub(crate) definition: Definition,
    /// Whether the config asks for the object. The objects of a consumer that another program
    /// replaces are rendered too, so that leftovers of ours are recognized.
    pub(crate) asked_for: bool,
}

/// The observed state of one node.
#[derive(Debug, Clone, Default)]
pub(super) struct ObservedSchema {
    pub(crate) database: bool,
    /// All tables and views of the database.
    pub(crate) tables: BTreeMap<String, Definition>,
    /// Names of detached tables. A detached table can be neither used nor created.
    pub(crate) detached: BTreeSet<String>,
    pub(crate) feeders: Vec<Feeder>,
    /// Names of executable functions, if a view needs any.
    pub(crate) functions: BTreeSet<String>,
}

/// The changes of one node, and the facts that their steps need.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct SchemaPlan {
    pub(crate) node: String,
    /// Foreign consumers that write our tables or read messages of our group.
    pub(crate) feeders: Vec<Feeder>,
    /// Differences in the order of roles; empty if the node is as desired.
    pub(crate) changes: Vec<SchemaChange>,
    /// Our existing Kafka tables, with the statement that recreates each after a pause.
    #[serde(skip)]
    pub(crate) consumers: Vec<(&'static SchemaObject, String)>,
    /// Parts that differ and stay: an operator's tables, columns, indexes, settings and accepted
    /// differences.
    pub(crate) unmanaged: Vec<Unmanaged>,
}

/// One object that is not as desired.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct SchemaChange {
    /// Name of the table, view or upgrade, or `database`.
    pub(crate) object: String,
    pub(crate) action: Action,
    /// Empty if the object is missing altogether.
    pub(crate) differences: Vec<ObjectDifference>,
    /// `None` for the database and for upgrades.
    #[serde(skip)]
    pub(crate) role: Option<Role>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "do")]
pub(crate) enum Action {
    CreateDatabase,
    Create {
        sql: String,
        /// Columns of the storage that the config does not name; added after the creation.
        keep: Vec<String>,
        /// The reason why the consumer would read its topic from the beginning although
        /// rows are stored.
        replay: Option<String>,
    },
    /// Drops and recreates an object that holds no data.
    Recreate {
        sql: String,
        /// Columns of the storage that the config does not name; added after the recreation.
        keep: Vec<String>,
        /// The reason why the consumer would read its topic from the beginning although
        /// rows are stored.
        replay: Option<String>,
    },
    /// Gives a table with data its new name.
    Rename {
        /// Its present name.
        from: &'static str,
        /// Whether our view has the new name, and is dropped first.
        over_view: bool,
    },
    /// Drops our consumer or view, because the config leaves ingestion to another program or node.
    Drop,
    Alter {
        /// One statement each.
        alterations: Vec<Alteration>,
    },
    /// Leaves the object unchanged, because a change could lose data or needs a copy.
    Leave {
        /// An instruction for the operator.
        next_step: String,
        /// Whether apply is refused until the operator has acted.
        blocks: bool,
    },
    /// A numbered upgrade that the node lacks.
    Upgrade {
        upgrade: Upgrade,
    },
}

/// One `ALTER TABLE`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Alteration {
    /// A missing column or index.
    Add(String),
    /// A column that differs, with its type, default and codec; or `` `name` REMOVE DEFAULT ``.
    Modify(String),
    /// A column whose codec or comment differs. Its values stay the same.
    Annotate(String),
    /// A column of a Distributed table that no storage has.
    Drop(String),
    /// A setting of a MergeTree table, `name = value`.
    Setting(String),
}

/// Settings that the server refuses to alter (`MergeTreeSettings::isReadonlySetting`, 26.7).
const READ_ONLY_SETTINGS: [&str; 3] = [
    "setting index_granularity",
    "setting index_granularity_bytes",
    "setting enable_mixed_granularity_parts",
];

/// The facts of all nodes that each node's plan needs.
pub(super) struct Surroundings<'a> {
    pub(crate) config: &'a Config,
    /// Keyed by the name of the storage table.
    pub(crate) storage: BTreeMap<String, StorageColumns>,
    /// Keyed by consumer: the reason why creating it would read its topic from the beginning.
    pub(crate) replays: BTreeMap<&'static str, String>,
    pub(crate) lacking: LackingNodes,
}

/// Returns the changes that bring `node` to the desired state.
pub(super) fn plan(
    node: &str,
    desired: &[Desired],
    observed: &ObservedSchema,
    pending: Vec<Upgrade>,
    surroundings: &Surroundings<'_>,
) -> SchemaPlan {
    let mut plan = SchemaPlan {
        node: node.to_owned(),
        feeders: observed.feeders.iter().map(|feeder| with_lost(feeder, desired)).collect(),
        changes: Vec::new(),
        consumers: Vec::new(),
        unmanaged: Vec::new(),
    };
    if !observed.database {
        plan.changes.push(SchemaChange {
            object: "database".to_owned(),
            action: Action::CreateDatabase,
            differences: Vec::new(),
            role: None,
        });
    }
    for desired in desired {
        judge(&mut plan, desired, observed, surroundings);
    }
    plan.changes.extend(pending.into_iter().map(|upgrade| SchemaChange {
        object: upgrade.name.to_owned(),
        action: Action::Upgrade { upgrade },
        differences: Vec::new(),
        role: None,
    }));
    let is_known = |name: &String| desired.iter().any(|desired| desired.object.name == name);
    plan.unmanaged.extend(observed.tables.iter().filter(|(name, _)| !is_known(name)).map(|(name, table)| {
        Unmanaged { object: name.clone(), part: String::new(), observed: table.head.clone() }
    }));
    plan
}

/// Sets the columns that a foreign view fills and ours would not.
fn with_lost(feeder: &Feeder, desired: &[Desired]) -> Feeder {
    let section = SchemaObject::find(&feeder.target).map(|object| object.section);
    let writes = |desired: &&Desired| desired.definition.head.ends_with(&format!(".{}", feeder.target));
    let mut views = desired.iter().filter(|desired| desired.object.role == Role::View);
    let ours = views.clone().find(writes).or_else(|| views.find(|view| Some(view.object.section) == section));
    let is_lost = |column: &&String| ours.is_some_and(|view| view.definition.item(column).is_none());
    let lost = feeder.columns.iter().filter(is_lost).cloned().collect();
    Feeder { lost, ..feeder.clone() }
}

/// Adds the changes of one object: none, one, or an alteration and a difference left beside it.
fn judge(
    plan: &mut SchemaPlan,
    desired: &Desired,
    observed: &ObservedSchema,
    surroundings: &Surroundings<'_>,
) {
    let object = desired.object;
    let found = observed.tables.get(object.name);
    let storage = distributed_target(&desired.definition);
    let storage = storage.and_then(|name| surroundings.storage.get(name)).cloned().unwrap_or_default();
    let replay = surroundings.replays.get(object.name).cloned();
    let is_renamed = plan
        .changes
        .iter()
        .any(|change| matches!(change.action, Action::Rename { from, .. } if from == object.name));
    let mut change = |action, differences| {
        plan.changes.push(SchemaChange {
            object: object.name.to_owned(),
            action,
            differences,
            role: Some(object.role),
        });
    };
    if desired.asked_for
        && let Some(left) = lacking_functions(desired, &surroundings.lacking)
    {
        change(left, Vec::new());
        return;
    }
    let Some(found) = found else {
        if desired.asked_for && observed.detached.contains(object.name) {
            let next_step = format!(
                "it is detached on this node: ATTACH TABLE {}.{} there, then plan again",
                surroundings.config.database, object.name
            );
            change(Action::Leave { next_step, blocks: true }, Vec::new());
        } else if let Some(renaming) = renaming(desired, observed) {
            change(renaming, Vec::new());
        } else if desired.asked_for {
            let keep = carried(object.role, &storage, &Definition::default(), &observed.feeders);
            change(Action::Create { sql: desired.sql.clone(), keep, replay }, Vec::new());
        }
        return;
    };
    if let Some(renaming) = renaming(desired, observed) {
        change(renaming, Vec::new());
        return;
    }
    if desired.asked_for && object.role != Role::Storage && found.holds_rows() {
        if is_renamed {
            change(Action::Create { sql: desired.sql.clone(), keep: Vec::new(), replay: None }, Vec::new());
        } else if is_accepted_instead(object, surroundings.config) {
            plan.unmanaged.push(Unmanaged {
                object: object.name.to_owned(),
                part: "kind".to_owned(),
                observed: found.head.clone(),
            });
        } else {
            change(stored_instead(object, surroundings.config), Vec::new());
        }
        return;
    }
    let is_accepted = |part: &str| surroundings.config.unmanaged.contains(&format!("{} {part}", object.name));
    let Comparison { mut differences, unmanaged } =
        compare(&desired.definition, found, object.role, &storage, is_accepted);
    if !desired.asked_for {
        // A table that differs may be of a program that the config leaves ingestion to.
        let is_ours = differences.is_empty() || object.section.consumer(surroundings.config) == Consumer::Own;
        match is_ours && matches!(object.role, Role::Consumer | Role::View) {
            true => change(Action::Drop, Vec::new()),
            false => plan.unmanaged.push(Unmanaged {
                object: object.name.to_owned(),
                part: String::new(),
                observed: found.head.clone(),
            }),
        }
        return;
    }
    let missing = carried(object.role, &storage, found, &observed.feeders);
    let kept = unmanaged.iter().filter(|(part, _)| part.starts_with('`'));
    let kept = kept.filter_map(|(_, text)| Some(ColumnDeclaration::parse(text)?.plain()));
    let kept = kept.chain(missing.iter().cloned()).collect();
    differences.extend(missing.into_iter().filter_map(|column| {
        let part = ColumnDeclaration::parse(&column)?.name;
        (!is_accepted(&part)).then_some(ObjectDifference { part, wanted: Some(column), found: None })
    }));
    if object.name == "sharded_events" {
        let changing = unmanaged.iter().filter(|(part, _)| !is_accepted(part)).filter_map(changing_column);
        changing.for_each(|(action, difference)| change(action, vec![difference]));
    }
    let again = Action::Recreate { sql: desired.sql.clone(), keep: kept, replay };
    for (action, differences) in actions(desired.object, differences, again) {
        change(action, differences);
    }
    if object.role == Role::Consumer {
        plan.consumers.push((object, desired.sql.clone()));
    }
    plan.unmanaged.extend(unmanaged.into_iter().map(|(part, observed)| Unmanaged {
        object: object.name.to_owned(),
        part,
        observed,
    }));
}

/// Columns of all storages that the config does not name and a Distributed table lacks. For queries
/// these are all such columns. For writes they are the columns that a foreign view fills, because
/// their values would be lost otherwise.
fn carried(role: Role, storage: &StorageColumns, found: &Definition, feeders: &[Feeder]) -> Vec<String> {
    let is_filled = |column: &ColumnDeclaration| {
        column.is_stored_as_sent() && feeders.iter().any(|feeder| feeder.columns.contains(&column.name))
    };
    let extra = storage.extra.iter().filter(|column| found.item(&column.name).is_none());
    let carried = extra.filter(|column| match role {
        Role::Front => true,
        Role::Route => is_filled(column),
        _ => false,
    });
    carried.map(ColumnDeclaration::plain).collect()
}

/// The table behind `ENGINE = Distributed('cluster', 'database', 'table', …)`.
pub(super) fn distributed_target(definition: &Definition) -> Option<&str> {
    definition.clauses.get("ENGINE")?.strip_prefix("ENGINE = Distributed(")?.split('\'').nth(5)
}

/// Returns the actions for the differences of an existing object; `again` recreates it.
fn actions(
    object: &SchemaObject,
    differences: Vec<ObjectDifference>,
    again: Action,
) -> Vec<(Action, Vec<ObjectDifference>)> {
    let role = object.role;
    if differences.is_empty() {
        return Vec::new();
    }
    let alterations: Vec<Vec<Alteration>> =
        differences.iter().map(|difference| alterations(difference, role)).collect();
    if role != Role::Storage && alterations.iter().any(Vec::is_empty) {
        return vec![(again, differences)];
    }
    let (mut altered, mut left) = (Vec::new(), Vec::new());
    for (difference, alterations) in differences.into_iter().zip(&alterations) {
        if alterations.is_empty() { &mut left } else { &mut altered }.push(difference);
    }
    let mut actions = Vec::new();
    if !altered.is_empty() {
        let alterations = alterations.into_iter().flatten().collect();
        actions.push((Action::Alter { alterations }, altered));
    }
    if !left.is_empty() {
        actions.push((leave(object, &left), left));
    }
    actions
}

fn leave(object: &SchemaObject, left: &[ObjectDifference]) -> Action {
    let parts: Vec<String> = left
        .iter()
        .map(|difference| format!("{:?}", format!("{} {}", object.name, difference.part)))
        .collect();
    let blocks = left.iter().any(|difference| matches!(difference.part.as_str(), "ENGINE" | "kind"));
    let next_step = match blocks {
        true => format!(
            "posthouse can't write to it: rename it, or accept it in the config: [schema] unmanaged = [{}]",
            parts.join(", ")
        ),
        false => format!(
            "posthouse rewrites no data: alter it by hand, change the config, or accept it there: [schema] unmanaged = [{}]",
            parts.join(", ")
        ),
    };
    Action::Leave { next_step, blocks }
}

/// The `ALTER`s that remove a difference. Empty if the server refuses them, or if they lose or
/// rewrite data.
fn alterations(difference: &ObjectDifference, role: Role) -> Vec<Alteration> {
    if matches!(role, Role::View | Role::Consumer | Role::Query) {
        return Vec::new();
    }
    let is_column = difference.part.starts_with('`');
    match (&difference.wanted, &difference.found) {
        (Some(wanted), None) if is_column || difference.part.starts_with("INDEX ") => {
            vec![Alteration::Add(wanted.clone())]
        }
        (Some(wanted), Some(found)) if is_column => modifications(wanted, found, role),
        (None, Some(_)) if is_column && role != Role::Storage => {
            vec![Alteration::Drop(difference.part.clone())]
        }
        (Some(_), _) if READ_ONLY_SETTINGS.contains(&difference.part.as_str()) => Vec::new(),
        (Some(wanted), _) if difference.part.starts_with("setting ") => {
            vec![Alteration::Setting(wanted.clone())]
        }
        _ => Vec::new(),
    }
}

/// Changes only the default, codec and comment of a column with data, and appends values to an
/// enumeration. Another type rewrites every part and loses values that don't fit it.
fn modifications(wanted: &str, found: &str, role: Role) -> Vec<Alteration> {
    let parsed = (ColumnDeclaration::parse(wanted), ColumnDeclaration::parse(found));
    let (Some(desired), Some(observed)) = parsed else { return Vec::new() };
    if role == Role::Storage && desired.kind != observed.kind && !desired.extends_enum(&observed) {
        return Vec::new();
    }
    let mut modifications = Vec::new();
    // MODIFY keeps a default that it does not name.
    if let (None, Some((kind, _))) = (&desired.default, &observed.default) {
        modifications.push(Alteration::Modify(format!("{} REMOVE {kind}", desired.name)));
    }
    let same_values =
        desired.kind == observed.kind && (desired.default == observed.default || desired.default.is_none());
    let same_codec = desired.codec.is_none() || desired.codec == observed.codec;
    let same_comment = desired.comment.is_none() || desired.comment == observed.comment;
    match (same_values, same_codec && same_comment) {
        (false, _) => modifications.push(Alteration::Modify(wanted.to_owned())),
        (true, false) => modifications.push(Alteration::Annotate(wanted.to_owned())),
        (true, true) => {}
    }
    modifications
}

#[cfg(test)]
mod tests;
