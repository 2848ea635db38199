//! Steps that pause, resume and remove a foreign consumer.

use std::collections::BTreeSet;

use crate::schema::{Action, Confirmed, Plan, Role, Step};
use crate::sql::{self, RenderError};

/// Detaches the consumer on every node that has it.
pub(super) fn pause_steps(plans: &[Plan], consumer: &str) -> Result<Vec<Step>, RenderError> {
    let attached =
        |plan: &&Plan| plan.feeders.iter().any(|feeder| feeder.source == consumer && !feeder.paused);
    let nodes = plans.iter().filter(attached).map(|plan| plan.node.as_str());
    one_each(nodes, "detach", "detach_consumer", consumer)
}

/// Attaches it on every node that has a view of it.
pub(super) fn resume_steps(plans: &[Plan], consumer: &str) -> Result<Vec<Step>, RenderError> {
    let known = |plan: &&Plan| plan.feeders.iter().any(|feeder| feeder.source == consumer);
    let nodes = plans.iter().filter(known).map(|plan| plan.node.as_str());
    one_each(nodes, "attach", "attach_consumer", consumer)
}

/// The plans without anything but the drops of our own consumers and views of events.
pub(super) fn only_drops(plans: &[Plan]) -> Vec<Plan> {
    let mut plans = plans.to_vec();
    for plan in &mut plans {
        plan.changes.retain(|change| {
            change.action == Action::Drop && matches!(change.role, Some(Role::Consumer | Role::View))
        });
    }
    plans
}

/// Removes paused consumers and their views whose names were confirmed. The view goes
/// first: a table that is attached without a view reads nothing.
///
/// # Errors
/// [`RenderError`], which is a fault of posthouse.
pub fn removal_steps(plans: &[Plan], confirmed: &Confirmed) -> Result<Vec<Step>, RenderError> {
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
    for (stage, step) in (1..).zip(&mut steps) {
        step.stage = stage;
    }
    Ok(steps)
}

fn one_each<'p>(
    nodes: impl Iterator<Item = &'p str>,
    verb: &str,
    file: &str,
    table: &str,
) -> Result<Vec<Step>, RenderError> {
    let quoted: Vec<String> = table.splitn(2, '.').map(|name| format!("`{name}`")).collect();
    let step = |(stage, node): (usize, &str)| {
        Ok(Step {
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
