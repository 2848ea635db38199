//! JSON objects from several columns.

use std::collections::HashSet;
use std::sync::Arc;

use arrow_array::builder::BinaryViewBuilder;
use arrow_array::{BinaryViewArray, RecordBatch};
use arrow_schema::DataType;
use serde_json::value::RawValue;

use super::json;
use super::json_items::json_fields;
use super::plain_text::{is_text, plain_texts};
use super::text::{StringColumn, absent, is_utf8, quoted};
use crate::backfill::map::mapping::find::{FoundColumn, ResolvedColumn};
use crate::backfill::map::reject::Faults;

const NULL: &[u8] = b"null";
/// Bytes of a field beside its key: quotes, and the growth of a timestamp that becomes text.
const FIELD_BYTES: usize = 24;

/// Source of `properties`.
#[derive(Debug, Clone)]
pub(crate) enum PropertiesColumn {
    Text(StringColumn),
    Object(ObjectColumn),
}

impl PropertiesColumn {
    /// Returns one string per row, empty for invalid rows.
    pub(crate) fn read(&self, batch: &RecordBatch, faults: &mut Faults) -> BinaryViewArray {
        match self {
            Self::Text(text) => text.read(batch, faults),
            Self::Object(object) => object.read(batch, faults),
        }
    }

    /// Estimated bytes of a string beside the values themselves.
    pub(crate) fn added_row_bytes(&self) -> usize {
        match self {
            Self::Text(_) => 0,
            Self::Object(object) => object.fields.iter().map(|field| field.key.len() + FIELD_BYTES).sum(),
        }
    }
}

/// An object with a field for each column that has a value. Numbers, booleans and nested values
/// keep their types. Nulls are left out.
#[derive(Debug, Clone)]
pub(crate) struct ObjectColumn {
    /// Column of events, for messages.
    pub(crate) target: Arc<str>,
    /// Column with an object, whose fields come first and have precedence.
    pub(crate) object: Option<FoundColumn>,
    pub(crate) fields: Vec<ObjectField>,
}

#[derive(Debug, Clone)]
pub(crate) struct ObjectField {
    pub(crate) key: String,
    pub(crate) column: FoundColumn,
    pub(crate) form: FieldForm,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FieldForm {
    /// Becomes a string.
    Text,
    /// Text that is JSON, which is kept.
    Json,
    /// A value of another type.
    Encoded,
}

impl FieldForm {
    /// # Errors
    /// Fails if values of this type can't be written as JSON. `is_json` is for text.
    pub(crate) fn of(data_type: &DataType, is_json: bool) -> Result<Self, String> {
        let is_text = is_text(data_type) || matches!(data_type, DataType::FixedSizeBinary(_));
        match (is_text, is_json) {
            (true, true) => Ok(Self::Json),
            (true, false) => Ok(Self::Text),
            (false, _) => json::check(data_type).map(|()| Self::Encoded),
        }
    }
}

/// # Errors
/// Fails if values of this type can't hold an object.
pub(crate) fn check_object(data_type: &DataType) -> Result<(), String> {
    match data_type {
        DataType::Struct(_) | DataType::Map(..) => json::check(data_type),
        other if is_text(other) => Ok(()),
        other => Err(format!("{other} is not an object: give a column of JSON, or a struct or map")),
    }
}

/// A column's values as texts.
struct Texts<'a> {
    column: &'a FoundColumn,
    values: ResolvedColumn,
    texts: BinaryViewArray,
}

impl Texts<'_> {
    /// `None` for null.
    fn get(&self, row: usize) -> Option<&[u8]> {
        (!self.values.is_null(row)).then(|| self.texts.value(row))
    }

    /// JSON. `None` for null and for an empty text, which some writers give in its place.
    fn json(&self, row: usize) -> Option<&[u8]> {
        self.get(row).filter(|text| !text.is_empty())
    }
}

impl ObjectColumn {
    /// Returns one object per row, empty text for invalid rows.
    fn read(&self, batch: &RecordBatch, faults: &mut Faults) -> BinaryViewArray {
        self.objects(batch, faults).unwrap_or_else(|| {
            BinaryViewArray::from_iter_values(absent(&format!("of {}", self.target), batch, faults, ""))
        })
    }

    fn objects(&self, batch: &RecordBatch, faults: &mut Faults) -> Option<BinaryViewArray> {
        let object = match &self.object {
            Some(column) => Some(self.texts(column, !is_text(column.field.data_type()), batch, faults)?),
            None => None,
        };
        let mut fields = Vec::with_capacity(self.fields.len());
        for field in &self.fields {
            let texts = self.texts(&field.column, field.form == FieldForm::Encoded, batch, faults)?;
            fields.push((field, serde_json::to_string(&field.key).ok()?, texts));
        }
        let mut objects = BinaryViewBuilder::with_capacity(batch.num_rows());
        let mut text = Vec::new();
        for row in 0..batch.num_rows() {
            text.clear();
            let written = self.write(object.as_ref(), &fields, row, &mut text);
            let appended = match written {
                Ok(()) => {
                    objects.try_append_value(&text).map_err(|_| "has more than 4 GiB as JSON".to_owned())
                }
                Err(problem) => Err(problem),
            };
            if let Err(problem) = appended {
                faults.add(row, &format!("{} {problem}", self.target));
                objects.append_value("");
            }
        }
        Some(objects.finish())
    }

    fn texts<'a>(
        &self,
        column: &'a FoundColumn,
        is_encoded: bool,
        batch: &RecordBatch,
        faults: &mut Faults,
    ) -> Option<Texts<'a>> {
        let values = column.values(batch)?;
        let texts = if is_encoded {
            json::texts(&self.target, column, &values, faults)?
        } else {
            plain_texts(&column.field, &values.array)?
        };
        Some(Texts { column, values, texts })
    }

    /// # Errors
    /// The problem, as the end of a sentence that starts with the target.
    fn write(
        &self,
        object: Option<&Texts<'_>>,
        fields: &[(&ObjectField, String, Texts<'_>)],
        row: usize,
        text: &mut Vec<u8>,
    ) -> Result<(), String> {
        let mut given = HashSet::new();
        text.push(b'{');
        if let Some((object, json)) = object.and_then(|object| Some((object, object.json(row)?))) {
            let wrong = || format!("{} in column {} is not a JSON object", quoted(json), object.column.name);
            for (key, value) in json_fields(json).ok_or_else(wrong)? {
                if value.get() != "null" {
                    start_field(text, &serde_json::to_string(&key).unwrap_or_default());
                    text.extend_from_slice(value.get().as_bytes());
                    given.insert(key);
                }
            }
        }
        for (field, key, texts) in fields {
            let Some(value) = texts.get(row).filter(|_| !given.contains(&field.key)) else { continue };
            let wrong =
                |problem: &str| format!("{} in column {} is not {problem}", quoted(value), field.column.name);
            match field.form {
                FieldForm::Text => {
                    let value = std::str::from_utf8(value).map_err(|_| wrong("UTF-8"))?;
                    start_field(text, key);
                    // Into a buffer, where no write fails.
                    serde_json::to_writer(&mut *text, value).map_err(|error| error.to_string())?;
                }
                FieldForm::Json if value.is_empty() => {}
                FieldForm::Json => {
                    let json: &RawValue = serde_json::from_slice(value).map_err(|_| wrong("JSON"))?;
                    if json.get() != "null" {
                        start_field(text, key);
                        text.extend_from_slice(json.get().as_bytes());
                    }
                }
                // NaN and infinity are null too.
                FieldForm::Encoded if value == NULL => {}
                // Bytes inside are as they are in the file.
                FieldForm::Encoded if !is_utf8(value) => return Err(wrong("UTF-8")),
                FieldForm::Encoded => {
                    start_field(text, key);
                    text.extend_from_slice(value);
                }
            }
        }
        text.push(b'}');
        Ok(())
    }
}

/// `key` is in quotes.
fn start_field(text: &mut Vec<u8>, key: &str) {
    // The first byte is the brace.
    if text.len() > 1 {
        text.push(b',');
    }
    text.extend_from_slice(key.as_bytes());
    text.push(b':');
}
