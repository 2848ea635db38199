//! Lookup of columns by name or dotted path.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, RecordBatch, new_null_array};
use arrow_buffer::NullBuffer;
use arrow_schema::{DataType, Field, FieldRef, Fields};

pub(crate) use super::resolved::ResolvedColumn;
use super::resolved::coalesce;
use crate::backfill::map::columns::plain_text::{plain_texts, repeated};
use crate::backfill::read::DeclaredType;

/// Minimum Jaro-Winkler similarity (0 to 1) for suggesting a column in place of a missing one.
const DID_YOU_MEAN: f64 = 0.8;
/// Maximum number of columns listed in an error.
const COLUMNS_SHOWN: usize = 30;

#[derive(Debug, Clone)]
pub(crate) struct FoundColumn {
    /// Name as written in the mapping.
    pub(crate) name: String,
    pub(crate) field: FieldRef,
    /// The column's leaves in the file's schema.
    pub(crate) leaves: Vec<usize>,
    origin: ValueOrigin,
}

#[derive(Debug, Clone)]
enum ValueOrigin {
    /// Names from the top level down; more than one inside structs.
    File(Vec<String>),
    /// The same value in every row, from the file's path.
    Path(Option<Arc<str>>),
    /// At least two columns, of which the first value that is not null counts.
    FirstOf(Vec<FoundColumn>),
}

/// Returns the column `name` from the complete, unprojected schema of a file.
///
/// # Errors
/// Fails if the name occurs more than once. The message continues a sentence that starts with the
/// column.
pub(crate) fn find(fields: &Fields, name: &str) -> Result<Option<FoundColumn>, String> {
    if fields.iter().filter(|field| field.name() == name).count() > 1 {
        return Err("the file has this column more than once: rename one".to_owned());
    }
    Ok(descend(fields, name, 0).map(|(path, field, leaf)| {
        let leaves = (leaf..leaf + leaf_count(field.data_type())).collect();
        FoundColumn { name: name.to_owned(), field, leaves, origin: ValueOrigin::File(path) }
    }))
}

/// A column named `a.b` has precedence over the field `b` of a struct `a`.
fn descend(fields: &Fields, name: &str, first_leaf: usize) -> Option<(Vec<String>, FieldRef, usize)> {
    let mut leaf = first_leaf;
    let mut inner = None;
    for field in fields {
        if field.name() == name {
            return Some((vec![name.to_owned()], field.clone(), leaf));
        }
        let rest = name.strip_prefix(field.name().as_str()).and_then(|rest| rest.strip_prefix('.'));
        if let (Some(rest), DataType::Struct(children)) = (rest, field.data_type()) {
            inner = inner.or_else(|| {
                let (mut path, found, leaf) = descend(children, rest, leaf)?;
                path.insert(0, field.name().clone());
                Some((path, found, leaf))
            });
        }
        leaf += leaf_count(field.data_type());
    }
    inner
}

/// Number of leaf columns of a type. Parquet counts leaves in the same order.
pub(crate) fn leaf_count(data_type: &DataType) -> usize {
    match data_type {
        DataType::Struct(children) => children.iter().map(|child| leaf_count(child.data_type())).sum(),
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::FixedSizeList(item, _)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::Map(item, _) => leaf_count(item.data_type()),
        _ => 1,
    }
}

/// Error for a column that is missing from the file. `next` is the hint if no column has a similar
/// name.
pub(crate) fn missing(fields: &Fields, name: &str, next: &str) -> String {
    let names = names(fields, "");
    let nearest =
        names.iter().map(|known| (strsim::jaro_winkler(&name.to_lowercase(), &known.to_lowercase()), known));
    let nearest =
        nearest.max_by(|a, b| a.0.total_cmp(&b.0)).filter(|(likeness, _)| *likeness >= DID_YOU_MEAN);
    let hint = nearest.map_or_else(|| format!(": {next}"), |(_, known)| format!(", did you mean {known:?}?"));
    format!("the file has no column {name:?}{hint}")
}

/// List of the file's columns, as a mapping can name them.
pub(crate) fn columns(fields: &Fields) -> String {
    let names = names(fields, "");
    let mut shown = names.iter().take(COLUMNS_SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    if names.len() > COLUMNS_SHOWN {
        shown.push_str(", …");
    }
    shown
}

fn names(fields: &Fields, prefix: &str) -> Vec<String> {
    let mut names = Vec::new();
    for field in fields {
        let name = format!("{prefix}{}", field.name());
        if let DataType::Struct(children) = field.data_type() {
            let inner = self::names(children, &format!("{name}."));
            names.push(name);
            names.extend(inner);
        } else {
            names.push(name);
        }
    }
    names
}

impl FoundColumn {
    /// Column of a value in the file's path. It is text.
    pub(super) fn in_path(name: &str, value: Option<Arc<str>>) -> Self {
        let field = Arc::new(DeclaredType::Text.mark(Field::new(name, DataType::BinaryView, true)));
        let name = format!("{name} (of the path)");
        Self { name, field, leaves: Vec::new(), origin: ValueOrigin::Path(value) }
    }

    pub(super) fn alternatives(
        name: String,
        field: FieldRef,
        leaves: Vec<usize>,
        columns: Vec<Self>,
    ) -> Self {
        Self { name, field, leaves, origin: ValueOrigin::FirstOf(columns) }
    }

    /// Whether the values are of the file's path alone.
    pub(super) fn is_in_path(&self) -> bool {
        matches!(self.origin, ValueOrigin::Path(_))
    }

    /// Names of the columns that the value is of, in order of preference.
    pub(crate) fn names(&self) -> Vec<&str> {
        match &self.origin {
            ValueOrigin::FirstOf(columns) => columns.iter().map(|column| column.name.as_str()).collect(),
            ValueOrigin::File(_) | ValueOrigin::Path(_) => vec![&self.name],
        }
    }

    /// Name of the column without the structs around it.
    pub(super) fn own_name(&self) -> &str {
        self.field.name()
    }

    /// Values in `batch`, which may hold all columns of the file or only the projected ones.
    pub(crate) fn values(&self, batch: &RecordBatch) -> Option<ResolvedColumn> {
        match &self.origin {
            ValueOrigin::File(path) => in_file(path, batch),
            ValueOrigin::Path(value) => Some(in_every_row(value.as_deref(), batch.num_rows())),
            ValueOrigin::FirstOf(columns) => {
                let values = columns.iter().map(|column| column.values_as(self.field.data_type(), batch));
                coalesce(values.collect::<Option<Vec<_>>>()?)
            }
        }
    }

    /// Values as `data_type`, which is that of the column or of text.
    fn values_as(&self, data_type: &DataType, batch: &RecordBatch) -> Option<ResolvedColumn> {
        let values = self.values(batch)?;
        if values.array.data_type() == data_type {
            return Some(values);
        }
        if *values.array.data_type() == DataType::Null {
            let array = new_null_array(data_type, batch.num_rows());
            return Some(ResolvedColumn { array, ..values });
        }
        Some(ResolvedColumn { array: Arc::new(plain_texts(&self.field, &values.array)?), ..values })
    }
}

/// Values of a column of the file.
fn in_file(path: &[String], batch: &RecordBatch) -> Option<ResolvedColumn> {
    let (first, inner) = path.split_first()?;
    let mut array = batch.column_by_name(first)?.clone();
    let mut nulls = array.logical_nulls();
    for name in inner {
        array = array.as_struct_opt()?.column_by_name(name)?.clone();
        nulls = NullBuffer::union(nulls.as_ref(), array.logical_nulls().as_ref());
    }
    let nulls = nulls.filter(|nulls| nulls.null_count() > 0);
    Some(ResolvedColumn { array, nulls })
}

fn in_every_row(value: Option<&str>, rows: usize) -> ResolvedColumn {
    let array: ArrayRef = match value {
        Some(value) => Arc::new(repeated(value.as_bytes(), rows)),
        None => new_null_array(&DataType::BinaryView, rows),
    };
    let nulls = array.logical_nulls();
    ResolvedColumn { array, nulls }
}
