//! Binding of the mapping to files, which keeps the columns of a load that was begun.

use std::sync::Arc;

use arrow_schema::SchemaRef;

use super::previous_loads::IfLoaded;
use crate::backfill::extra::FilledColumn;
use crate::backfill::ledger::KnownFiles;
use crate::backfill::map::{Mapper, Mapping};

/// Maximum schemas whose mapper is kept. Files beyond them get mappers of their own.
const KEPT: usize = 64;

/// Mappers of the whole mapping, one for each schema.
#[derive(Debug)]
pub(super) struct SharedMappers<'a> {
    mapping: &'a Mapping,
    team_id: Option<i64>,
    bound: Vec<(SchemaRef, Arc<Mapper>)>,
}

impl<'a> SharedMappers<'a> {
    pub(super) fn new(mapping: &'a Mapping, team_id: Option<i64>) -> Self {
        Self { mapping, team_id, bound: Vec::new() }
    }

    /// Binds the mapping to files of `schema`.
    ///
    /// # Errors
    /// Fails if the mapping does not fit.
    pub(super) fn of(&mut self, schema: &SchemaRef) -> anyhow::Result<Arc<Mapper>> {
        if let Some((_, mapper)) = self.bound.iter().rfind(|(bound, _)| Arc::ptr_eq(bound, schema)) {
            return Ok(mapper.clone());
        }
        let mapper = Arc::new(self.mapping.bind(schema, self.team_id)?);
        if self.bound.len() < KEPT {
            self.bound.push((schema.clone(), mapper.clone()));
        }
        Ok(mapper)
    }
}

/// Inputs of every file's binding.
#[derive(Debug)]
pub(super) struct Binder<'m, 'k> {
    pub(super) mappers: SharedMappers<'m>,
    pub(super) if_loaded: IfLoaded,
    pub(super) known: &'k KnownFiles,
}

/// A mapping bound to a file.
pub(super) struct FileBinding {
    pub(super) mapper: Arc<Mapper>,
    /// Fingerprints of loads of these bytes by the same mapping, when the config had fewer columns.
    pub(super) earlier: Vec<String>,
}

impl Binder<'_, '_> {
    /// Binds the mapping to a file. A file that was begun when the config had fewer columns keeps
    /// these, unless it is to be loaded again.
    pub(super) fn bind(
        &mut self,
        location: &str,
        identity: &str,
        schema: &SchemaRef,
    ) -> anyhow::Result<FileBinding> {
        let whole = self.mappers.of(schema);
        let (mut begun, mut is_begun_whole, mut earlier) = (None, false, Vec::new());
        for fingerprint in self.known.fingerprints(identity) {
            let mut here = self.known.at(location);
            let is_here =
                here.any(|known| known.identity == identity && known.mapping_fingerprint == fingerprint);
            if whole.as_ref().is_ok_and(|whole| whole.fingerprint() == fingerprint) {
                is_begun_whole |= is_here;
            } else if let Some(mapper) = self.earlier(fingerprint, schema)? {
                earlier.push(fingerprint.to_owned());
                begun = begun.or_else(|| is_here.then(|| Arc::new(mapper)));
            }
        }
        let is_kept = self.if_loaded == IfLoaded::Refuse && !is_begun_whole;
        let mapper = match begun.filter(|_| is_kept) {
            Some(mapper) => mapper,
            None => whole?,
        };
        Ok(FileBinding { mapper, earlier })
    }

    /// Binds the mapping with the columns of a known load. `None` if that had another mapping.
    fn earlier(&self, fingerprint: &str, schema: &SchemaRef) -> anyhow::Result<Option<Mapper>> {
        let columns = FilledColumn::in_fingerprint(fingerprint)?;
        let SharedMappers { mapping, team_id, .. } = &self.mappers;
        let mapping = mapping.limited_to(&columns);
        let mapper = mapping.and_then(|mapping| mapping.bind(schema, *team_id).ok());
        Ok(mapper.filter(|mapper| mapper.fingerprint() == fingerprint))
    }
}
