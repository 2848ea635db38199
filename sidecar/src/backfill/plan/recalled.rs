//! Bundles of earlier runs, which are planned without reading each of their files.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::{StreamExt, stream};

use super::binding::{Binder, FileBinding};
use super::file::{File, identity_before_hash, open};
use super::footers::{FOOTERS_AT_ONCE, SharedSchemas};
use super::generation::LoadGeneration;
use crate::backfill::ledger::{KnownFile, KnownFiles};
use crate::backfill::source::Object;

/// Files of one bundle, as the ledger and the source have them.
type BundleFiles<'k> = Vec<(Object, &'k KnownFile)>;

/// Divides `objects` into those whose bundle the ledger has with the same bytes, as far as a lookup
/// shows, and the others.
fn divided(objects: Vec<Object>, known: &KnownFiles) -> (BTreeMap<&str, BundleFiles<'_>>, Vec<Object>) {
    let (mut bundles, mut others) = (BTreeMap::<&str, BundleFiles<'_>>::new(), Vec::new());
    for object in objects {
        let before = identity_before_hash(&object);
        // A size alone does not show whether a file has changed.
        let is_dated = object.etag.is_some() || object.modified.is_some();
        let is_same = |known: &&KnownFile| known.bundle_files > 1 && known.identity.starts_with(&before);
        match known.at(&object.location).find(is_same).filter(|_| is_dated) {
            Some(known) => bundles.entry(&known.file).or_default().push((object, known)),
            None => others.push(object),
        }
    }
    (bundles, others)
}

/// Returns the files of known bundles, and the objects that are to be read.
///
/// All files of a bundle have equal columns. So if the first one is as recorded and the mapping
/// gives it the recorded fingerprint, the same holds for the others, whose bytes have not changed,
/// unless their paths have other values.
pub(super) async fn recalled(
    objects: Vec<Object>,
    schemas: &mut SharedSchemas,
    binder: &mut Binder<'_, '_>,
    known: &KnownFiles,
) -> anyhow::Result<(Vec<File>, Vec<Object>)> {
    let (bundles, mut others) = divided(objects, known);
    let mut files = Vec::new();
    let opening = bundles.into_values().filter_map(|bundle| {
        let first = bundle.first()?.0.clone();
        Some(async move { (open(&first).await, bundle) })
    });
    let mut opening = stream::iter(opening).buffered(FOOTERS_AT_ONCE);
    while let Some((opened, bundle)) = opening.next().await {
        let Some((first, recorded)) = bundle.first() else { continue };
        // A file that can't be read is reported with all others.
        let opened = opened.ok().filter(|(_, identity)| *identity == recorded.identity);
        let bound = opened.and_then(|(file, identity)| {
            let schema = schemas.of(&file.footer);
            let FileBinding { mapper, .. } = binder.bind(&first.location, &identity, &schema).ok()?;
            let is_same_for_all = || bundle.iter().all(|(object, _)| mapper.is_same_at(&object.location));
            let is_known = mapper.fingerprint() == recorded.mapping_fingerprint && is_same_for_all();
            is_known.then_some((mapper, schema))
        });
        let Some((mapper, schema)) = bound else {
            others.extend(bundle.into_iter().map(|(object, _)| object));
            continue;
        };
        files.extend(bundle.into_iter().map(|(object, known)| File {
            object,
            identity: known.identity.clone(),
            mapper: Arc::clone(&mapper),
            schema: Arc::clone(&schema),
            rows: known.rows,
            bytes: known.bytes,
            row_groups: Vec::new(),
            timestamps: None,
            generation: LoadGeneration::default(),
            footer: None,
        }));
    }
    others.sort_by(|one, other| one.location.cmp(&other.location));
    Ok((files, others))
}
