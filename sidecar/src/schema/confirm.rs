//! Confirmations that a plan needs, by name.

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;

use super::compare::ObjectDifference;
use super::objects::{OBJECTS, Role};
use super::plan::{Action, Alteration, SchemaChange, SchemaPlan};

/// Confirmations given on the command line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Confirmed {
    /// Views, consumers and Distributed tables to drop, and columns as `TABLE.COLUMN`.
    pub(crate) drops: BTreeSet<String>,
    /// Consumers that may read their topic from the beginning.
    pub(crate) replays: BTreeSet<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Confirmation {
    /// `--yes-drop NAME`.
    Drop(String),
    /// `--yes-replay NAME`.
    Replay(String),
}

impl fmt::Display for Confirmation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (option, name) = match self {
            Self::Drop(name) => ("--yes-drop", name),
            Self::Replay(name) => ("--yes-replay", name),
        };
        // A column name may hold a dollar sign, and a shell would expand it.
        match name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.')) {
            true => write!(f, "{option} {name}"),
            false => write!(f, "{option} '{name}'"),
        }
    }
}

/// Reason why a plan is refused. Every variant means that no statement ran.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RefusalReason {
    /// Another consumer writes the tables, so rows would be stored twice or with fewer columns.
    #[error(
        "these tables are fed by another consumer already:\n  {}\nNo change was made. Choose: consumer = \"none\" in \
         the config leaves ingestion to it; posthouse schema apply --adopt {adopted} takes over",
        .lines.join("\n  ")
    )]
    Fed {
        /// One line for each consumer and node.
        lines: Vec<String>,
        /// The first of these consumers.
        adopted: String,
    },
    /// The object differs in its kind or engine, or is detached.
    #[error("{} differ in a way that apply can't change; no change was made\n  {}", .0.len(), .0.join("\n  "))]
    Blocked(Vec<String>),
    /// The plan drops an object or replays a topic without a confirmation.
    #[error(
        "the plan has {} destructive steps that were not confirmed; no change was made. To confirm them: posthouse schema \
         apply {}",
        .0.len(), joined(.0)
    )]
    Unconfirmed(
        /// At least one.
        BTreeSet<Confirmation>,
    ),
    /// No object of the schema has this name.
    #[error("{0} is no table, view or TABLE.COLUMN of the schema: see posthouse schema plan")]
    Unknown(String),
}

pub(crate) fn joined(confirmations: &BTreeSet<Confirmation>) -> String {
    confirmations.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

/// Returns all confirmations that the plans need.
pub(crate) fn confirmations(plans: &[SchemaPlan]) -> BTreeSet<Confirmation> {
    plans.iter().flat_map(|plan| &plan.changes).flat_map(of_change).collect()
}

fn of_change(change: &SchemaChange) -> Vec<Confirmation> {
    let object = &change.object;
    let drop = || Confirmation::Drop(object.clone());
    let replay = |reason: &Option<String>| reason.as_ref().map(|_| Confirmation::Replay(object.clone()));
    match &change.action {
        Action::Create { replay: reason, .. } => replay(reason).into_iter().collect(),
        Action::Recreate { replay: None, .. } if is_only_tuned(change) => Vec::new(),
        Action::Recreate { replay: reason, .. } => std::iter::once(drop()).chain(replay(reason)).collect(),
        Action::Drop => vec![drop()],
        Action::Alter { alterations } => {
            let dropped = alterations.iter().filter_map(|alteration| match alteration {
                Alteration::Drop(column) => Some(column.trim_matches('`')),
                _ => None,
            });
            dropped.map(|column| Confirmation::Drop(format!("{object}.{column}"))).collect()
        }
        _ => Vec::new(),
    }
}

/// Settings that select the messages of a consumer, and the offsets where it resumes.
const PLACE_SETTINGS: [&str; 5] = [
    "setting kafka_broker_list",
    "setting kafka_topic_list",
    "setting kafka_group_name",
    "setting kafka_keeper_path",
    "setting kafka_replica_name",
];

/// Whether only tuning settings differ, so that the consumer resumes at the same offsets as
/// after any pause.
fn is_only_tuned(change: &SchemaChange) -> bool {
    let is_tuning = |difference: &ObjectDifference| {
        difference.part.starts_with("setting ") && !PLACE_SETTINGS.contains(&difference.part.as_str())
    };
    change.role == Some(Role::Consumer) && change.differences.iter().all(is_tuning)
}

/// Checks that the plans may be carried out.
///
/// # Errors
/// A [`RefusalReason`]; no statement has run.
pub(crate) fn check(plans: &[SchemaPlan], confirmed: &Confirmed) -> Result<(), RefusalReason> {
    if let Some(name) = confirmed.drops.union(&confirmed.replays).find(|name| !is_known(plans, name)) {
        return Err(RefusalReason::Unknown(name.clone()));
    }
    let conflicts = plans.iter().flat_map(|plan| {
        plan.feeders.iter().filter(|feeder| feeder.conflicts).map(move |feeder| (plan, feeder))
    });
    let lines: Vec<String> =
        conflicts.clone().map(|(plan, feeder)| format!("{}: {feeder}", plan.node)).collect();
    if !lines.is_empty() {
        let adopted = conflicts.map(|(_, feeder)| feeder.source.clone()).next().unwrap_or_default();
        return Err(RefusalReason::Fed { lines, adopted });
    }
    let blocked: Vec<String> = plans.iter().flat_map(blocked).collect();
    if !blocked.is_empty() {
        return Err(RefusalReason::Blocked(blocked));
    }
    let missing: BTreeSet<Confirmation> = confirmations(plans)
        .into_iter()
        .filter(|confirmation| match confirmation {
            Confirmation::Drop(name) => !confirmed.drops.contains(name),
            Confirmation::Replay(name) => !confirmed.replays.contains(name),
        })
        .collect();
    if missing.is_empty() { Ok(()) } else { Err(RefusalReason::Unconfirmed(missing)) }
}

fn blocked(plan: &SchemaPlan) -> impl Iterator<Item = String> {
    plan.changes.iter().filter_map(|change| match &change.action {
        Action::Leave { next_step, blocks: true } => {
            Some(format!("{} on {}: {next_step}", change.object, plan.node))
        }
        _ => None,
    })
}

fn is_known(plans: &[SchemaPlan], name: &str) -> bool {
    let mut feeders = plans.iter().flat_map(|plan| &plan.feeders);
    if feeders.any(|feeder| feeder.paused && (feeder.source == name || feeder.view == name)) {
        return true;
    }
    let table = name.split_once('.').map_or(name, |(table, _)| table);
    OBJECTS.iter().any(|object| object.name == table)
}
