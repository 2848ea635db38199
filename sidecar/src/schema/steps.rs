//! Order of the schema changes of all nodes, as statements.
//!
//! Missing tables are created first on all nodes, before the views and consumers that write to
//! them. Then each node in turn pauses, changes and resumes. The other nodes keep consuming, and
//! the Keeper path of the offsets keeps a live replica. Without a live replica, dropping the Kafka
//! table would drop the record of a block in flight. New consumers start on all nodes at once: the
//! first consumer takes the partitions of every node that has not joined yet, and returns them 15
//! polls later. A node that stops ingesting drops its consumers after these starts, so that another
//! node takes over the record of its block in flight. Tables and views that queries read change
//! last, when every shard has the columns that they list.
//!
//! A pause drops the Kafka table *before* its views, and a resume creates it *after* them. With one
//! view missing and the other attached, the engine would continue to stream and commit offsets past
//! messages that belong to the missing view.

use serde::Serialize;

use super::objects::{Role, SchemaObject};
use super::plan::{Action, Alteration, SchemaChange, SchemaPlan};
use super::upgrades::Upgrade;
use crate::sql::{self, RenderError};

/// One statement for one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct SchemaStep {
    pub(crate) node: String,
    /// Steps of one stage are independent of each other and run at the same time. Counted from 1.
    pub(crate) stage: usize,
    pub(crate) summary: String,
    pub(crate) sql: String,
    /// Recorded as done after the statement.
    #[serde(skip)]
    pub(crate) upgrade: Option<Upgrade>,
    /// Whether the node lacks its consumers until a later step recreates them.
    #[serde(skip)]
    pub(crate) paused: bool,
}

impl SchemaStep {
    /// Whether the step creates a view or consumer without which a paused node stays paused.
    pub(super) fn resumes(&self) -> bool {
        let made = self.summary.strip_prefix("create ").and_then(SchemaObject::find);
        made.is_some_and(|object| matches!(object.role, Role::View | Role::Consumer))
    }
}

/// Returns the statements that carry out `plans`, in order.
///
/// # Errors
/// [`RenderError`], a bug of posthouse.
pub(crate) fn steps(database: &str, plans: &[SchemaPlan]) -> Result<Vec<SchemaStep>, RenderError> {
    let mut list = StepList { database, stage: 0, steps: Vec::new() };
    for plan in plans {
        list.databases(plan)?;
    }
    for role in [Role::Storage, Role::Route] {
        for plan in plans {
            list.missing(plan, role)?;
        }
    }
    let (leaving, staying): (Vec<_>, Vec<_>) = plans.iter().partition(|plan| stops_reading(plan));
    for plan in staying {
        list.rolling(plan)?;
    }
    list.starts(plans);
    for plan in leaving {
        list.rolling(plan)?;
    }
    for plan in plans {
        list.fronts(plan)?;
        list.queries(plan)?;
        list.upgrades(plan)?;
    }
    Ok(list.steps)
}

struct StepList<'a> {
    database: &'a str,
    stage: usize,
    steps: Vec<SchemaStep>,
}

#[derive(Serialize)]
struct StepValues<'a> {
    database: &'a str,
    table: &'a str,
    item: &'a str,
}

impl StepList<'_> {
    fn databases(&mut self, plan: &SchemaPlan) -> Result<(), RenderError> {
        for change in plan.changes.iter().filter(|change| change.action == Action::CreateDatabase) {
            self.push(
                plan,
                format!("create {} {}", change.object, self.database),
                "create_database",
                "",
                "",
            )?;
        }
        Ok(())
    }

    fn missing(&mut self, plan: &SchemaPlan, role: Role) -> Result<(), RenderError> {
        for change in of_role(plan, role) {
            if let Action::Create { sql, keep, .. } = &change.action {
                self.create(plan, &change.object, sql);
                self.keep(plan, &change.object, keep)?;
            }
        }
        Ok(())
    }

    /// Adds the columns of the table's storage that the config does not name.
    fn keep(&mut self, plan: &SchemaPlan, table: &str, columns: &[String]) -> Result<(), RenderError> {
        for column in columns {
            self.push(plan, format!("alter {table}: add {column}"), "add", table, column)?;
        }
        Ok(())
    }

    /// Pauses, changes and resumes the node's consumers. Does nothing if no change needs a pause.
    fn rolling(&mut self, plan: &SchemaPlan) -> Result<(), RenderError> {
        self.gentle(plan)?;
        if !plan.changes.iter().any(pauses) {
            return Ok(());
        }
        let first = self.steps.len();
        for (consumer, _) in &plan.consumers {
            self.drop(plan, consumer.name)?;
        }
        for role in [Role::Consumer, Role::View] {
            for change in of_role(plan, role).filter(|change| is_dropped(change)) {
                self.drop(plan, &change.object)?;
            }
        }
        for role in [Role::Storage, Role::Route] {
            for change in of_role(plan, role).filter(|change| pauses(change)) {
                self.alter(plan, change)?;
            }
        }
        for change in of_role(plan, Role::View) {
            if let Action::Create { sql, .. } | Action::Recreate { sql, .. } = &change.action {
                self.create(plan, &change.object, sql);
            }
        }
        for (consumer, sql) in &plan.consumers {
            self.create(plan, consumer.name, sql);
        }
        if !plan.consumers.is_empty() {
            let last = self.steps.len().saturating_sub(1);
            self.steps[first..last].iter_mut().for_each(|step| step.paused = true);
        }
        Ok(())
    }

    /// Alters storage and route tables where ingestion needs no pause.
    fn gentle(&mut self, plan: &SchemaPlan) -> Result<(), RenderError> {
        for role in [Role::Storage, Role::Route] {
            for change in of_role(plan, role).filter(|change| !pauses(change)) {
                self.alter(plan, change)?;
            }
        }
        Ok(())
    }

    /// Creates the new consumers of all nodes in one stage.
    fn starts(&mut self, plans: &[SchemaPlan]) {
        self.stage += 1;
        for plan in plans {
            for change in of_role(plan, Role::Consumer).filter(|change| !stands(plan, &change.object)) {
                if let Action::Create { sql, .. } = &change.action {
                    self.steps.push(self.creation(plan, &change.object, sql));
                }
            }
        }
    }

    fn fronts(&mut self, plan: &SchemaPlan) -> Result<(), RenderError> {
        self.missing(plan, Role::Front)?;
        for change in of_role(plan, Role::Front) {
            self.alter(plan, change)?;
        }
        Ok(())
    }

    fn queries(&mut self, plan: &SchemaPlan) -> Result<(), RenderError> {
        self.missing(plan, Role::Query)?;
        for change in of_role(plan, Role::Query) {
            if let Action::Recreate { sql, .. } = &change.action {
                self.drop(plan, &change.object)?;
                self.create(plan, &change.object, sql);
            }
        }
        Ok(())
    }

    fn upgrades(&mut self, plan: &SchemaPlan) -> Result<(), RenderError> {
        for change in &plan.changes {
            if let Action::Upgrade { upgrade } = &change.action {
                let sql = sql::render(upgrade.file, self.values("", ""))?;
                let summary = format!("upgrade {}", upgrade.name);
                self.stage += 1;
                self.steps.push(SchemaStep { upgrade: Some(*upgrade), ..self.step(plan, summary, sql) });
            }
        }
        Ok(())
    }

    fn alter(&mut self, plan: &SchemaPlan, change: &SchemaChange) -> Result<(), RenderError> {
        let table = change.object.as_str();
        match &change.action {
            Action::Alter { alterations } => {
                for alteration in alterations {
                    let (verb, file, item) = match alteration {
                        Alteration::Add(item) => ("add", "add", item),
                        Alteration::Modify(item) | Alteration::Annotate(item) => {
                            ("modify", "modify_column", item)
                        }
                        Alteration::Drop(item) => ("drop", "drop_column", item),
                        Alteration::Setting(item) => ("set", "modify_setting", item),
                    };
                    self.push(plan, format!("alter {table}: {verb} {item}"), file, table, item)?;
                }
            }
            Action::Recreate { sql, keep, .. } => {
                self.push(plan, format!("flush {table}"), "flush_distributed", table, "")?;
                self.drop(plan, table)?;
                self.create(plan, table, sql);
                self.keep(plan, table, keep)?;
            }
            Action::Rename { from, over_view } => {
                if *over_view {
                    self.push(plan, format!("drop {table}"), "drop_view", table, "")?;
                }
                self.push(plan, format!("rename {from} to {table}"), "rename_table", table, from)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn drop(&mut self, plan: &SchemaPlan, table: &str) -> Result<(), RenderError> {
        self.push(plan, format!("drop {table}"), "drop_table", table, "")
    }

    fn create(&mut self, plan: &SchemaPlan, table: &str, sql: &str) {
        self.stage += 1;
        self.steps.push(self.creation(plan, table, sql));
    }

    fn creation(&self, plan: &SchemaPlan, table: &str, sql: &str) -> SchemaStep {
        self.step(plan, format!("create {table}"), sql.to_owned())
    }

    fn step(&self, plan: &SchemaPlan, summary: String, sql: String) -> SchemaStep {
        SchemaStep { node: plan.node.clone(), stage: self.stage, summary, sql, upgrade: None, paused: false }
    }

    fn push(
        &mut self,
        plan: &SchemaPlan,
        summary: String,
        file: &str,
        table: &str,
        item: &str,
    ) -> Result<(), RenderError> {
        let sql = sql::render(&format!("changes/{file}.sql"), self.values(table, item))?;
        self.stage += 1;
        self.steps.push(self.step(plan, summary, sql));
        Ok(())
    }

    fn values<'v>(&'v self, table: &'v str, item: &'v str) -> StepValues<'v> {
        StepValues { database: self.database, table, item }
    }
}

fn of_role(plan: &SchemaPlan, role: Role) -> impl Iterator<Item = &SchemaChange> {
    plan.changes.iter().filter(move |change| change.role == Some(role))
}

/// Whether the Kafka table exists already, so that every pause drops and recreates it.
fn stands(plan: &SchemaPlan, name: &str) -> bool {
    plan.consumers.iter().any(|(consumer, _): &(&SchemaObject, String)| consumer.name == name)
}

fn stops_reading(plan: &SchemaPlan) -> bool {
    of_role(plan, Role::Consumer).any(|change| change.action == Action::Drop)
}

fn is_dropped(change: &SchemaChange) -> bool {
    match change.action {
        Action::Drop => true,
        Action::Recreate { .. } => change.role == Some(Role::View),
        _ => false,
    }
}

/// Whether ingestion pauses on the node during the change. A replayed block must give the same
/// part, so no column may appear or change between the two attempts.
fn pauses(change: &SchemaChange) -> bool {
    let is_read = matches!(change.role, Some(Role::Front | Role::Query));
    match (&change.action, change.role) {
        (Action::Alter { alterations }, _) => {
            let is_gentle = |alteration: &Alteration| {
                matches!(alteration, Alteration::Setting(_) | Alteration::Annotate(_))
            };
            !is_read && !alterations.iter().all(is_gentle)
        }
        (Action::Recreate { .. } | Action::Rename { .. }, _) => !is_read,
        (Action::Create { .. } | Action::Drop, Some(role)) => matches!(role, Role::View | Role::Consumer),
        _ => false,
    }
}
