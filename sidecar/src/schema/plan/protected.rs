//! Tables and columns with rows that a plan never replaces.

use super::{Action, Desired, ObservedSchema};
use crate::config::Config;
use crate::event_columns::changing_function;
use crate::schema::column::ColumnDeclaration;
use crate::schema::compare::ObjectDifference;
use crate::schema::objects::{Role, SchemaObject};

/// A column that the config does not name, with another value for each insert. A block that is sent
/// again after a crash would be stored twice.
pub(super) fn changing_column((part, text): &(String, String)) -> Option<(Action, ObjectDifference)> {
    let (_, expression) = ColumnDeclaration::parse(text)?.default?;
    let function = changing_function(&expression)?;
    let next_step = format!(
        "column {part} calls {function}, so a block that is sent again after a crash is stored twice: ALTER TABLE \
         sharded_events MODIFY COLUMN {part} REMOVE DEFAULT, or name it in [[events.columns]], or accept it in the config: \
         [schema] unmanaged = [{:?}]",
        format!("sharded_events {part}")
    );
    let difference = ObjectDifference { part: part.clone(), wanted: None, found: Some(text.clone()) };
    Some((Action::Leave { next_step, blocks: false }, difference))
}

/// The renaming of a table that the node has under its other name, with the same engine and order
/// of rows. Nothing but our view may have the new name, and no other program may write the table.
pub(super) fn renaming(desired: &Desired, observed: &ObservedSchema) -> Option<Action> {
    let from = desired.object.former_name().filter(|_| desired.asked_for)?;
    let found = observed.tables.get(from)?;
    let is_same = |keyword| found.clauses.get(keyword) == desired.definition.clauses.get(keyword);
    let in_place = observed.tables.get(desired.object.name);
    let over_view = in_place.is_some_and(|found| found.head.starts_with("CREATE VIEW "));
    if !is_same("ENGINE") || !is_same("ORDER BY") || in_place.is_some() != over_view {
        return None;
    }
    let writer = observed.feeders.iter().find(|feeder| feeder.target == from && !feeder.paused);
    Some(match writer {
        None => Action::Rename { from, over_view },
        Some(writer) => Action::Leave {
            next_step: format!(
                "{} writes {from}, which would be renamed: let it write {} first, or set persons.distinct_id_table = \
                 {from:?} in the config",
                writer.view, desired.object.name
            ),
            blocks: true,
        },
    })
}

/// Whether the config accepts a table with rows in the place of a view.
pub(super) fn is_accepted_instead(object: &SchemaObject, config: &Config) -> bool {
    object.role == Role::Query && config.unmanaged.contains(&format!("{} kind", object.name))
}

/// A table with rows stays, although the schema has a view or another table of this name.
pub(super) fn stored_instead(object: &SchemaObject, config: &Config) -> Action {
    let (database, name, is_view) = (&config.database, object.name, object.role == Role::Query);
    let accept = match is_view {
        true => format!("; or accept it in the config: [schema] unmanaged = [{:?}]", format!("{name} kind")),
        false => String::new(),
    };
    let next_step = format!(
        "a table with rows has this name on the node, and posthouse drops none: RENAME TABLE {database}.{name} TO \
         {database}.{name}_before there, then plan again{accept}"
    );
    Action::Leave { next_step, blocks: !is_view }
}
