//! Comparison of a table's observed definition with the desired one.

use std::collections::BTreeSet;

use serde::Serialize;

use super::column::ColumnDeclaration;
use super::definition::Definition;
use super::objects::Role;

/// One part of a definition that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct ObjectDifference {
    /// Name of the column, index, clause or setting.
    pub(crate) part: String,
    /// The desired text; `None` if the part should not exist.
    pub(crate) wanted: Option<String>,
    /// The observed text; `None` if the part does not exist.
    pub(crate) found: Option<String>,
}

/// A part that differs and stays: an operator's own, or accepted in the config.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct Unmanaged {
    pub(crate) object: String,
    /// The column, index, clause or setting; empty for a whole table that posthouse does not know.
    pub(crate) part: String,
    pub(crate) observed: String,
}

/// The columns of the table behind a Distributed one, over all nodes.
#[derive(Debug, Clone, Default)]
pub(super) struct StorageColumns {
    /// Names of columns that at least one node has.
    pub(crate) anywhere: BTreeSet<String>,
    /// Columns that all nodes have with the same type and the config does not name.
    pub(crate) extra: Vec<ColumnDeclaration>,
}

/// The result of comparing one object.
#[derive(Debug, Default)]
pub(super) struct Comparison {
    pub(crate) differences: Vec<ObjectDifference>,
    /// Name and text of each part that stays.
    pub(crate) unmanaged: Vec<(String, String)>,
}

/// Compares one object. `accepted` returns whether the config accepts a difference of
/// the named part.
pub(super) fn compare(
    desired: &Definition,
    observed: &Definition,
    role: Role,
    storage: &StorageColumns,
    accepted: impl Fn(&str) -> bool,
) -> Comparison {
    let mut list = DifferenceList { comparison: Comparison::default(), accepted };
    list.part("kind", Some(&desired.head), Some(&observed.head));
    for (key, item) in &desired.items {
        list.item(key, item, observed.item(key), role);
    }
    for (key, item) in observed.items.iter().filter(|(key, _)| desired.item(key).is_none()) {
        match is_kept(key, role, storage) {
            true => list.keep(key, item),
            false => list.part(key, None, Some(item)),
        }
    }
    for (keyword, clause) in &desired.clauses {
        list.part(keyword, Some(clause), observed.clauses.get(keyword).map(String::as_str));
    }
    for (keyword, clause) in observed.clauses.iter().filter(|(key, _)| !desired.clauses.contains_key(*key)) {
        match keyword == "COMMENT" || (role == Role::Storage && keyword == "TTL") {
            true => list.keep(keyword, clause),
            false => list.part(keyword, None, Some(clause)),
        }
    }
    list.settings(desired, observed, role);
    list.comparison
}

/// Whether an item that the config does not name stays. A table with data keeps all items, a
/// Distributed table the columns that its storage has.
fn is_kept(key: &str, role: Role, storage: &StorageColumns) -> bool {
    match role {
        Role::Storage => true,
        Role::Route | Role::Front => !key.starts_with('`') || storage.anywhere.contains(key),
        Role::View | Role::Consumer | Role::Query => false,
    }
}

struct DifferenceList<A> {
    comparison: Comparison,
    accepted: A,
}

impl<A: Fn(&str) -> bool> DifferenceList<A> {
    fn part(&mut self, part: &str, desired: Option<&str>, observed: Option<&str>) {
        if desired == observed {
            return;
        }
        match (observed, (self.accepted)(part)) {
            (Some(text), true) => self.keep(part, text),
            _ => self.comparison.differences.push(ObjectDifference {
                part: part.to_owned(),
                wanted: desired.map(str::to_owned),
                found: observed.map(str::to_owned),
            }),
        }
    }

    fn keep(&mut self, part: &str, text: &str) {
        self.comparison.unmanaged.push((part.to_owned(), text.to_owned()));
    }

    /// A column is as desired if its type and default are equal, and its codec and comment where
    /// the config has one. Programs find columns by the comments of the table for reads; other
    /// codecs and comments of Distributed tables have no effect.
    fn item(&mut self, key: &str, desired: &str, observed: Option<&str>, role: Role) {
        let parsed = (ColumnDeclaration::parse(desired), observed.and_then(ColumnDeclaration::parse));
        let (Some(wanted), Some(found)) = parsed else { return self.part(key, Some(desired), observed) };
        let same = |wanted: &Option<String>, found: &Option<String>| wanted.is_none() || wanted == found;
        let (stored, read) = (role == Role::Storage, role == Role::Front);
        let equal = wanted.kind == found.kind
            && wanted.default == found.default
            && (!stored || same(&wanted.codec, &found.codec))
            && (!(stored || read) || same(&wanted.comment, &found.comment));
        if !equal {
            return self.part(key, Some(desired), observed);
        }
        let own = (found.comment.is_some() && wanted.comment.is_none())
            || (found.codec.is_some() && wanted.codec.is_none())
            || !found.rest.is_empty();
        if own && let Some(text) = observed {
            self.keep(key, text);
        }
    }

    fn settings(&mut self, desired: &Definition, observed: &Definition, role: Role) {
        for (name, value) in &desired.settings {
            let found = observed.settings.get(name).map(|value| format!("{name} = {value}"));
            let wanted = format!("{name} = {value}");
            self.part(&format!("setting {name}"), Some(&wanted), found.as_deref());
        }
        for (name, value) in
            observed.settings.iter().filter(|(name, _)| !desired.settings.contains_key(*name))
        {
            let (part, text) = (format!("setting {name}"), format!("{name} = {value}"));
            match role {
                // The settings of a consumer define its blocks, so an additional one may break
                // exactly-once.
                Role::Consumer => self.part(&part, None, Some(&text)),
                _ => self.keep(&part, &text),
            }
        }
    }
}
