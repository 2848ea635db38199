//! Making of a plan from sources, footers, mapping and ledger.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::num::NonZeroU64;

use anyhow::{Context, anyhow};

use super::binding::{Binder, FileBinding, SharedMappers};
use super::bundle::bundled;
use super::faults::FileFaults;
use super::footers::{FileFigures, SharedSchemas, read_footers};
use super::generation::LoadGeneration;
use super::overtaken::without_overtaken;
use super::pages::{PageNeeds, ProjectedFile, cut_beside, page_needs};
use super::previous_loads::{PreviousLoad, first_load};
use super::recalled::recalled;
use super::tables::check_tables;
use super::{
    Bundle, Bundling, Cut, File, IfLoaded, JobPartition, LoadPlan, LoadSettings, PlanProgress, RequestedFile,
    Unit, check_previous_loads, files,
};
use crate::backfill::extra::{FilledColumn, UnknownColumns};
use crate::backfill::insert::{AFTER_UNDO, Route};
use crate::backfill::ledger::{
    JobFile, Known, KnownFile, KnownFiles, UndoMark, job_files, job_records, known_files, known_units,
};
use crate::backfill::map::{Mapping, PRESETS};
use crate::backfill::place::short_id;
use crate::backfill::source::{Selection, Skipped, Sources};
use crate::event_columns::EventColumn;

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
    /// Boundaries of units and slices for new files, unless large pages leave less memory.
    pub(crate) cut: Cut,
    /// Bytes that the load may use.
    pub(crate) memory: NonZeroU64,
    /// Treatment of files that were loaded in another form.
    pub(crate) if_loaded: IfLoaded,
    /// This machine's share.
    pub(crate) partition: JobPartition,
    /// Treatment of small files.
    pub(crate) bundling: Bundling,
}

/// Makes the plan of `request` for the shards of `route`. Only reads.
pub(crate) async fn make(
    database: &str,
    route: &Route,
    request: &Request,
    progress: &PlanProgress,
) -> anyhow::Result<LoadPlan> {
    let (files, known_files, skipped) = bound_files(database, route, request, progress).await?;
    let opening = progress.per_file();
    check_tables(database, route, files.iter().flat_map(|(file, _)| file.mapper.extra_names())).await?;
    let job = job(database, files.iter().map(|(file, _)| file));
    let PageNeeds { bytes: page_bytes, faults } =
        page_needs(files.iter().filter_map(|(file, _)| projected(file)), request.memory).await?;
    if !faults.is_empty() {
        return Err(cant_load(&faults));
    }
    let cut = cut_beside(request.cut, request.memory, page_bytes);
    let settings = LoadSettings { weights: route.shard_weights.clone(), cut };
    let bundles = claim_all(files, &known_files, &settings, request)?;
    let ids: Vec<String> = bundles.iter().map(|bundle| bundle.id.clone()).collect();
    let known = known_units(route.any(), database, &ids).await?;
    let units: Vec<Unit> =
        bundles.iter().enumerate().flat_map(|(index, bundle)| bundle.units(index)).collect();
    let faults = cant_continue(&bundles, &units, &known, &known_files, &route.shard_weights);
    if !faults.is_empty() {
        return Err(cant_load(&faults));
    }
    Ok(LoadPlan {
        recorded: job_records(route.any(), database, &job).await?,
        job,
        units: request.partition.share(units),
        bundles,
        known,
        opening,
        page_bytes,
        skipped,
        mapping: request.mapping_text.clone(),
        team_id: request.team_id,
    })
}

/// A file, with the fingerprints that its mapping had when the config had fewer columns.
type BoundFile = (File, Vec<String>);

/// Returns the files of the request, sorted by location and bound to the mapping, their records in
/// the ledger, and the files that the sources leave out.
async fn bound_files(
    database: &str,
    route: &Route,
    request: &Request,
    progress: &PlanProgress,
) -> anyhow::Result<(Vec<BoundFile>, KnownFiles, Vec<Skipped>)> {
    let Request { mapping, team_id, if_loaded, .. } = request;
    let Selection { objects, skipped, .. } = Sources::from_env().select(&request.sources).await?;
    let locations: Vec<&str> = objects.iter().map(|object| object.location.as_str()).collect();
    let known_here = known_files(route.any(), database, &locations, &[]).await?;
    let known_here = without_overtaken(database, route.any(), known_here).await?;
    let requested: HashSet<String> = locations.into_iter().map(str::to_owned).collect();
    let (mut schemas, mut faults) = (SharedSchemas::default(), FileFaults::default());
    let mappers = SharedMappers::new(mapping, *team_id);
    let mut binder = Binder { mappers, if_loaded: *if_loaded, known: &known_here };
    let (recalled, objects) = recalled(objects, &mut schemas, &mut binder, &known_here).await?;
    progress.listed(objects.len());
    let Binder { mut mappers, .. } = binder;
    let read = read_footers(objects, &mut schemas, &mut mappers, &mut faults, progress).await?;
    let known = known_here.joined(copies(database, route, &read, &requested).await?);
    let binder = Binder { mappers, if_loaded: *if_loaded, known: &known };
    let mut files: Vec<BoundFile> = recalled.into_iter().map(|file| (file, Vec::new())).collect();
    files.extend(bind_all(read, binder, &mut faults)?);
    faults.none()?;
    files.sort_by(|(one, _), (other, _)| one.object.location.cmp(&other.object.location));
    Ok((files, known, skipped))
}

/// Returns the records of files with the bytes of `read` at locations that are not requested.
async fn copies(
    database: &str,
    route: &Route,
    read: &[FileFigures],
    requested: &HashSet<String>,
) -> anyhow::Result<KnownFiles> {
    let identities: BTreeSet<&str> = read.iter().map(|file| file.identity.as_str()).collect();
    let identities: Vec<&str> = identities.into_iter().collect();
    Ok(known_files(route.any(), database, &[], &identities).await?.elsewhere(requested))
}

/// Binds the mapping to files. Files that it does not fit are added to `faults`.
fn bind_all(
    read: Vec<FileFigures>,
    mut binder: Binder<'_, '_>,
    faults: &mut FileFaults,
) -> anyhow::Result<Vec<BoundFile>> {
    let mut files = Vec::with_capacity(read.len());
    for figures in read {
        let location = figures.object.location.clone();
        match binder.bind(&location, &figures.identity, &figures.schema) {
            Ok(binding) => files.push(bound(figures, binding, binder.known)),
            Err(fault) => faults.add(&location, fault.context(location.clone()))?,
        }
    }
    Ok(files)
}

fn bound(figures: FileFigures, binding: FileBinding, known: &KnownFiles) -> BoundFile {
    let FileFigures { object, identity, schema, row_groups, timestamps, footer } = figures;
    let FileBinding { mapper, earlier } = binding;
    let rows = row_groups.iter().fold(0, |rows: u64, group| rows.saturating_add(group.rows));
    let bytes = row_groups.iter().fold(0, |bytes: u64, group| bytes.saturating_add(group.bytes));
    let generation = LoadGeneration::of(&object.location, &identity, mapper.fingerprint(), known);
    let file =
        File { object, identity, mapper, schema, rows, bytes, row_groups, timestamps, generation, footer };
    (file, earlier)
}

/// Returns a file whose pages may be large. Footers of others are not kept.
fn projected(file: &File) -> Option<ProjectedFile> {
    let footer = file.footer.clone()?;
    let leaves = file.mapper.projection().to_vec();
    Some(ProjectedFile { object: file.object.clone(), footer, leaves })
}

/// Returns the faults of unfinished bundles that can't be continued: rows would be cut into other
/// blocks under other weights, and without some of the files.
fn cant_continue(
    bundles: &[Bundle],
    units: &[Unit],
    known: &Known,
    known_files: &KnownFiles,
    weights: &[u32],
) -> Vec<String> {
    let is_left = |unit: &&Unit| !known.is_done(&unit.id.to_string(), &bundles[unit.bundle].shards());
    let left: BTreeSet<usize> = units.iter().filter(is_left).map(|unit| unit.bundle).collect();
    let fault = |bundle: &Bundle| {
        let location = bundle.files.first().map(|file| file.object.location.as_str()).unwrap_or_default();
        if bundle.settings.weights != weights {
            let old = &bundle.settings.weights;
            return Some(format!(
                "{location}: its load started with the shard weights {old:?}, and they are {weights:?} now: finish it \
                 with the old weights in the config and in remote_servers first"
            ));
        }
        let missing = bundle.file_count as usize - bundle.files.len();
        (missing > 0).then(|| {
            let begun = known_files.at(location).find(|known| known.file == bundle.id);
            let job = begun.map(|known| known.job.as_str()).unwrap_or_default();
            format!(
                "{location}: job {job} started to load it together with {}, and the sources lack {missing} of them: finish \
                 the job first with all of its sources, or take it back (posthouse backfill undo {job})",
                files(bundle.file_count as usize - 1)
            )
        })
    };
    left.into_iter().filter_map(|index| fault(&bundles[index])).collect()
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
    memory: NonZeroU64,
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
        memory,
        if_loaded: IfLoaded::Refuse,
        partition: JobPartition::default(),
        bundling: Bundling::SmallFiles,
    };
    make(database, route, &request, &PlanProgress::default()).await
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

/// Bundles the files: those of earlier loads as they were, and new ones. Refuses files that would
/// be loaded twice.
fn claim_all(
    files: Vec<BoundFile>,
    known: &KnownFiles,
    settings: &LoadSettings,
    request: &Request,
) -> anyhow::Result<Vec<Bundle>> {
    let wanted: Vec<RequestedFile<'_>> =
        files.iter().map(|(file, earlier)| requested(file, earlier)).collect();
    let previous =
        check_previous_loads(&wanted, known, request.if_loaded).map_err(|faults| cant_load(&faults))?;
    let (mut new, mut begun) = (Vec::new(), BTreeMap::<String, (Vec<File>, u32, LoadSettings)>::new());
    for ((file, _), previous) in files.into_iter().zip(previous) {
        match previous {
            PreviousLoad::None => new.push(file),
            PreviousLoad::Begun { bundle: id, file_count, settings } => {
                begun.entry(id).or_insert_with(|| (Vec::new(), file_count, settings)).0.push(file);
            }
        }
    }
    let mut bundles = bundled(new, settings, request.bundling);
    for (id, (files, file_count, settings)) in begun {
        bundles.push(Bundle::of_begun(id, files, file_count, settings)?);
    }
    bundles.sort_by(|one, other| first_location(one).cmp(&first_location(other)));
    Ok(bundles)
}

fn first_location(bundle: &Bundle) -> Option<&str> {
    bundle.files.first().map(|file| file.object.location.as_str())
}

fn requested<'f>(file: &'f File, earlier: &'f [String]) -> RequestedFile<'f> {
    RequestedFile {
        location: &file.object.location,
        identity: &file.identity,
        mapping: file.mapper.fingerprint(),
        earlier,
        rows: file.rows,
    }
}

/// Checks that the ledger, after the plan's files were recorded, has each file as in this plan. A
/// concurrent run may have recorded it first with another cut, or beside other files. This run has
/// sent no rows yet, and must not send any. An undo may have begun as well.
///
/// # Errors
/// Names the files that differ.
pub(crate) async fn confirm(database: &str, route: &Route, plan: &LoadPlan) -> anyhow::Result<()> {
    let locations: Vec<&str> = plan.files().map(|file| file.object.location.as_str()).collect();
    let known = known_files(route.any(), database, &locations, &[]).await?;
    let known = without_overtaken(database, route.any(), known).await?;
    let mut raced = Vec::new();
    for bundle in &plan.bundles {
        for file in &bundle.files {
            let location = &file.object.location;
            let undone = known
                .undone_at(location)
                .iter()
                .chain(known.at(location))
                .find(|known| known.undo != UndoMark::None && known.file == bundle.id);
            if let Some(KnownFile { undone_by, .. }) = undone {
                raced.push(format!("{location}: an undo of job {undone_by} has just taken it: {AFTER_UNDO}"));
                continue;
            }
            let first = first_load(&requested(file, &[]), &known);
            let is_own =
                |first: &KnownFile| first.file == bundle.id && first.weights == bundle.settings.weights;
            if first.is_some_and(is_own) {
                continue;
            }
            let other =
                first.map_or_else(|| "another run".to_owned(), |first| format!("a run of job {}", first.job));
            raced.push(format!(
                "{location}: {other} has just started it with other weights, slices or files: run the same command again"
            ));
        }
    }
    if raced.is_empty() { Ok(()) } else { Err(RacedLoad(cant_load(&raced).to_string()).into()) }
}

/// A concurrent run has begun the files in another form.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct RacedLoad(String);

impl RacedLoad {
    /// The file at `location` is one of a bundle that this run has claimed and not begun.
    pub(crate) fn at(location: &str) -> Self {
        Self(format!(
            "{location}: another run has just started it with other weights, slices or files: run the same command again"
        ))
    }
}

/// The error of files that were loaded in another form, or can't be continued.
fn cant_load(faults: &[String]) -> anyhow::Error {
    const SHOWN: usize = 20;
    let mut lines: Vec<String> = faults.iter().take(SHOWN).cloned().collect();
    if faults.len() > SHOWN {
        lines.push(format!("and {} more", faults.len() - SHOWN));
    }
    anyhow!("{} can't be loaded; nothing was written\n  {}", files(faults.len()), lines.join("\n  "))
}

fn job<'f>(database: &str, files: impl Iterator<Item = &'f File>) -> String {
    let mut parts = vec![database];
    for file in files {
        parts.extend([file.object.location.as_str(), &file.identity, file.mapper.fingerprint()]);
    }
    short_id(&parts)
}
