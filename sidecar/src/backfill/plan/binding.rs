//! Binding of the mapping to files, which keeps the columns of a load that was begun.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow_schema::SchemaRef;

use super::previous_loads::IfLoaded;
use crate::backfill::extra::FilledColumn;
use crate::backfill::ledger::KnownFiles;
use crate::backfill::map::{Mapper, Mapping};

/// Maximum mappers that are kept. The oldest gives way to another.
const KEPT: usize = 64;

/// Mappers of the whole mapping, one for each schema and for the values that are read of paths.
#[derive(Debug)]
pub(super) struct SharedMappers<'a> {
    mapping: &'a Mapping,
    team_id: Option<i64>,
    bound: VecDeque<(SchemaRef, Arc<Mapper>)>,
}

impl<'a> SharedMappers<'a> {
    pub(super) fn new(mapping: &'a Mapping, team_id: Option<i64>) -> Self {
        Self { mapping, team_id, bound: VecDeque::new() }
    }

    /// Binds the mapping to a file of `schema`.
    ///
    /// # Errors
    /// Fails if the mapping does not fit.
    pub(super) fn of(&mut self, location: &str, schema: &SchemaRef) -> anyhow::Result<Arc<Mapper>> {
        let is_same = |(bound, mapper): &&(SchemaRef, Arc<Mapper>)| {
            Arc::ptr_eq(bound, schema) && mapper.is_same_at(location)
        };
        if let Some((_, mapper)) = self.bound.iter().rfind(is_same) {
            return Ok(mapper.clone());
        }
        let mapper = Arc::new(self.mapping.bind_at(location, schema, self.team_id)?);
        if self.bound.len() == KEPT {
            self.bound.pop_front();
        }
        self.bound.push_back((schema.clone(), mapper.clone()));
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
        let whole = self.mappers.of(location, schema);
        let (mut begun, mut is_begun_whole, mut earlier) = (None, false, Vec::new());
        for fingerprint in self.known.fingerprints(identity) {
            let mut here = self.known.at(location);
            let is_here =
                here.any(|known| known.identity == identity && known.mapping_fingerprint == fingerprint);
            if whole.as_ref().is_ok_and(|whole| whole.fingerprint() == fingerprint) {
                is_begun_whole |= is_here;
            } else if let Some(mapper) = self.earlier(fingerprint, location, schema)? {
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

    /// Binds the mapping as a known load did: with the columns of its config, and without the
    /// values of the path if its version did not read them. `None` if that had another mapping.
    fn earlier(
        &self,
        fingerprint: &str,
        location: &str,
        schema: &SchemaRef,
    ) -> anyhow::Result<Option<Mapper>> {
        let columns = FilledColumn::in_fingerprint(fingerprint)?;
        let SharedMappers { mapping, team_id, .. } = &self.mappers;
        let limited = mapping.limited_to(&columns);
        let mapping = limited.as_ref().unwrap_or(mapping);
        let bound = mapping.bind_at(location, schema, *team_id).ok();
        let without_path = bound.as_ref().filter(|mapper| mapper.reads_path());
        let without_path = without_path.and_then(|_| mapping.bind(schema, *team_id).ok());
        Ok(bound.into_iter().chain(without_path).find(|mapper| mapper.fingerprint() == fingerprint))
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;
    use crate::backfill::ledger::KnownFile;
    use crate::backfill::read::footer;

    const FILE: &str =
        concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/parquet/pyarrow-export.parquet");

    fn known(location: &str, fingerprint: &str) -> KnownFile {
        let (location, mapping_fingerprint) = (location.to_owned(), fingerprint.to_owned());
        KnownFile { location, identity: "i".to_owned(), mapping_fingerprint, ..KnownFile::example() }
    }

    #[test]
    fn a_file_that_was_begun_without_values_of_its_path_keeps_its_defaults() {
        let text = "uuid = \"uuid\"\nevent = { column = \"kind\", default = \"e\" }\n\
                    timestamp = \"timestamp\"\ndistinct_id = \"distinct_id\"";
        let mapping = &Mapping::parse(text, &[]).expect("a good mapping");
        let footer = footer("f", &File::open(FILE).expect("there")).expect("a good footer");
        let before = mapping.bind(footer.schema(), Some(7)).expect("fits");
        let bind = |location: &str, known_files: &[KnownFile], if_loaded| {
            let mappers = SharedMappers::new(mapping, Some(7));
            let known = &KnownFiles::new(known_files.to_vec());
            let mut binder = Binder { mappers, if_loaded, known };
            binder.bind(location, "i", footer.schema()).expect("fits").mapper
        };
        let (here, there) = ("kind=x/f", "kind=x/g");
        let begun = [known(here, before.fingerprint())];
        assert_eq!(bind(here, &begun, IfLoaded::Refuse).fingerprint(), before.fingerprint());
        assert!(!bind(here, &begun, IfLoaded::Refuse).reads_path());
        for mapper in [
            bind(here, &[], IfLoaded::Refuse),
            bind(here, &begun, IfLoaded::LoadAgain),
            bind(there, &begun, IfLoaded::Refuse),
        ] {
            assert!(mapper.reads_path() && mapper.fingerprint() != before.fingerprint());
        }
    }

    #[test]
    fn files_share_a_mapper_if_their_paths_have_the_same_values() {
        let text = "uuid = \"uuid\"\nevent = { column = \"kind\", default = \"e\" }\n\
                    timestamp = \"timestamp\"\ndistinct_id = \"distinct_id\"";
        let mapping = Mapping::parse(text, &[]).expect("a good mapping");
        let footer = footer("f", &File::open(FILE).expect("there")).expect("a good footer");
        let mut mappers = SharedMappers::new(&mapping, Some(7));
        let mut of = |location: &str| mappers.of(location, footer.schema()).expect("fits");
        let first = of("kind=x/day=1/f");
        assert!(Arc::ptr_eq(&first, &of("kind=x/day=2/g")));
        for other in ["kind=y/f", "f"] {
            let mapper = of(other);
            assert!(!Arc::ptr_eq(&first, &mapper) && mapper.fingerprint() != first.fingerprint(), "{other}");
        }
        // However many there are, each file has its own.
        for folder in 0..2 * KEPT {
            let location = format!("kind={folder}/f");
            let mapper = of(&location);
            assert!(mapper.is_same_at(&location) && Arc::ptr_eq(&mapper, &of(&location)));
        }
        assert!(of("kind=x/f").is_same_at("kind=x/f"));
    }
}
