//! Binding of a mapping to a file's schema.
//!
//! All errors are reported at once, before the first row is read.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_schema::{DataType, Schema};

use super::find::FoundColumn;
use super::lookup::{Binding, LeafColumn, is_preset};
use super::path::{PathValue, PathValues};
use super::team::team_column;
use super::{
    ColumnNames, DerivedUuid, ExtraSources, GivenSource, Instant, Mapping, PathReads, PropertiesSource,
    Reading, Timed, UuidNames, UuidSource, ValueSource, digest,
};
use crate::backfill::extra::{CellValue, ExtraColumn, FilledColumn};
use crate::backfill::map::columns::event_id::{EventIds, check_joined, check_name};
use crate::backfill::map::columns::extra::ExtraReader;
use crate::backfill::map::columns::json;
use crate::backfill::map::columns::object::PropertiesColumn;
use crate::backfill::map::columns::plain_text::is_id;
use crate::backfill::map::columns::team_id::Teams;
use crate::backfill::map::columns::text::{FloatText, StringColumn, is_text};
use crate::backfill::map::columns::timestamp::TimestampColumn;
use crate::backfill::map::columns::uuid::Uuids;
use crate::backfill::map::error::MappingError;
use crate::backfill::map::mapper::Mapper;
use crate::event_columns::{Invalid, Missing};

impl Mapping {
    /// Binds the mapping to a file without values in its path. `schema` is the file's complete
    /// schema. `team_id` comes from the command line, for a mapping without one.
    ///
    /// # Errors
    /// [`MappingError::Unfit`] lists all errors.
    pub(crate) fn bind(&self, schema: &Schema, team_id: Option<i64>) -> Result<Mapper, MappingError> {
        self.bind_with(&PathValues::default(), schema, team_id)
    }

    /// Like [`Mapping::bind`], for the file at `location`. Values in its path, such as
    /// `team_id=7/`, are columns that the file lacks.
    ///
    /// # Errors
    /// [`MappingError::Unfit`] lists all errors.
    pub(crate) fn bind_at(
        &self,
        location: &str,
        schema: &Schema,
        team_id: Option<i64>,
    ) -> Result<Mapper, MappingError> {
        self.bind_with(&PathValues::of(location), schema, team_id)
    }

    fn bind_with(
        &self,
        path: &PathValues,
        schema: &Schema,
        team_id: Option<i64>,
    ) -> Result<Mapper, MappingError> {
        let mut binding = Binding::new(path, &schema.fields);
        let uuid = binding.uuid(&self.uuid);
        let event = binding.text("event", &self.event, None);
        let given_properties = match &self.properties {
            PropertiesSource::Value(source) => Some(binding.json("properties", source)),
            PropertiesSource::Object(_) => None,
        };
        let timestamp = binding.moment("timestamp", &self.timestamp, None);
        let team = match (self.team_id.as_ref(), team_id) {
            (None, team_id) => binding.unmapped_team(&self.name, team_id),
            (Some(origin), team_id) => binding.team(origin, team_id),
        };
        let distinct_id = binding.text("distinct_id", &self.distinct_id, None);
        let elements_hash = binding.text("elements_hash", &self.elements_hash, Some(""));
        let created_at = binding.moment("created_at", &self.created_at, Some(Instant::Timestamp));
        let ingested_at = binding.moment("_timestamp", &self.ingested_at, Some(Instant::At(0)));
        let elements_chain = binding.json("elements_chain", &self.elements_chain);
        let extras = binding.extras(&self.extras);
        // The last one, because it may be of all columns that are not read yet.
        let properties = match &self.properties {
            PropertiesSource::Object(source) => {
                binding.object("properties", source).map(PropertiesColumn::Object)
            }
            PropertiesSource::Value(_) => given_properties.flatten().map(PropertiesColumn::Text),
        };
        let hints = binding.hints(&self.name);
        let Binding { mut leaves, faults, path_reads, has_nested_bytes, .. } = binding;
        leaves.sort_unstable();
        leaves.dedup();
        let mapper = (|| {
            Some(Mapper {
                uuid: uuid?,
                event: event?,
                properties: properties?,
                timestamp: timestamp?,
                team_id: team?,
                distinct_id: distinct_id?,
                elements_hash: elements_hash?,
                created_at: created_at?,
                ingested_at: ingested_at?,
                elements_chain: elements_chain?,
                leaves,
                fingerprint: self.bound_fingerprint(team_id, &extras, &path_reads, has_nested_bytes),
                path_reads,
                extras: extras.into_iter().map(|extra| extra.reader).collect(),
            })
        })();
        mapper.filter(|_| faults.is_empty()).ok_or_else(|| MappingError::Unfit {
            mapping: self.name.clone(),
            faults,
            hints,
        })
    }
}

impl Mapping {
    /// Fingerprint of the mapping for a file that fills `extras` and has the values of
    /// `path_reads`. Without any it is what it was before loads had these, because ledgers contain
    /// it. Nested bytes were hexadecimal in JSON then, so files with them have another one.
    fn bound_fingerprint(
        &self,
        team_id: Option<i64>,
        extras: &[BoundExtra],
        path_reads: &PathReads,
        has_nested_bytes: bool,
    ) -> String {
        let mut parts = vec![serde_json::json!(self.fingerprint()), serde_json::json!(team_id)];
        if has_nested_bytes {
            parts.push(serde_json::json!("nested bytes are text"));
        }
        if !extras.is_empty() {
            parts.push(extras.iter().map(|extra| extra.meaning.clone()).collect());
        }
        // A team of the command line is only compared with the path's.
        let is_read = |name: &str| team_id.is_none() || name != TEAM_ID;
        let path: BTreeMap<&String, &PathValue> =
            path_reads.found().filter(|(name, _)| is_read(name)).collect();
        if !path.is_empty() {
            parts.push(serde_json::json!({ "path": path }));
        }
        let digest = digest(&parts.into());
        let columns: Vec<FilledColumn> =
            extras.iter().map(|extra| FilledColumn::of(&extra.reader.column)).collect();
        FilledColumn::append(digest, &columns)
    }
}

/// A column beyond the core that a file fills.
struct BoundExtra {
    reader: ExtraReader,
    /// All that decides on its values.
    meaning: serde_json::Value,
}

/// Name of the team in a path, also for mappings that don't name it.
const TEAM_ID: &str = "team_id";

impl Binding<'_> {
    fn extras(&mut self, sources: &ExtraSources) -> Vec<BoundExtra> {
        match sources {
            ExtraSources::ByName(columns) => {
                columns.iter().filter_map(|column| self.extra_by_name(column)).collect()
            }
            ExtraSources::Given(given) => given.iter().filter_map(|given| self.given_extra(given)).collect(),
        }
    }

    /// The column of the file with the name of the column, or else of its field.
    fn extra_by_name(&mut self, column: &Arc<ExtraColumn>) -> Option<BoundExtra> {
        let names = [column.name.clone(), column.field.path.join(".")];
        let found = names.iter().find(|name| !matches!(self.find(&column.name, name), Ok(None)))?;
        let origin = ValueSource::Column { name: ColumnNames::one(found.clone()), default: None };
        self.given_extra(&GivenSource { column: column.clone(), origin, reading: Reading::default() })
    }

    fn given_extra(&mut self, given: &GivenSource) -> Option<BoundExtra> {
        let GivenSource { column, origin, reading } = given;
        let constant = |value: &CellValue| ExtraReader::constant(column.clone(), value.clone());
        let reader = match origin {
            ValueSource::Constant(value) => constant(value),
            ValueSource::Column { name, default } => {
                match self.column(&column.name, name, default.as_ref())? {
                    LeafColumn::Default(value) => constant(&value),
                    LeafColumn::Found(found) => {
                        let reader =
                            ExtraReader::new(column.clone(), found.clone(), default.clone(), reading.clone());
                        let reader = self.judge(&column.name, name, reader)?;
                        self.check_path(&column.name, &found, |row, faults| drop(reader.read(row, faults)))?;
                        reader
                    }
                }
            }
        };
        let field = &column.field;
        let rules = [field.missing == Missing::DeadLetter, field.invalid == Invalid::DeadLetter];
        let meaning = serde_json::json!([column.name, column.sql_type, rules, origin, reading]);
        Some(BoundExtra { reader, meaning })
    }

    fn uuid(&mut self, source: &UuidSource) -> Option<EventIds> {
        let (namespace, names) = match source {
            UuidSource::Column(names) => {
                let column = self.uuid_column(names)?;
                return self.judge("uuid", names, Uuids::new(column)).map(EventIds::File);
            }
            UuidSource::Derived(DerivedUuid { namespace, names }) => (*namespace, names),
        };
        match names {
            UuidNames::Column(names) => {
                let column = self.uuid_column(names)?;
                self.judge("uuid", names, check_name(column.field.data_type()))?;
                Some(EventIds::Derived(namespace, column))
            }
            UuidNames::Joined(names) => {
                let columns: Vec<Option<FoundColumn>> = names
                    .iter()
                    .map(|name| {
                        let column = self.uuid_column(&ColumnNames::one(name.clone()))?;
                        self.judge("uuid", name, check_joined(column.field.data_type()))?;
                        Some(column)
                    })
                    .collect();
                Some(EventIds::Joined(namespace, columns.into_iter().collect::<Option<Vec<_>>>()?))
            }
        }
    }

    fn uuid_column(&mut self, names: &ColumnNames) -> Option<FoundColumn> {
        match self.column::<Never>("uuid", names, None)? {
            LeafColumn::Found(column) => Some(column),
            LeafColumn::Default(never) => match never {},
        }
    }

    /// The team without a source in the mapping. A column that the file has is never replaced
    /// without a word, because several teams would become one.
    fn unmapped_team(&mut self, mapping: &str, team_id: Option<i64>) -> Option<Teams> {
        let column =
            |name: &str| ValueSource::Column { name: ColumnNames::one(name.to_owned()), default: None };
        let in_file = team_column(self.fields);
        let in_path = match in_file {
            None => self.path_reads.read(TEAM_ID, self.path).flatten(),
            Some(_) => None,
        };
        let fault = match (in_file, team_id) {
            (None, Some(team)) => match in_path.filter(|other| **other != *team.to_string()) {
                None => return Some(Teams::Constant(team)),
                Some(other) => format!(
                    "team_id: the path has team_id={other}, and the command line --team-id {team}: leave --team-id \
                     out, or move the file"
                ),
            },
            (None, None) if in_path.is_some() => return self.team(&column(TEAM_ID), None),
            (Some(name), None) if is_preset(mapping) => return self.team(&column(name), None),
            (Some(name), None) => {
                format!("team_id: missing in the mapping: add team_id = {name:?}, which the file has")
            }
            (Some(name), Some(team)) => {
                let keep = if is_preset(mapping) { "" } else { ", and add it to the mapping" };
                format!(
                    "team_id: the file has the column {name}, and --team-id {team} would replace its values: leave \
                     out --team-id to keep them{keep}; to replace them, load with a mapping.toml that has \
                     team_id = {{ constant = {team} }}"
                )
            }
            (None, None) => {
                "team_id: missing in the mapping and on the command line: add team_id to the mapping, or --team-id"
                    .to_owned()
            }
        };
        self.faults.push(fault);
        None
    }

    fn team(&mut self, origin: &ValueSource<i64>, team_id: Option<i64>) -> Option<Teams> {
        let (name, default) = match (origin, team_id) {
            (ValueSource::Constant(team), None) => return Some(Teams::Constant(*team)),
            (ValueSource::Column { name, default }, None) => (name, *default),
            (_, Some(team)) => {
                self.faults.push(format!(
                    "team_id: set in the mapping and on the command line (--team-id {team}): leave one out"
                ));
                return None;
            }
        };
        match self.column("team_id", name, default.as_ref())? {
            LeafColumn::Found(column) => {
                let teams = self.judge("team_id", name, Teams::new(column.clone(), default))?;
                self.check_path("team_id", &column, |row, faults| drop(teams.read(row, faults)))?;
                Some(teams)
            }
            LeafColumn::Default(team) => Some(Teams::Constant(team)),
        }
    }

    /// `null` replaces null values if the mapping has no default.
    fn text(
        &mut self,
        target: &'static str,
        origin: &ValueSource<String>,
        null: Option<&str>,
    ) -> Option<StringColumn> {
        self.text_of(target, origin, null, |data_type| {
            let wanted = "give a column of text or whole numbers";
            is_id(data_type).then_some(()).ok_or_else(|| format!("{data_type} is not text: {wanted}"))
        })
    }

    /// Like [`Binding::text`], but null becomes an empty string, and structs, maps and lists become
    /// JSON.
    fn json(&mut self, target: &'static str, origin: &ValueSource<String>) -> Option<StringColumn> {
        self.text_of(target, origin, Some(""), |data_type| {
            if json::is_nested(data_type) {
                return json::check(data_type);
            }
            let wanted = "give a column of text, or a struct, map or list";
            is_text(data_type).then_some(()).ok_or_else(|| format!("{data_type} is not JSON: {wanted}"))
        })
    }

    fn text_of(
        &mut self,
        target: &'static str,
        origin: &ValueSource<String>,
        null: Option<&str>,
        check: impl Fn(&DataType) -> Result<(), String>,
    ) -> Option<StringColumn> {
        let (name, default) = match origin {
            ValueSource::Constant(text) => return Some(StringColumn::Constant(text.clone())),
            ValueSource::Column { name, default } => (name, default),
        };
        match self.column(target, name, default.as_ref())? {
            LeafColumn::Default(text) => Some(StringColumn::Constant(text)),
            LeafColumn::Found(column) => {
                self.judge(target, name, check(column.field.data_type()))?;
                let default = default.clone().or_else(|| null.map(str::to_owned));
                let (target_name, found) = (target.into(), column.clone());
                let texts =
                    StringColumn::Column { target: target_name, column, default, floats: FloatText::Whole };
                self.check_path(target, &found, |row, faults| drop(texts.read(row, faults)))?;
                Some(texts)
            }
        }
    }

    fn moment(
        &mut self,
        target: &'static str,
        timed: &Timed,
        null: Option<Instant>,
    ) -> Option<TimestampColumn> {
        let (name, default) = match &timed.origin {
            ValueSource::Constant(instant) => return Some(TimestampColumn::Constant(*instant)),
            ValueSource::Column { name, default } => (name, *default),
        };
        match self.column(target, name, default.as_ref())? {
            LeafColumn::Default(instant) => Some(TimestampColumn::Constant(instant)),
            LeafColumn::Found(column) => {
                let reading = timed.reading.clone();
                let moments = TimestampColumn::new(target, column.clone(), default.or(null), reading);
                let moments = self.judge(target, name, moments)?;
                self.check_path(target, &column, |row, faults| drop(moments.read(row, &[0], faults)))?;
                Some(moments)
            }
        }
    }
}

/// Default type of a column that accepts no default.
#[derive(Clone)]
enum Never {}
