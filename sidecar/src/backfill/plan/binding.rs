//! Binding of the mapping to a file, which keeps the columns of a load that was begun.

use super::previous_loads::IfLoaded;
use crate::backfill::extra::FilledColumn;
use crate::backfill::ledger::KnownFile;
use crate::backfill::map::{Mapper, Mapping};
use crate::backfill::read::Footer;

/// Inputs of every file's binding.
pub(super) struct Binder<'a> {
    pub(super) mapping: &'a Mapping,
    pub(super) team_id: Option<i64>,
    pub(super) if_loaded: IfLoaded,
    pub(super) known_files: &'a [KnownFile],
}

/// A mapping bound to a file.
pub(super) struct FileBinding {
    pub(super) mapper: Mapper,
    /// Fingerprints of loads of these bytes by the same mapping, when the config had fewer columns.
    pub(super) earlier: Vec<String>,
}

impl Binder<'_> {
    /// Binds the mapping to a file. A file that was begun when the config had fewer columns keeps
    /// these, unless it is to be loaded again.
    pub(super) fn bind(
        &self,
        location: &str,
        identity: &str,
        footer: &Footer,
    ) -> anyhow::Result<FileBinding> {
        let whole = self.mapping.bind(footer.schema(), self.team_id);
        let (mut begun, mut is_begun_whole, mut earlier) = (None, false, Vec::new());
        for known in self.known_files.iter().filter(|known| known.identity == identity) {
            let (is_here, fingerprint) = (known.location == location, &known.mapping_fingerprint);
            if whole.as_ref().is_ok_and(|whole| whole.fingerprint() == fingerprint) {
                is_begun_whole |= is_here;
            } else if let Some(mapper) = self.earlier(fingerprint, footer)? {
                earlier.push(fingerprint.clone());
                begun = begun.or_else(|| is_here.then_some(mapper));
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
    fn earlier(&self, fingerprint: &str, footer: &Footer) -> anyhow::Result<Option<Mapper>> {
        let columns = FilledColumn::in_fingerprint(fingerprint)?;
        let mapping = self.mapping.limited_to(&columns);
        let mapper = mapping.and_then(|mapping| mapping.bind(footer.schema(), self.team_id).ok());
        Ok(mapper.filter(|mapper| mapper.fingerprint() == fingerprint))
    }
}
