//! Makes a plan: lists the sources, reads every footer, binds the mapping, asks the ledger.

use std::collections::BTreeSet;
use std::num::NonZeroU64;

use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::runtime::Handle;

use super::units::{Origin, RowGroup, units};
use super::{Cut, File, How, Plan, PlanError, Repeat, Split, Unit, Wanted, claim};
use crate::backfill::insert::Route;
use crate::backfill::ledger::{Known, known_files, known_units};
use crate::backfill::map::Mapping;
use crate::backfill::place::short_id;
use crate::backfill::read::{Footer, footer};
use crate::backfill::source::{Object, Sources, footer_hash};

/// Footers read at once: enough to hide the round trips of an object store.
const FOOTERS_AT_ONCE: usize = 16;

/// What somebody wants to be loaded.
#[derive(Debug)]
pub struct Request {
    /// Paths, globs and addresses.
    pub sources: Vec<String>,
    /// How rows become events.
    pub mapping: Mapping,
    /// The mapping's name or text, for whoever looks at the job later.
    pub mapping_text: String,
    /// The team of all rows, where the files do not say it.
    pub team_id: Option<i64>,
    /// The memory that the load may take, in bytes.
    pub memory: NonZeroU64,
    /// What to do about files that were loaded in another form.
    pub repeat: Repeat,
    /// This machine's share.
    pub split: Split,
}

/// Makes the plan of `request` for the shards of `route`; nothing is written.
///
/// # Errors
/// See [`PlanError`].
pub async fn make(database: &str, route: &Route, request: &Request) -> Result<Plan, PlanError> {
    let objects = Sources::from_env().expand(&request.sources).await?;
    let opened = stream::iter(objects).map(open).buffered(FOOTERS_AT_ONCE);
    let opened: Vec<(Object, String, Footer)> = opened.try_collect().await?;
    let mut files = Vec::new();
    let cut = Cut::for_memory(request.memory);
    for (object, identity, footer) in opened {
        let bound = request.mapping.bind(footer.schema(), request.team_id);
        let mapper =
            bound.map_err(|source| PlanError::Mapping { location: object.location.clone(), source })?;
        files.push(File { object, identity, footer, mapper, cut });
    }
    claim_all(database, route, request, &mut files).await?;
    let all: Vec<Unit> = (0..).zip(&files).flat_map(|(index, file)| units_of(index, file)).collect();
    let left = left(&all, &known_of(database, route, &all).await?, &route.shards());
    let units = request.split.share(all);
    let known = known_of(database, route, &units).await?;
    Ok(Plan {
        job: job(database, &files),
        files,
        units,
        known,
        left,
        mapping: request.mapping_text.clone(),
        team_id: request.team_id,
    })
}

async fn known_of(database: &str, route: &Route, units: &[Unit]) -> Result<Known, PlanError> {
    let ids: Vec<String> = units.iter().map(|unit| unit.id.to_string()).collect();
    Ok(known_units(route.any(), database, &ids).await?)
}

/// Which files have a unit that is not done, on whatever machine.
fn left(units: &[Unit], known: &Known, shards: &[u32]) -> BTreeSet<usize> {
    let left = units.iter().filter(|unit| !known.is_done(&unit.id.to_string(), shards));
    left.map(|unit| unit.file).collect()
}

async fn open(object: Object) -> Result<(Object, String, Footer), PlanError> {
    let reader = object.open().await?;
    let location = object.location.clone();
    let read = Handle::current().spawn_blocking(move || -> Result<_, PlanError> {
        let hash = footer_hash(&reader)?;
        let footer = footer(&location, &reader)?;
        reader.unchanged()?;
        Ok((hash, footer))
    });
    let (hash, footer) =
        read.await.map_err(|_| super::SourceError::Stopped { location: object.location.clone() })??;
    let hash: String = hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let identity = format!("{}, footer {hash}", object.identity());
    Ok((object, identity, footer))
}

/// Gives every file the cut with which it was begun, or refuses what would be loaded twice.
async fn claim_all(
    database: &str,
    route: &Route,
    request: &Request,
    files: &mut [File],
) -> Result<(), PlanError> {
    let locations: Vec<&str> = files.iter().map(|file| file.object.location.as_str()).collect();
    let known = known_files(route.any(), database, &locations).await?;
    let wanted: Vec<Wanted<'_>> = files
        .iter()
        .map(|file| Wanted {
            location: &file.object.location,
            identity: &file.identity,
            mapping: file.mapper.fingerprint(),
        })
        .collect();
    let how = How { weights: &route.shard_weights, cut: Cut::for_memory(request.memory) };
    let cuts = claim(&wanted, &known, how, request.repeat).map_err(PlanError::Claimed)?;
    for (file, cut) in files.iter_mut().zip(cuts) {
        file.cut = cut;
    }
    Ok(())
}

fn units_of(index: usize, file: &File) -> Vec<Unit> {
    let origin = Origin {
        location: &file.object.location,
        identity: &file.identity,
        mapping: file.mapper.fingerprint(),
    };
    let groups = file.footer.metadata().row_groups().iter().map(|group| RowGroup {
        // The footer was checked: no count in it is negative.
        rows: u64::try_from(group.num_rows()).unwrap_or_default(),
        bytes: u64::try_from(group.total_byte_size()).unwrap_or_default(),
    });
    units(index, origin, &groups.collect::<Vec<_>>(), file.cut)
}

fn job(database: &str, files: &[File]) -> String {
    let mut parts = vec![database];
    for file in files {
        parts.extend([file.object.location.as_str(), &file.identity, file.mapper.fingerprint()]);
    }
    short_id(&parts)
}
