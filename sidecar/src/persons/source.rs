//! Config sections that name the source of persons.

use crate::config::{Config, Persons, Postgres};

pub(super) fn source(config: &Config) -> Option<(&Persons, &Postgres)> {
    let persons = config.persons.as_ref()?;
    Some((persons, persons.postgres.as_ref()?))
}
