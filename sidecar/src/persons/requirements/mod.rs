//! Requirements of the source of persons.
//!
//! They are checked before a snapshot, every few seconds during the stream, and by `persons check`.

mod catalog;
mod judge;
#[cfg(test)]
mod tests;

use std::fmt;

use serde::Serialize;

use super::postgres::session::{PostgresError, Session};
use crate::config::Postgres;

pub(super) use self::catalog::{Catalog, Guarantees};

/// A property that the source must have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Requirement {
    /// The setting, role, table, publication or slot.
    pub(crate) subject: String,
    pub(crate) state: RequirementState,
    /// The observed state, with a hint.
    pub(crate) found: String,
    /// SQL that meets it, one statement per entry; empty where SQL can't.
    pub(crate) fix: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RequirementState {
    Ok,
    /// An object does not exist, or a privilege was not granted.
    Missing,
    /// A setting or object has an invalid state.
    Wrong,
    /// A transaction has to end first; posthouse waits for it.
    Blocks,
}

/// Prefix of the subject of a topic.
const TOPIC: &str = "topic ";

impl Requirement {
    /// The requirement for a topic, with its number of partitions if it exists.
    pub(super) fn topic(topic: &str, partitions: Option<usize>) -> Self {
        let (state, found) = match partitions {
            Some(count) => (RequirementState::Ok, format!("{count} partitions")),
            None => {
                let next = "add it to topics.toml, and run posthouse topics apply, or give Describe on it";
                (
                    RequirementState::Missing,
                    format!("does not exist, or this user may not describe it: {next}"),
                )
            }
        };
        Self { subject: format!("{TOPIC}{topic}"), state, found, fix: Vec::new() }
    }

    /// Whether it is a topic that does not exist.
    pub(super) fn is_missing_topic(&self) -> bool {
        self.is_fault() && self.subject.starts_with(TOPIC)
    }

    /// Whether it must be met before publishing.
    pub(crate) fn is_fault(&self) -> bool {
        matches!(self.state, RequirementState::Missing | RequirementState::Wrong)
    }
}

/// A source that does not meet its requirements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UnmetError {
    /// Only the unmet requirements.
    pub(crate) requirements: Vec<Requirement>,
}

impl std::error::Error for UnmetError {}

impl fmt::Display for UnmetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<String> =
            self.requirements.iter().map(|unmet| format!("{}: {}", unmet.subject, unmet.found)).collect();
        write!(f, "{}", texts.join("; "))?;
        let script = script(&self.requirements);
        match script.is_empty() {
            true => Ok(()),
            false => write!(f, "\nRun as the owner of the tables, or a superuser:\n{}", script.trim_end()),
        }
    }
}

/// The SQL that meets all of these, one line per statement.
pub(crate) fn script(requirements: &[Requirement]) -> String {
    let mut lines: Vec<&String> = Vec::new();
    for line in requirements.iter().flat_map(|requirement| &requirement.fix) {
        // One privilege may serve several requirements.
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    lines.iter().map(|line| format!("  {line}\n")).collect()
}

/// Returns the requirements of the observed source, and the catalog they were derived from.
pub(super) async fn look(
    session: &Session,
    config: &Postgres,
) -> Result<(Vec<Requirement>, Catalog), PostgresError> {
    let catalog = Catalog::read(session, config).await?;
    Ok((judge::judge(config, &catalog), catalog))
}

/// Fails unless the source meets every requirement.
pub(super) async fn require(session: &Session, config: &Postgres) -> anyhow::Result<Catalog> {
    let (requirements, catalog) = look(session, config).await?;
    match unmet(requirements) {
        None => Ok(catalog),
        Some(error) => Err(error.into()),
    }
}

/// The requirements that are not met; `None` if all are.
pub(super) fn unmet(requirements: Vec<Requirement>) -> Option<UnmetError> {
    let requirements: Vec<Requirement> = requirements.into_iter().filter(Requirement::is_fault).collect();
    (!requirements.is_empty()).then_some(UnmetError { requirements })
}
