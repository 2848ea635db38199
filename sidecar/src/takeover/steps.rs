//! Steps that pause, resume and remove a consumer of events.

use std::collections::BTreeSet;

use crate::schema::{Action, Confirmed, Role, SchemaObject, SchemaPlan, SchemaStep, Section};
use crate::sql::{self, RenderError};

/// Name of our Kafka table of events.
pub(super) const OWN_CONSUMER: &str = "kafka_events";

/// Detaches the consumer on every node that has it.
pub(super) fn pause_steps(plans: &[SchemaPlan], consumer: &str) -> Result<Vec<SchemaStep>, RenderError> {
    let attached =
        |plan: &&SchemaPlan| plan.feeders.iter().any(|feeder| feeder.source == consumer && !feeder.paused);
    let nodes = plans.iter().filter(attached).map(|plan| plan.node.as_str());
    one_each(nodes, "detach", "detach_consumer", consumer)
}

/// Attaches the consumer on every node that has a view of it.
pub(super) fn resume_steps(plans: &[SchemaPlan], consumer: &str) -> Result<Vec<SchemaStep>, RenderError> {
    let known = |plan: &&SchemaPlan| plan.feeders.iter().any(|feeder| feeder.source == consumer);
    let nodes = plans.iter().filter(known).map(|plan| plan.node.as_str());
    one_each(nodes, "attach", "attach_consumer", consumer)
}

/// Detaches our consumer on every node whose plan drops it.
pub(super) fn pause_own_steps(plans: &[SchemaPlan], database: &str) -> Result<Vec<SchemaStep>, RenderError> {
    let dropped = dropped(plans, Role::Consumer);
    one_each(dropped.map(|(node, _)| node), "detach", "detach_consumer", &own_consumer(database))
}

/// Reattaches our consumer on the given nodes.
pub(super) fn resume_own_steps<'p>(
    nodes: impl Iterator<Item = &'p str>,
    database: &str,
) -> Result<Vec<SchemaStep>, RenderError> {
    one_each(nodes, "attach", "attach_consumer", &own_consumer(database))
}

/// Removes our paused consumer and its views. The views go first, because an attached table without
/// a view reads no messages.
pub(super) fn remove_own_steps(plans: &[SchemaPlan], database: &str) -> Result<Vec<SchemaStep>, RenderError> {
    let consumer = own_consumer(database);
    let mut steps = Vec::new();
    for (node, view) in dropped(plans, Role::View) {
        let view = format!("{database}.{view}");
        steps.extend(one_each(std::iter::once(node), "drop", "drop_foreign", &view)?);
    }
    for (verb, file) in [("attach", "attach_consumer"), ("drop", "drop_foreign")] {
        let nodes = dropped(plans, Role::Consumer).map(|(node, _)| node);
        steps.extend(one_each(nodes, verb, file, &consumer)?);
    }
    Ok(in_turn(steps))
}

/// Name of our consumer of events, with its database.
fn own_consumer(database: &str) -> String {
    format!("{database}.{OWN_CONSUMER}")
}

/// Node and name of the objects of our events ingestion that the plans drop, by role.
fn dropped(plans: &[SchemaPlan], role: Role) -> impl Iterator<Item = (&str, &str)> {
    let of_events =
        |object: &str| SchemaObject::find(object).is_some_and(|object| object.section == Section::Events);
    plans.iter().flat_map(move |plan| {
        let changes = plan.changes.iter().filter(move |change| {
            change.action == Action::Drop && change.role == Some(role) && of_events(&change.object)
        });
        changes.map(|change| (plan.node.as_str(), change.object.as_str()))
    })
}

/// Removes paused consumers and their views whose names were confirmed. The view goes first,
/// because an attached table without a view reads no messages.
///
/// # Errors
/// [`RenderError`], a bug of posthouse.
pub(crate) fn removal_steps(
    plans: &[SchemaPlan],
    confirmed: &Confirmed,
) -> Result<Vec<SchemaStep>, RenderError> {
    let mut steps = Vec::new();
    for plan in plans {
        let paused = plan.feeders.iter().filter(|feeder| feeder.paused);
        let paused = paused.filter(|feeder| {
            confirmed.drops.contains(&feeder.source) && confirmed.drops.contains(&feeder.view)
        });
        let (mut views, mut sources) = (BTreeSet::new(), BTreeSet::new());
        for feeder in paused {
            views.insert(feeder.view.as_str());
            sources.insert(feeder.source.as_str());
        }
        let node = || std::iter::once(plan.node.as_str());
        for view in views {
            steps.extend(one_each(node(), "drop", "drop_foreign", view)?);
        }
        for source in sources {
            steps.extend(one_each(node(), "attach", "attach_consumer", source)?);
            steps.extend(one_each(node(), "drop", "drop_foreign", source)?);
        }
    }
    Ok(in_turn(steps))
}

/// Gives each step its own stage, in order.
fn in_turn(mut steps: Vec<SchemaStep>) -> Vec<SchemaStep> {
    for (stage, step) in (1..).zip(&mut steps) {
        step.stage = stage;
    }
    steps
}

fn one_each<'p>(
    nodes: impl Iterator<Item = &'p str>,
    verb: &str,
    file: &str,
    table: &str,
) -> Result<Vec<SchemaStep>, RenderError> {
    let quoted: Vec<String> = table.splitn(2, '.').map(quoted).collect();
    let step = |(stage, node): (usize, &str)| {
        Ok(SchemaStep {
            node: node.to_owned(),
            stage,
            summary: format!("{verb} {table}"),
            sql: sql::render(
                &format!("changes/{file}.sql"),
                minijinja::context! { table => quoted.join(".") },
            )?,
            upgrade: None,
            paused: false,
        })
    };
    (1..).zip(nodes).map(step).collect()
}

/// The name of a database or table of others, which may have any characters.
fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('\\', "\\\\").replace('`', "\\`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_name_of_a_table_stays_one_name() {
        let steps = one_each(["a"].into_iter(), "drop", "drop_foreign", "db.x`, posthog.`sharded_events");
        let sql = steps.expect("a step").remove(0).sql;
        assert!(sql.ends_with("DROP TABLE IF EXISTS `db`.`x\\`, posthog.\\`sharded_events` SYNC"), "{sql}");
        assert_eq!(quoted("a\\"), "`a\\\\`");
    }
}
