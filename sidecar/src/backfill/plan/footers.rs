//! Footers of many files, of which only figures are kept.

use arrow_schema::SchemaRef;
use futures_util::{StreamExt, stream};

use super::binding::SharedMappers;
use super::faults::FileFaults;
use super::file::open;
use super::progress::PlanProgress;
use super::range::{TimeRange, of_file};
use super::units::PlannedRowGroup;
use crate::backfill::read::Footer;
use crate::backfill::source::Object;

/// Footers read at once: enough to hide the round trips of an object store.
pub(super) const FOOTERS_AT_ONCE: usize = 16;
/// Footers of files with more bytes before compression are kept, because several units may need
/// them, and their pages may be large.
const KEPT_FROM: u64 = 32 << 20;
/// Maximum distinct schemas that files share. Files beyond them are not bundled.
const SCHEMAS: usize = 64;

/// A file whose footer was read.
#[derive(Debug)]
pub(super) struct FileFigures {
    pub(super) object: Object,
    pub(super) identity: String,
    pub(super) schema: SchemaRef,
    pub(super) row_groups: Vec<PlannedRowGroup>,
    pub(super) timestamps: Option<TimeRange>,
    pub(super) footer: Option<Footer>,
}

/// Columns of files: as they are decoded, and as they are declared.
#[derive(Debug, Default)]
pub(super) struct SharedSchemas(Vec<(SchemaRef, SchemaRef)>);

impl SharedSchemas {
    /// Returns the schema of a footer, which is one object for all files with equal columns.
    pub(super) fn of(&mut self, footer: &Footer) -> SchemaRef {
        let is_equal = |(decoded, declared): &&(SchemaRef, SchemaRef)| {
            decoded == footer.schema() && declared == footer.declared()
        };
        if let Some((decoded, _)) = self.0.iter().rfind(is_equal) {
            return decoded.clone();
        }
        if self.0.len() < SCHEMAS {
            self.0.push((footer.schema().clone(), footer.declared().clone()));
        }
        footer.schema().clone()
    }
}

/// Reads the footers of `objects`, in their order. Files with a fault are added to `faults`.
///
/// # Errors
/// Fails on a fault of the whole source.
pub(super) async fn read_footers(
    objects: Vec<Object>,
    schemas: &mut SharedSchemas,
    mappers: &mut SharedMappers<'_>,
    faults: &mut FileFaults,
    progress: &PlanProgress,
) -> anyhow::Result<Vec<FileFigures>> {
    let mut read = Vec::with_capacity(objects.len());
    let opening = objects.into_iter().map(async |object| {
        let opened = open(&object).await;
        (object, opened)
    });
    let mut opened = stream::iter(opening).buffered(FOOTERS_AT_ONCE);
    while let Some((object, opened)) = opened.next().await {
        match opened {
            Ok((file, identity)) => {
                let schema = schemas.of(&file.footer);
                read.push(figures(object, identity, file.footer, schema, mappers));
            }
            Err(fault) => faults.add(&object.location, fault)?,
        }
        progress.read_one();
    }
    Ok(read)
}

fn figures(
    object: Object,
    identity: String,
    footer: Footer,
    schema: SchemaRef,
    mappers: &mut SharedMappers<'_>,
) -> FileFigures {
    let groups = footer.metadata().row_groups().iter().map(|group| PlannedRowGroup {
        // The footer was checked: no count in it is negative.
        rows: u64::try_from(group.num_rows()).unwrap_or_default(),
        bytes: u64::try_from(group.total_byte_size()).unwrap_or_default(),
    });
    let row_groups: Vec<PlannedRowGroup> = groups.collect();
    // A mapping that does not fit is reported when the file is bound.
    let timestamps = mappers.of(&object.location, &schema).ok().and_then(|mapper| of_file(&mapper, &footer));
    let bytes = row_groups.iter().fold(0, |bytes: u64, group| bytes.saturating_add(group.bytes));
    FileFigures {
        object,
        identity,
        schema,
        row_groups,
        timestamps,
        footer: (bytes >= KEPT_FROM).then_some(footer),
    }
}
