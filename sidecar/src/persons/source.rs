//! Source of persons: PostgreSQL and the topics that posthouse fills from it.

use crate::config::{Config, Persons, Postgres};

/// The config sections of a source.
#[derive(Debug, Clone, Copy)]
pub(super) struct PersonSource<'c> {
    /// Names of the topics.
    pub(super) persons: &'c Persons,
    pub(super) postgres: &'c Postgres,
}

impl<'c> PersonSource<'c> {
    /// Returns `None` if another program fills the topics.
    pub(super) fn of(config: &'c Config) -> Option<Self> {
        let persons = config.persons.as_ref()?;
        Some(Self { persons, postgres: persons.postgres.as_ref()? })
    }
}
