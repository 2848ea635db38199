//! Making of a plan from sources, footers, mapping and ledger.

use std::collections::BTreeSet;

use anyhow::{Context, anyhow};
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::runtime::Handle;

use super::binding::{Binder, FileBinding};
use super::tables::check_tables;
use super::units::{PlannedRowGroup, UnitSource, units};
use super::{
    Cut, File, IfLoaded, JobPartition, LoadPlan, LoadSettings, RequestedFile, Unit, check_previous_loads,
    files,
};
use crate::backfill::extra::{FilledColumn, UnknownColumns};
use crate::backfill::insert::Route;
use crate::backfill::ledger::{JobFile, Known, KnownFile, job_files, known_files, known_units};
use crate::backfill::map::{Mapper, Mapping, PRESETS};
use crate::backfill::place::short_id;
use crate::backfill::read::{Footer, footer};
use crate::backfill::source::{Object, Sources, footer_hash};
use crate::event_columns::EventColumn;

/// Footers read at once: enough to hide the round trips of an object store.
const FOOTERS_AT_ONCE: usize = 16;

/// A requested load.
#[derive(Debug)]
pub(crate) struct Request {
    /// Paths, globs and addresses.
    pub(crate) sources: Vec<String>,
    /// Conversion of rows to events.
    pub(crate) mapping: Mapping,
    /// The mapping's name or text, for later readers of the job.
    pub(crate) mapping_text: String,
    /// The team of all rows, if the files don't hold it.
    pub(crate) team_id: Option<i64>,
    /// Boundaries of units and slices for new files.
    pub(crate) cut: Cut,
    /// Treatment of files that were loaded in another form.
    pub(crate) if_loaded: IfLoaded,
    /// This machine's share.
    pub(crate) partition: JobPartition,
}

/// Makes the plan of `request` for the shards of `route`. Only reads.
pub(crate) async fn make(database: &str, route: &Route, request: &Request) -> anyhow::Result<LoadPlan> {
    let objects = Sources::from_env().expand(&request.sources).await?;
    let opened = stream::iter(objects).map(open).buffered(FOOTERS_AT_ONCE);
    let opened: Vec<(Object, String, Footer)> = opened.try_collect().await?;
    let wanted = opened.iter().map(|(object, identity, _)| (object.location.as_str(), identity.as_str()));
    let known_files = known_of(database, route, wanted).await?;
    let Request { mapping, team_id, if_loaded, .. } = request;
    let binder = Binder { mapping, team_id: *team_id, if_loaded: *if_loaded, known_files: &known_files };
    let mut bound = Vec::new();
    for (object, identity, footer) in opened {
        let binding = binder.bind(&object.location, &identity, &footer);
        let FileBinding { mapper, earlier } = binding.with_context(|| object.location.clone())?;
        bound.push(BoundFile { object, identity, footer, mapper, earlier });
    }
    check_tables(database, route, bound.iter().flat_map(|file| file.mapper.extra_names())).await?;
    let (files, known) = claim_all(database, route, request, &known_files, bound).await?;
    let job = job(database, &files);
    let recorded = known_files.into_iter().filter(|known| known.job == job).map(|known| known.file).collect();
    let units: Vec<Unit> = (0..).zip(&files).flat_map(|(index, file)| units_of(index, file)).collect();
    let faults = other_weights(&files, &units, &known, &route.shard_weights);
    if !faults.is_empty() {
        return Err(cant_load(&faults));
    }
    Ok(LoadPlan {
        job,
        units: request.partition.share(units),
        files,
        known,
        recorded,
        mapping: request.mapping_text.clone(),
        team_id: request.team_id,
    })
}

/// Returns a fault for each unfinished file that was begun under other weights, because its rows
/// would be cut into other blocks.
fn other_weights(files: &[File], units: &[Unit], known: &Known, weights: &[u32]) -> Vec<String> {
    let is_left = |unit: &&Unit| !known.is_done(&unit.id.to_string(), &files[unit.file].shards());
    let left: BTreeSet<usize> = units.iter().filter(is_left).map(|unit| unit.file).collect();
    let faulty = files
        .iter()
        .enumerate()
        .filter(|(index, file)| file.settings.weights != weights && left.contains(index));
    let fault = |(_, file): (usize, &File)| {
        format!(
            "{}: its load started with the shard weights {:?}, and they are {weights:?} now: finish it with the old \
             weights in the config and in remote_servers first",
            file.object.location, file.settings.weights
        )
    };
    faulty.map(fault).collect()
}

/// Makes the plan of a recorded job from the ledger. Only reads. Columns that `columns` has gained
/// since are left out.
///
/// # Errors
/// Fails if the files of the job no longer exist.
pub(crate) async fn remake(
    database: &str,
    route: &Route,
    job: &str,
    columns: &[EventColumn],
    cut: Cut,
) -> anyhow::Result<LoadPlan> {
    let files = job_files(route.any(), database, job).await?;
    let columns = &filled_columns(&files, columns)?;
    let first = files.first();
    let text = first.map(|file| file.mapping.clone()).unwrap_or_default();
    let preset = PRESETS.iter().any(|(name, _)| *name == text);
    let mapping = if preset { Mapping::preset(&text, columns) } else { Mapping::parse(&text, columns) };
    let request = Request {
        mapping: mapping.context("the recorded mapping of the job is invalid")?,
        mapping_text: text,
        team_id: first.and_then(|file| file.team_id),
        sources: files.into_iter().map(|file| file.location).collect(),
        cut,
        if_loaded: IfLoaded::Refuse,
        partition: JobPartition::default(),
    };
    make(database, route, &request).await
}

/// Returns those of `columns` that the job has filled in some file.
fn filled_columns(files: &[JobFile], columns: &[EventColumn]) -> Result<Vec<EventColumn>, UnknownColumns> {
    let mut filled = BTreeSet::new();
    for file in files {
        let columns = FilledColumn::in_fingerprint(&file.mapping_fingerprint)?;
        filled.extend(columns.into_iter().map(|column| column.name));
    }
    Ok(columns.iter().filter(|column| filled.contains(&column.name)).cloned().collect())
}

async fn open(object: Object) -> anyhow::Result<(Object, String, Footer)> {
    let reader = object.open().await?;
    let location = object.location.clone();
    let read = Handle::current().spawn_blocking(move || -> anyhow::Result<_> {
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

/// A file of the request with its mapping.
struct BoundFile {
    object: Object,
    identity: String,
    footer: Footer,
    mapper: Mapper,
    earlier: Vec<String>,
}

impl BoundFile {
    fn requested(&self) -> RequestedFile<'_> {
        RequestedFile {
            location: &self.object.location,
            identity: &self.identity,
            mapping: self.mapper.fingerprint(),
            earlier: &self.earlier,
        }
    }
}

/// Keeps the settings of files that were begun. Refuses files that would be loaded twice.
async fn claim_all(
    database: &str,
    route: &Route,
    request: &Request,
    known_files: &[KnownFile],
    bound: Vec<BoundFile>,
) -> anyhow::Result<(Vec<File>, Known)> {
    let ids: Vec<String> = known_files.iter().map(|known| known.file.clone()).collect();
    let known = known_units(route.any(), database, &ids).await?;
    let settings = LoadSettings { weights: route.shard_weights.clone(), cut: request.cut };
    let wanted: Vec<RequestedFile<'_>> = bound.iter().map(BoundFile::requested).collect();
    let settings_of_files = check_previous_loads(&wanted, known_files, &settings, request.if_loaded)
        .map_err(|faults| cant_load(&faults))?;
    let files = bound.into_iter().zip(settings_of_files).map(|(file, settings)| {
        let BoundFile { object, identity, footer, mapper, .. } = file;
        let Cut { slice_bytes, unit_bytes } = settings.cut;
        let id = short_id(&[
            &object.location,
            &identity,
            mapper.fingerprint(),
            &slice_bytes.to_string(),
            &unit_bytes.to_string(),
        ]);
        File { object, identity, footer, mapper, id, settings }
    });
    Ok((files.collect(), known))
}

/// Records of files by location and identity.
async fn known_of<'a>(
    database: &str,
    route: &Route,
    wanted: impl Iterator<Item = (&'a str, &'a str)>,
) -> anyhow::Result<Vec<KnownFile>> {
    let (locations, identities): (Vec<&str>, Vec<&str>) = wanted.unzip();
    Ok(known_files(route.any(), database, &locations, &identities).await?)
}

/// Checks that the ledger, after the plan's files were recorded, has each file as in this plan. A
/// concurrent run may have recorded it first with another cut. This run has sent no rows yet, and
/// must not send any.
///
/// # Errors
/// Names the files that differ.
pub(crate) async fn confirm(database: &str, route: &Route, plan: &LoadPlan) -> anyhow::Result<()> {
    let wanted: Vec<RequestedFile<'_>> = plan
        .files
        .iter()
        .map(|file| RequestedFile {
            location: &file.object.location,
            identity: &file.identity,
            mapping: file.mapper.fingerprint(),
            earlier: &[],
        })
        .collect();
    let known_files =
        known_of(database, route, wanted.iter().map(|file| (file.location, file.identity))).await?;
    let first = |file: &RequestedFile<'_>| {
        known_files.iter().find(|known| {
            known.location == file.location
                && known.identity == file.identity
                && known.mapping_fingerprint == file.mapping
        })
    };
    let raced = plan.files.iter().zip(&wanted).filter_map(|(file, wanted)| {
        let first =
            first(wanted).filter(|first| first.file != file.id || first.weights != file.settings.weights)?;
        let (location, job) = (&file.object.location, &first.job);
        Some(format!(
            "{location}: a run of job {job} has just started it with other weights or slices: run the same command again"
        ))
    });
    let raced: Vec<String> = raced.collect();
    if raced.is_empty() { Ok(()) } else { Err(cant_load(&raced)) }
}

/// The error of files that were loaded in another form, or can't be continued.
fn cant_load(faults: &[String]) -> anyhow::Error {
    anyhow!("{} can't be loaded; nothing was written\n  {}", files(faults.len()), faults.join("\n  "))
}

fn units_of(index: usize, file: &File) -> Vec<Unit> {
    let origin = UnitSource {
        location: &file.object.location,
        identity: &file.identity,
        mapping: file.mapper.fingerprint(),
    };
    let groups = file.footer.metadata().row_groups().iter().map(|group| PlannedRowGroup {
        // The footer was checked: no count in it is negative.
        rows: u64::try_from(group.num_rows()).unwrap_or_default(),
        bytes: u64::try_from(group.total_byte_size()).unwrap_or_default(),
    });
    units(index, origin, &groups.collect::<Vec<_>>(), file.settings.cut)
}

fn job(database: &str, files: &[File]) -> String {
    let mut parts = vec![database];
    for file in files {
        parts.extend([file.object.location.as_str(), &file.identity, file.mapper.fingerprint()]);
    }
    short_id(&parts)
}
