//! A file of the plan.

use std::sync::Arc;

use anyhow::ensure;
use arrow_schema::SchemaRef;
use tokio::runtime::Handle;

use super::generation::LoadGeneration;
use super::range::TimeRange;
use super::units::PlannedRowGroup;
use crate::backfill::map::Mapper;
use crate::backfill::read::{Footer, footer};
use crate::backfill::source::{Object, ObjectReader, SourceError, footer_hash};

/// A file, with its mapping.
#[derive(Debug)]
pub(crate) struct File {
    pub(crate) object: Object,
    /// Identity of its bytes: the object's identity and the footer's hash.
    pub(crate) identity: String,
    /// The mapping, bound to the file's columns. Files with equal columns share one.
    pub(crate) mapper: Arc<Mapper>,
    /// Its columns. Files with equal columns share one.
    pub(crate) schema: SchemaRef,
    pub(crate) rows: u64,
    /// Bytes of its columns before compression; an estimate if its footer was not read.
    pub(crate) bytes: u64,
    /// Empty if its footer was not read.
    pub(super) row_groups: Vec<PlannedRowGroup>,
    /// The earliest and the latest timestamp by the footer's statistics.
    pub(super) timestamps: Option<TimeRange>,
    pub(super) generation: LoadGeneration,
    /// Kept for large files only, because many small ones would fill the memory.
    pub(super) footer: Option<Footer>,
}

/// A file that is being read.
#[derive(Debug)]
pub(crate) struct OpenFile {
    pub(crate) reader: Arc<ObjectReader>,
    pub(crate) footer: Footer,
}

/// Access to the bytes that a plan was made of.
#[derive(Debug, Clone)]
pub(crate) struct PlannedBytes {
    object: Object,
    identity: String,
    footer: Option<Footer>,
}

impl File {
    /// Returns the access to its bytes.
    pub(crate) fn planned_bytes(&self) -> PlannedBytes {
        let Self { object, identity, footer, .. } = self;
        PlannedBytes { object: object.clone(), identity: identity.clone(), footer: footer.clone() }
    }
}

impl PlannedBytes {
    /// Opens the file, and reads its footer again unless the plan kept it.
    ///
    /// # Errors
    /// Fails if its bytes are not those of the plan.
    pub(crate) async fn open(self) -> anyhow::Result<OpenFile> {
        let Self { object, identity, footer } = self;
        if let Some(footer) = footer {
            return Ok(OpenFile { reader: Arc::new(object.open().await?), footer });
        }
        let (file, found) = open(&object).await?;
        let location = &object.location;
        ensure!(
            found == identity,
            "{location}: its bytes have changed since the plan was made (it was {identity}, it is {found}): run the same \
             command again"
        );
        Ok(file)
    }
}

/// Opens an object and reads its footer. Also returns the identity of its bytes.
pub(super) async fn open(object: &Object) -> anyhow::Result<(OpenFile, String)> {
    let reader = object.open().await?;
    let location = object.location.clone();
    let read = Handle::current().spawn_blocking(move || -> anyhow::Result<_> {
        let hash = footer_hash(&reader)?;
        let footer = footer(&location, &reader)?;
        reader.unchanged()?;
        Ok((hash, OpenFile { reader: Arc::new(reader), footer }))
    });
    let (hash, file) =
        read.await.map_err(|_| SourceError::Stopped { location: object.location.clone() })??;
    let hash: String = hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    Ok((file, format!("{}{hash}", identity_before_hash(object))))
}

/// Returns the part of a file's identity that its lookup gives.
pub(super) fn identity_before_hash(object: &Object) -> String {
    format!("{}, footer ", object.identity())
}
