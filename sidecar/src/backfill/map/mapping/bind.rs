//! Binding of a mapping to a file's schema.
//!
//! All errors are reported at once, before the first row is read.

use std::sync::Arc;

use arrow_schema::{DataType, Fields, Schema};

use super::file::PRESETS;
use super::find::{FoundColumn, columns, find, missing};
use super::team::team_column;
use super::{ExtraSources, GivenSource, Instant, Mapping, Reading, Timed, ValueSource, digest, foreign};
use crate::backfill::extra::{CellValue, ExtraColumn, FilledColumn};
use crate::backfill::map::columns::extra::ExtraReader;
use crate::backfill::map::columns::json;
use crate::backfill::map::columns::team_id::Teams;
use crate::backfill::map::columns::text::{StringColumn, is_text};
use crate::backfill::map::columns::timestamp::TimestampColumn;
use crate::backfill::map::columns::uuid::Uuids;
use crate::backfill::map::error::MappingError;
use crate::backfill::map::mapper::Mapper;
use crate::event_columns::{Invalid, Missing};

impl Mapping {
    /// Binds the mapping to a file. `schema` is the file's complete schema. `team_id` comes from
    /// the command line, for a mapping without one.
    ///
    /// # Errors
    /// [`MappingError::Unfit`] lists all errors.
    pub(crate) fn bind(&self, schema: &Schema, team_id: Option<i64>) -> Result<Mapper, MappingError> {
        let mut binding = Binding {
            fields: &schema.fields,
            leaves: Vec::new(),
            faults: Vec::new(),
            absent: false,
            has_nested_bytes: false,
        };
        let uuid = binding.uuid(&self.uuid);
        let event = binding.text("event", &self.event, None);
        let properties = binding.json("properties", &self.properties);
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
        let hints = binding.hints(&self.name);
        let Binding { mut leaves, faults, has_nested_bytes, .. } = binding;
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
                fingerprint: self.bound_fingerprint(team_id, &extras, has_nested_bytes),
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
    /// Fingerprint of the mapping for a file that fills `extras`. Without any it is what it was
    /// before loads had these columns, because ledgers contain it. Nested bytes were hexadecimal in
    /// JSON then, so files with them have another one.
    fn bound_fingerprint(
        &self,
        team_id: Option<i64>,
        extras: &[BoundExtra],
        has_nested_bytes: bool,
    ) -> String {
        let mut parts = vec![serde_json::json!(self.fingerprint()), serde_json::json!(team_id)];
        if has_nested_bytes {
            parts.push(serde_json::json!("nested bytes are text"));
        }
        if extras.is_empty() {
            return digest(&serde_json::json!(parts));
        }
        let meaning: Vec<&serde_json::Value> = extras.iter().map(|extra| &extra.meaning).collect();
        parts.push(serde_json::json!(meaning));
        let digest = digest(&serde_json::json!(parts));
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

/// State of a binding: the columns found so far and the errors.
struct Binding<'a> {
    fields: &'a Fields,
    leaves: Vec<usize>,
    faults: Vec<String>,
    /// Whether a column is missing from the file.
    absent: bool,
    /// Whether a struct, map or list has bytes.
    has_nested_bytes: bool,
}

/// A column that the mapping names.
enum LeafColumn<T> {
    Found(FoundColumn),
    /// The column is missing and the mapping has a default.
    Default(T),
}

impl Binding<'_> {
    fn column<T: Clone>(&mut self, target: &str, name: &str, default: Option<&T>) -> Option<LeafColumn<T>> {
        let problem = match (find(self.fields, name), default) {
            (Ok(Some(found)), _) => match foreign::check(&found.field) {
                Ok(()) => {
                    self.leaves.extend(found.leaves.clone());
                    self.has_nested_bytes |= json::has_bytes(&found.field);
                    return Some(LeafColumn::Found(found));
                }
                Err(problem) => problem,
            },
            (Ok(None), Some(default)) => return Some(LeafColumn::Default(default.clone())),
            (Ok(None), None) => {
                self.absent = true;
                // `uuid` accepts no default: see `file::uuid`.
                let next =
                    if target == "uuid" { "name another one" } else { "name another one, or give a default" };
                missing(self.fields, name, next)
            }
            (Err(problem), _) => problem,
        };
        self.faults.push(format!("{target} ← {name}: {problem}"));
        None
    }

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
        let found = names.iter().find(|name| !matches!(find(self.fields, name), Ok(None)))?;
        let origin = ValueSource::Column { name: found.clone(), default: None };
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
                            ExtraReader::new(column.clone(), found, default.clone(), reading.clone());
                        self.judge(&column.name, name, reader)?
                    }
                }
            }
        };
        let field = &column.field;
        let rules = [field.missing == Missing::DeadLetter, field.invalid == Invalid::DeadLetter];
        let meaning = serde_json::json!([column.name, column.sql_type, rules, origin, reading]);
        Some(BoundExtra { reader, meaning })
    }

    fn hints(&self, mapping: &str) -> Vec<String> {
        let columns = self.absent.then(|| format!("the file has: {}", columns(self.fields)));
        let own = is_preset(mapping)
            .then(|| "for other columns write a mapping of your own: see mapping.example.toml".to_owned());
        columns.into_iter().chain(own).collect()
    }

    /// Records the error of a column that exists.
    fn judge<T>(&mut self, target: &str, name: &str, judged: Result<T, String>) -> Option<T> {
        judged.map_err(|problem| self.faults.push(format!("{target} ← {name}: {problem}"))).ok()
    }

    fn uuid(&mut self, name: &str) -> Option<Uuids> {
        match self.column::<Never>("uuid", name, None)? {
            LeafColumn::Found(column) => self.judge("uuid", name, Uuids::new(column)),
            LeafColumn::Default(never) => match never {},
        }
    }

    /// The team without a source in the mapping. A column that the file has is never replaced
    /// without a word, because several teams would become one.
    fn unmapped_team(&mut self, mapping: &str, team_id: Option<i64>) -> Option<Teams> {
        let fields = self.fields;
        let fault = match (team_column(fields), team_id) {
            (None, Some(team)) => return Some(Teams::Constant(team)),
            (Some(name), None) if is_preset(mapping) => {
                let origin = ValueSource::Column { name: name.to_owned(), default: None };
                return self.team(&origin, None);
            }
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
            LeafColumn::Found(column) => self.judge("team_id", name, Teams::new(column, default)),
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
            let known = is_text(data_type) || data_type.is_integer();
            known.then_some(()).ok_or_else(|| format!("{data_type} is not text: give a column of text"))
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
                Some(StringColumn::Column { target: target.into(), column, default })
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
                let moments = TimestampColumn::new(target, column, default.or(null), timed.reading.clone());
                self.judge(target, name, moments)
            }
        }
    }
}

fn is_preset(mapping: &str) -> bool {
    PRESETS.iter().any(|(name, _)| *name == mapping)
}

/// Default type of a column that accepts no default.
#[derive(Clone)]
enum Never {}
