//! Lookup of columns by name or dotted path.

use std::ops::Range;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_buffer::NullBuffer;
use arrow_schema::{DataType, FieldRef, Fields};

/// Minimum Jaro-Winkler similarity (0 to 1) for suggesting a column in place of a missing one.
const DID_YOU_MEAN: f64 = 0.8;
/// Maximum number of columns listed in an error.
const COLUMNS_SHOWN: usize = 30;

#[derive(Debug, Clone)]
pub(crate) struct FoundColumn {
    /// Name as written in the mapping.
    pub(crate) name: String,
    /// Names from the top level down; more than one inside structs.
    path: Vec<String>,
    pub(crate) field: FieldRef,
    /// Range of the column's leaves in the file's schema.
    pub(crate) leaves: Range<usize>,
}

pub(crate) struct ResolvedColumn {
    pub(crate) array: ArrayRef,
    /// Nulls of the column combined with the nulls of the enclosing structs.
    pub(crate) nulls: Option<NullBuffer>,
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
        let leaves = leaf..leaf + leaf_count(field.data_type());
        FoundColumn { name: name.to_owned(), path, field, leaves }
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
    /// Values in `batch`, which may hold all columns of the file or only the projected ones.
    pub(crate) fn values(&self, batch: &RecordBatch) -> Option<ResolvedColumn> {
        let (first, inner) = self.path.split_first()?;
        let mut array = batch.column_by_name(first)?.clone();
        let mut nulls = array.logical_nulls();
        for name in inner {
            array = array.as_struct_opt()?.column_by_name(name)?.clone();
            nulls = NullBuffer::union(nulls.as_ref(), array.logical_nulls().as_ref());
        }
        let nulls = nulls.filter(|nulls| nulls.null_count() > 0);
        Some(ResolvedColumn { array, nulls })
    }
}

impl ResolvedColumn {
    pub(crate) fn is_null(&self, row: usize) -> bool {
        self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row))
    }
}
