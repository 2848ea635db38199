//! Requirements of the source of persons: checked before a copy, every few seconds beside it, and by `persons check`.

mod catalog;
mod judge;
#[cfg(test)]
mod tests;

use std::fmt;

use serde::Serialize;

use super::postgres::session::{PostgresError, Session};
use crate::config::Postgres;

pub(super) use self::catalog::{Catalog, Guarantees};

/// Something that the source must be or have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Requirement {
    /// The setting, role, table, publication or slot.
    pub subject: String,
    /// Whether it is met.
    pub state: RequirementState,
    /// What was found.
    pub found: String,
    /// SQL that meets it, a statement each; empty where SQL can't.
    pub fix: Vec<String>,
}

/// Whether a requirement is met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RequirementState {
    /// It is.
    Ok,
    /// Something does not exist or was not granted.
    Missing,
    /// Something is otherwise than it must be.
    Wrong,
    /// Something has to end first; posthouse waits for it.
    Blocks,
}

/// How the subject of a topic begins.
const TOPIC: &str = "topic ";

impl Requirement {
    /// A topic with so many partitions, or none.
    pub(super) fn topic(topic: &str, partitions: Option<usize>) -> Self {
        let (state, found) = match partitions {
            Some(count) => (RequirementState::Ok, format!("{count} partitions")),
            None => {
                let next = "add it to topics.toml, and run posthouse topics apply";
                (RequirementState::Missing, format!("does not exist: {next}"))
            }
        };
        Self { subject: format!("{TOPIC}{topic}"), state, found, fix: Vec::new() }
    }

    /// Whether it is a topic that does not exist.
    pub(super) fn is_missing_topic(&self) -> bool {
        self.is_fault() && self.subject.starts_with(TOPIC)
    }

    /// Whether nothing may be published before it is met.
    pub fn is_fault(&self) -> bool {
        matches!(self.state, RequirementState::Missing | RequirementState::Wrong)
    }
}

/// A source that does not meet requirements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnmetError {
    /// Those alone.
    pub requirements: Vec<Requirement>,
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

/// The SQL that meets all of these, a line for each statement.
pub fn script(requirements: &[Requirement]) -> String {
    let mut lines: Vec<&String> = Vec::new();
    for line in requirements.iter().flat_map(|requirement| &requirement.fix) {
        // One right may serve several requirements.
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    lines.iter().map(|line| format!("  {line}\n")).collect()
}

/// Why nothing is known of a source, or it can't be used.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// PostgreSQL did not answer as it should.
    #[error(transparent)]
    Postgres(#[from] PostgresError),
    /// It is not as it must be.
    #[error(transparent)]
    Unmet(#[from] UnmetError),
}

/// The requirements of the source as it is, and the catalog that they were judged by.
///
/// # Errors
/// See [`PostgresError`].
pub(super) async fn look(
    session: &Session,
    config: &Postgres,
) -> Result<(Vec<Requirement>, Catalog), PostgresError> {
    let catalog = Catalog::read(session, config).await?;
    Ok((judge::judge(config, &catalog), catalog))
}

/// Fails unless the source meets every requirement.
///
/// # Errors
/// See [`SourceError`].
pub(super) async fn require(session: &Session, config: &Postgres) -> Result<Catalog, SourceError> {
    let (requirements, catalog) = look(session, config).await?;
    match unmet(requirements) {
        None => Ok(catalog),
        Some(error) => Err(error.into()),
    }
}

/// The requirements that are not met; nothing if all are.
pub(super) fn unmet(requirements: Vec<Requirement>) -> Option<UnmetError> {
    let requirements: Vec<Requirement> = requirements.into_iter().filter(Requirement::is_fault).collect();
    (!requirements.is_empty()).then_some(UnmetError { requirements })
}
