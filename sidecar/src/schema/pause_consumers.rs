//! Stopping of consumers by dropping their Kafka tables.
//!
//! The next apply recreates the tables.

use std::collections::BTreeSet;

use super::plan::SchemaPlan;
use super::steps::SchemaStep;
use crate::sql::{self, RenderError};

/// Drops the named Kafka tables one after the other. Their views stay, because a view without its
/// Kafka table receives no rows.
///
/// # Errors
/// [`RenderError`], a bug of posthouse.
pub(crate) fn pause_consumers(
    database: &str,
    plans: &[SchemaPlan],
    names: &BTreeSet<String>,
) -> Result<Vec<SchemaStep>, RenderError> {
    let consumers =
        plans.iter().flat_map(|plan| plan.consumers.iter().map(move |(object, _)| (plan, object.name)));
    let consumers = consumers.filter(|(_, name)| names.contains(*name));
    let step = |(stage, (plan, name)): (usize, (&SchemaPlan, &str))| {
        let values = minijinja::context! { database, table => name };
        Ok(SchemaStep {
            node: plan.node.clone(),
            stage,
            summary: format!("drop {name}"),
            sql: sql::render("changes/drop_table.sql", values)?,
            upgrade: None,
            paused: true,
        })
    };
    (1..).zip(consumers).map(step).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::SchemaObject;

    #[test]
    fn consumers_that_stand_are_dropped_one_after_the_other() {
        let kafka = SchemaObject::find("kafka_events").expect("known");
        let plan = |node: &str, consumers| SchemaPlan {
            node: node.to_owned(),
            changes: Vec::new(),
            feeders: Vec::new(),
            consumers,
            unmanaged: Vec::new(),
        };
        let there = || vec![(kafka, "CREATE".to_owned())];
        let plans = [plan("a", there()), plan("b", Vec::new()), plan("c", there())];
        let steps =
            pause_consumers("d", &plans, &BTreeSet::from(["kafka_events".to_owned()])).expect("renders");
        let steps: Vec<_> =
            steps.iter().map(|step| (step.node.as_str(), step.stage, step.sql.lines().last())).collect();
        let drop = Some("DROP TABLE IF EXISTS d.kafka_events SYNC");
        assert_eq!(steps, [("a", 1, drop), ("c", 2, drop)]);
        assert_eq!(pause_consumers("d", &plans, &BTreeSet::new()).expect("renders"), []);
    }
}
