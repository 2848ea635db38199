//! Removal of materialized columns that the config does not name any more.
//!
//! Only columns that are computed from others are dropped: all others hold data that is stored
//! nowhere else.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::column::ColumnDeclaration;
use super::compare::Unmanaged;
use super::objects::Section;
use super::plan::SchemaPlan;
use super::steps::SchemaStep;
use crate::config::Config;
use crate::event_columns::{ColumnOrigin, Derivation, changing_function};
use crate::sql::{self, RenderError};

/// Table with the events of a shard, and the table for queries.
const STORAGE: &str = "sharded_events";
const FRONT: &str = "events";

/// Reason why a column is not dropped. No statement has run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DropColumnError {
    #[error("the config has the column {0}: remove it there first; no change was made")]
    InConfig(String),
    #[error("sharded_events has no column {0} on any node; no change was made")]
    Missing(String),
    #[error(
        "{declaration} of {STORAGE} on {node} is not computed from other columns alone, so its values are stored nowhere \
         else; no change was made. To drop it all the same: ALTER TABLE {STORAGE} DROP COLUMN by hand"
    )]
    HoldsData { declaration: String, node: String },
    #[error("{STORAGE} on {node} needs the column {column} for {dependent}; no change was made")]
    Needed { column: String, dependent: String, node: String },
    #[error(transparent)]
    Render(#[from] RenderError),
}

/// Names of the materialized columns that nodes have and the config does not.
pub(crate) fn droppable_columns(plans: &[SchemaPlan]) -> BTreeSet<String> {
    let columns = plans.iter().flat_map(own_columns).filter(is_materialized);
    columns.map(|column| column.name.trim_matches('`').to_owned()).collect()
}

/// Returns the steps that drop `columns`: from `events` of every node first, so that no query names
/// a column that its shard lacks, then from each shard while its node consumes nothing.
///
/// # Errors
/// A [`DropColumnError`] for the first column that is not dropped.
pub(crate) fn drop_column_steps(
    config: &Config,
    plans: &[SchemaPlan],
    columns: &BTreeSet<String>,
) -> Result<Vec<SchemaStep>, DropColumnError> {
    if columns.is_empty() {
        return Ok(Vec::new());
    }
    for column in columns {
        check(config, plans, column)?;
    }
    let mut list = DropSteps { database: &config.database, steps: Vec::new() };
    for plan in plans {
        for column in columns {
            list.push(plan, Change::Drop, "drop_column", FRONT, &format!("`{column}`"))?;
        }
    }
    for plan in plans {
        list.storage(plan, columns)?;
    }
    Ok(list.steps)
}

fn check(config: &Config, plans: &[SchemaPlan], column: &str) -> Result<(), DropColumnError> {
    if config.events.columns.iter().any(|known| known.name == column) {
        return Err(DropColumnError::InConfig(column.to_owned()));
    }
    let quoted = format!("`{column}`");
    let mut is_missing = true;
    for plan in plans {
        let Some(found) = own_columns(plan).find(|found| found.name == quoted) else { continue };
        is_missing = false;
        if !is_materialized(&found) {
            let declaration = own_items(plan).find(|item| item.part == quoted);
            let declaration = declaration.map_or(quoted, |item| item.observed.clone());
            return Err(DropColumnError::HoldsData { declaration, node: plan.node.clone() });
        }
        if let Some(dependent) = dependent(config, plan, column) {
            let (column, node) = (column.to_owned(), plan.node.clone());
            return Err(DropColumnError::Needed { column, dependent, node });
        }
    }
    if is_missing { Err(DropColumnError::Missing(column.to_owned())) } else { Ok(()) }
}

/// A column, projection or index of several columns that is computed from the column.
fn dependent(config: &Config, plan: &SchemaPlan, column: &str) -> Option<String> {
    let own = own_items(plan).filter(|item| item.part != format!("`{column}`") && !is_index_of(item, column));
    let own = own.map(|item| (item.part.as_str(), item.observed.as_str()));
    let configured = config.events.columns.iter().filter_map(|known| match &known.origin {
        ColumnOrigin::Materialized(Derivation::Expression(expression)) => {
            Some((known.name.as_str(), expression.as_str()))
        }
        _ => None,
    });
    own.chain(configured).find(|(_, text)| mentions(text, column)).map(|(part, _)| part.to_owned())
}

/// Whether a word of the text is the name.
fn mentions(text: &str, name: &str) -> bool {
    let is_word = |letter: char| letter.is_alphanumeric() || matches!(letter, '_' | '$');
    text.match_indices(name).any(|(start, _)| {
        let (before, after) = (text[..start].chars().next_back(), text[start + name.len()..].chars().next());
        !before.is_some_and(is_word) && !after.is_some_and(is_word)
    })
}

/// Whether the item is a data-skipping index of the column alone: `INDEX name column TYPE …`.
fn is_index_of(item: &Unmanaged, column: &str) -> bool {
    let Some(expression) = item.observed.strip_prefix(item.part.as_str()) else { return false };
    let expression = expression.trim_start();
    [format!("{column} TYPE "), format!("`{column}` TYPE ")].iter().any(|start| expression.starts_with(start))
        && item.part.starts_with("INDEX ")
}

/// Items of `sharded_events` that the config does not name.
fn own_items(plan: &SchemaPlan) -> impl Iterator<Item = &Unmanaged> {
    plan.unmanaged.iter().filter(|item| item.object == STORAGE)
}

fn own_columns(plan: &SchemaPlan) -> impl Iterator<Item = ColumnDeclaration> {
    own_items(plan).filter_map(|item| ColumnDeclaration::parse(&item.observed))
}

fn is_materialized(column: &ColumnDeclaration) -> bool {
    let is_computed =
        |(kind, text): &(_, String)| kind == "MATERIALIZED" && changing_function(text).is_none();
    column.default.as_ref().is_some_and(is_computed)
}

/// A kind of step.
#[derive(Clone, Copy)]
enum Change {
    /// Outside of a pause, or the last of one.
    Drop,
    /// The node is left without consumers.
    Pause,
}

struct DropSteps<'a> {
    database: &'a str,
    steps: Vec<SchemaStep>,
}

#[derive(Serialize)]
struct DropValues<'a> {
    database: &'a str,
    table: &'a str,
    item: &'a str,
}

impl DropSteps<'_> {
    /// Pauses the node, drops indexes and columns, and resumes. A block that is sent again must
    /// give the same part, so no column may disappear between the two attempts.
    fn storage(&mut self, plan: &SchemaPlan, columns: &BTreeSet<String>) -> Result<(), RenderError> {
        let consumers = plan.consumers.iter().filter(|(object, _)| object.section == Section::Events);
        let consumers: BTreeMap<&str, &str> =
            consumers.map(|(object, sql)| (object.name, sql.as_str())).collect();
        let change = if consumers.is_empty() { Change::Drop } else { Change::Pause };
        for name in consumers.keys() {
            self.push(plan, Change::Pause, "drop_table", name, "")?;
        }
        for column in columns {
            for index in own_items(plan).filter(|item| is_index_of(item, column)) {
                let name = index.part.trim_start_matches("INDEX ");
                self.push(plan, change, "drop_index", STORAGE, name)?;
            }
            self.push(plan, change, "drop_column", STORAGE, &format!("`{column}`"))?;
        }
        for (name, sql) in consumers {
            self.add(plan, Change::Drop, format!("create {name}"), sql.to_owned());
        }
        Ok(())
    }

    fn push(
        &mut self,
        plan: &SchemaPlan,
        change: Change,
        file: &str,
        table: &str,
        item: &str,
    ) -> Result<(), RenderError> {
        let values = DropValues { database: self.database, table, item };
        let sql = sql::render(&format!("changes/{file}.sql"), values)?;
        let summary = match item {
            "" => format!("drop {table}"),
            item => format!("alter {table}: drop {item}"),
        };
        self.add(plan, change, summary, sql);
        Ok(())
    }

    fn add(&mut self, plan: &SchemaPlan, change: Change, summary: String, sql: String) {
        let (node, stage) = (plan.node.clone(), self.steps.len() + 1);
        let paused = matches!(change, Change::Pause);
        self.steps.push(SchemaStep { node, stage, summary, sql, upgrade: None, paused });
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::schema::SchemaObject;

    fn config() -> Config {
        let text = "kafka.brokers = [\"b:1\"]\n[[shards]]\n[[shards.replicas]]\nname = \"a\"\nurl = \"http://a:8123\"\n\
            address = \"a:9000\"\n[events]\nmaterialized = [{ name = \"kept\", type = \"String\", expression = \"upper(base)\" }]";
        Config::parse(text, Path::new("")).expect("a config")
    }

    fn plan(items: &[(&str, &str)]) -> SchemaPlan {
        let kafka = SchemaObject::find("kafka_events").expect("known");
        let unmanaged = items.iter().map(|(part, observed)| Unmanaged {
            object: STORAGE.to_owned(),
            part: (*part).to_owned(),
            observed: (*observed).to_owned(),
        });
        SchemaPlan {
            node: "a".to_owned(),
            changes: Vec::new(),
            feeders: Vec::new(),
            consumers: vec![(kafka, "CREATE".to_owned())],
            unmanaged: unmanaged.collect(),
        }
    }

    const OWN: [(&str, &str); 6] = [
        ("`mat_$a`", "`mat_$a` String MATERIALIZED JSONExtractString(properties, 'a')"),
        ("INDEX `minmax_mat_$a`", "INDEX `minmax_mat_$a` `mat_$a` TYPE minmax GRANULARITY 1"),
        ("`base`", "`base` String MATERIALIZED lower(event)"),
        ("`stored`", "`stored` String"),
        ("`source`", "`source` String MATERIALIZED event"),
        ("INDEX both", "INDEX both (source, event) TYPE bloom_filter GRANULARITY 1"),
    ];

    fn steps(columns: &[&str]) -> Result<Vec<SchemaStep>, DropColumnError> {
        let columns = columns.iter().map(|&column| column.to_owned()).collect();
        drop_column_steps(&config(), &[plan(&OWN)], &columns)
    }

    #[test]
    fn queries_lose_a_column_first_and_its_shard_while_it_is_paused() {
        let steps = steps(&["mat_$a"]).expect("it can be dropped");
        let steps: Vec<_> = steps.iter().map(|step| (step.summary.as_str(), step.paused)).collect();
        assert_eq!(
            steps,
            [
                ("alter events: drop `mat_$a`", false),
                ("drop kafka_events", true),
                ("alter sharded_events: drop `minmax_mat_$a`", true),
                ("alter sharded_events: drop `mat_$a`", true),
                ("create kafka_events", false),
            ]
        );
        assert_eq!(droppable_columns(&[plan(&OWN)]).len(), 3);
    }

    #[test]
    fn columns_with_data_or_dependents_or_of_the_config_stay() {
        let refused = |column| steps(&[column]).expect_err(column);
        assert!(matches!(refused("stored"), DropColumnError::HoldsData { .. }));
        assert!(matches!(refused("event"), DropColumnError::InConfig(_)));
        assert!(matches!(refused("kept"), DropColumnError::InConfig(_)));
        assert!(matches!(refused("none"), DropColumnError::Missing(_)));
        assert!(matches!(refused("base"), DropColumnError::Needed { dependent, .. } if dependent == "kept"));
        assert!(
            matches!(refused("source"), DropColumnError::Needed { dependent, .. } if dependent == "INDEX both")
        );
    }
}
