//! Decides what a node lacks, what differs and what is extra, and what is done about each.

use std::collections::BTreeMap;

use serde::Serialize;

use super::definition::Definition;
use super::objects::{Object, Role};
use super::upgrades::Upgrade;

/// What an object should be on one node.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    /// Which object.
    pub object: &'static Object,
    /// The statement that makes it.
    pub sql: String,
    /// The same, taken apart after the node itself has formatted it.
    pub definition: Definition,
}

/// What stands on one node.
#[derive(Debug, Clone, Default)]
pub(super) struct Standing {
    /// Whether the database exists.
    pub database: bool,
    /// Every table and view in it.
    pub tables: BTreeMap<String, Definition>,
}

/// Everything one node needs, and what its steps have to know besides.
#[derive(Debug, Clone, Serialize)]
pub struct Plan {
    /// The node.
    pub node: String,
    /// What differs, in the order of roles; empty when the node is as wanted.
    pub changes: Vec<Change>,
    /// The Kafka tables that stand there now, with the statement that makes each again after a pause.
    #[serde(skip)]
    pub consumers: Vec<(&'static Object, String)>,
    /// Tables of the database that posthouse does not know. They are none of its business and no difference.
    pub unknown: Vec<String>,
}

/// One object that is not as wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// The table, view, upgrade or database.
    pub object: String,
    /// What is done about it.
    pub action: Action,
    /// What was found against what is wanted; empty for what is missing altogether.
    pub differences: Vec<Difference>,
    /// Its part in the schema; absent for the database and for upgrades.
    #[serde(skip)]
    pub role: Option<Role>,
}

/// One part of a definition that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The column, index, clause or setting.
    pub part: String,
    /// How it should be; `None` if it should not be there.
    pub wanted: Option<String>,
    /// How it is; `None` if it is not there.
    pub found: Option<String>,
}

/// What is done about a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "do")]
pub enum Action {
    /// The database is made.
    CreateDatabase,
    /// A missing object is made.
    Create {
        /// Its statement.
        sql: String,
    },
    /// Something that holds no data is dropped and made again.
    Recreate {
        /// Its statement.
        sql: String,
    },
    /// A table is altered in place.
    Alter {
        /// One each for a statement.
        alterations: Vec<Alteration>,
    },
    /// posthouse leaves it alone, because changing it could lose data or needs a copy.
    Leave {
        /// What a person can do.
        next_step: String,
    },
    /// A numbered upgrade that the node has not had.
    Upgrade {
        /// Which.
        upgrade: Upgrade,
    },
}

/// One `ALTER TABLE`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Alteration {
    /// A column or index that is missing.
    Add(String),
    /// A column that differs.
    Modify(String),
    /// A column of a Distributed table that is extra.
    Drop(String),
    /// A setting of a MergeTree, `name = value`.
    Setting(String),
}

/// What `node` needs to be as `wanted`.
pub(super) fn plan(node: &str, wanted: &[Wanted], standing: &Standing, pending: Vec<Upgrade>) -> Plan {
    let mut changes = Vec::new();
    if !standing.database {
        let action = Action::CreateDatabase;
        changes.push(Change { object: "database".to_owned(), action, differences: Vec::new(), role: None });
    }
    let mut consumers = Vec::new();
    for want in wanted {
        let found = standing.tables.get(want.object.name);
        if want.object.role == Role::Consumer && found.is_some() {
            consumers.push((want.object, want.sql.clone()));
        }
        changes.extend(change(want, found));
    }
    changes.extend(pending.into_iter().map(|upgrade| Change {
        object: upgrade.name.to_owned(),
        action: Action::Upgrade { upgrade },
        differences: Vec::new(),
        role: None,
    }));
    let known = |name: &String| !wanted.iter().any(|want| want.object.name == name);
    let unknown = standing.tables.keys().filter(|name| known(name)).cloned().collect();
    Plan { node: node.to_owned(), changes, consumers, unknown }
}

/// The changes of one object: none, one, or an alteration and something that is left beside it.
fn change(want: &Wanted, found: Option<&Definition>) -> Vec<Change> {
    let change = |action, differences| Change {
        object: want.object.name.to_owned(),
        action,
        differences,
        role: Some(want.object.role),
    };
    let Some(found) = found else {
        return vec![change(Action::Create { sql: want.sql.clone() }, Vec::new())];
    };
    let differences = differences(&want.definition, found, want.object.role);
    if differences.is_empty() {
        return Vec::new();
    }
    let alterations: Vec<Option<Alteration>> =
        differences.iter().map(|difference| alteration(difference, want.object.role)).collect();
    if want.object.role != Role::Storage && alterations.iter().any(Option::is_none) {
        return vec![change(Action::Recreate { sql: want.sql.clone() }, differences)];
    }
    let (mut altered, mut left) = (Vec::new(), Vec::new());
    for (difference, alteration) in differences.into_iter().zip(&alterations) {
        if alteration.is_some() { &mut altered } else { &mut left }.push(difference);
    }
    let mut changes = Vec::new();
    if !altered.is_empty() {
        let alterations = alterations.into_iter().flatten().collect();
        changes.push(change(Action::Alter { alterations }, altered));
    }
    if !left.is_empty() {
        let next_step =
            "posthouse drops no data and copies no table: alter it by hand, or bring the config in line";
        changes.push(change(Action::Leave { next_step: next_step.to_owned() }, left));
    }
    changes
}

/// The `ALTER` that mends a difference, if one can without losing data.
fn alteration(difference: &Difference, role: Role) -> Option<Alteration> {
    if matches!(role, Role::View | Role::Consumer | Role::Query) {
        return None;
    }
    let column = difference.part.starts_with('`');
    match (&difference.wanted, &difference.found) {
        (Some(wanted), None) if column || difference.part.starts_with("INDEX ") => {
            Some(Alteration::Add(wanted.clone()))
        }
        (Some(wanted), Some(_)) if column => Some(Alteration::Modify(wanted.clone())),
        (None, Some(_)) if column && role != Role::Storage => Some(Alteration::Drop(difference.part.clone())),
        (Some(wanted), _) if difference.part.starts_with("setting ") => {
            Some(Alteration::Setting(wanted.clone()))
        }
        _ => None,
    }
}

fn differences(wanted: &Definition, found: &Definition, role: Role) -> Vec<Difference> {
    let mut differences = Vec::new();
    let mut compare = |part: &str, wanted: Option<&str>, found: Option<&str>| {
        if wanted != found {
            let (wanted, found) = (wanted.map(str::to_owned), found.map(str::to_owned));
            differences.push(Difference { part: part.to_owned(), wanted, found });
        }
    };
    if wanted.head != found.head {
        compare("kind", Some(&wanted.head), Some(&found.head));
    }
    for (key, item) in &wanted.items {
        compare(key, Some(item), found.item(key));
    }
    for (key, item) in found.items.iter().filter(|(key, _)| wanted.item(key).is_none()) {
        compare(key, None, Some(item));
    }
    for (keyword, clause) in &wanted.clauses {
        compare(keyword, Some(clause), found.clauses.get(keyword).map(String::as_str));
    }
    for (keyword, clause) in
        found.clauses.iter().filter(|(keyword, _)| !wanted.clauses.contains_key(*keyword))
    {
        // An operator's own TTL or comment on a table with data is not ours to judge.
        if !(role == Role::Storage && matches!(keyword.as_str(), "TTL" | "COMMENT")) {
            compare(keyword, None, Some(clause));
        }
    }
    for (name, value) in &wanted.settings {
        let line = |value: &String| format!("{name} = {value}");
        compare(
            &format!("setting {name}"),
            Some(&line(value)),
            found.settings.get(name).map(line).as_deref(),
        );
    }
    if role == Role::Consumer {
        // A consumer's settings decide what a block is: a stray one may cost exactly-once.
        for (name, value) in found.settings.iter().filter(|(name, _)| !wanted.settings.contains_key(*name)) {
            compare(&format!("setting {name}"), None, Some(&format!("{name} = {value}")));
        }
    }
    differences
}

#[cfg(test)]
mod tests;
