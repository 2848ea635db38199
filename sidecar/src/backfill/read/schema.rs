//! Arrow types of decoded columns, derived from the Parquet schema alone.
//!
//! Each column gets the cheapest type that loses no information.

use std::ops::Range;
use std::sync::Arc;

use arrow_schema::{DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit};
use parquet::arrow::parquet_to_arrow_schema;
use parquet::basic::Type as Physical;
use parquet::errors::ParquetError;
use parquet::schema::types::{SchemaDescriptor, Type, TypePtr};

use super::declared::DeclaredType;

/// Deeper nesting is refused, because decoding and JSON recurse into it.
const MAX_DEPTH: usize = 64;

/// Decoding of a file's columns.
#[derive(Debug, Clone)]
pub(super) struct Decoded {
    /// The file's schema, with strings at every depth as plain bytes.
    pub(super) parquet: Arc<SchemaDescriptor>,
    /// The types of the batches.
    pub(super) schema: SchemaRef,
    /// The types that the file declares.
    pub(super) declared: SchemaRef,
}

/// # Errors
/// Names the part of the schema that can't be decoded.
pub(super) fn decoded(file: &SchemaDescriptor) -> Result<Decoded, String> {
    let text = |error: ParquetError| error.to_string();
    check_depth(file.root_schema(), 0)?;
    let parquet = SchemaDescriptor::new(texts_as_bytes(&file.root_schema_ptr()).map_err(text)?);
    let declared = parquet_to_arrow_schema(file, None).map_err(text)?;
    let plain = parquet_to_arrow_schema(&parquet, None).map_err(text)?;
    let mut variants = Vec::new();
    variant_leaves(file.root_schema(), 0, &mut variants);
    let mut columns = Columns { file, variants, leaf: 0 };
    let fields: Vec<FieldRef> = plain.fields().iter().map(|field| columns.cheapest(field)).collect();
    Ok(Decoded {
        parquet: Arc::new(parquet),
        schema: Arc::new(Schema::new(fields)),
        declared: Arc::new(Schema::new(declared.fields)),
    })
}

fn check_depth(node: &Type, depth: usize) -> Result<(), String> {
    if depth > MAX_DEPTH {
        return Err(format!("its schema is nested more than {MAX_DEPTH} levels deep"));
    }
    match node {
        Type::PrimitiveType { .. } => Ok(()),
        Type::GroupType { fields, .. } => fields.iter().try_for_each(|field| check_depth(field, depth + 1)),
    }
}

/// Returns the schema with every string as plain bytes. UTF-8 is checked later, row by row, because
/// the decoder would give up the whole file.
fn texts_as_bytes(node: &TypePtr) -> Result<TypePtr, ParquetError> {
    let info = node.get_basic_info();
    let id = info.has_id().then(|| info.id());
    match &**node {
        Type::PrimitiveType { .. } if DeclaredType::of_leaf(node) == Some(DeclaredType::Text) => {
            let bytes = Type::primitive_type_builder(node.name(), Physical::BYTE_ARRAY);
            Ok(Arc::new(bytes.with_repetition(info.repetition()).with_id(id).build()?))
        }
        Type::PrimitiveType { .. } => Ok(node.clone()),
        Type::GroupType { fields, .. } => {
            let fields = fields.iter().map(texts_as_bytes).collect::<Result<_, _>>()?;
            let mut group = Type::group_type_builder(node.name()).with_fields(fields).with_id(id);
            if info.has_repetition() {
                group = group.with_repetition(info.repetition());
            }
            let types = (info.converted_type(), info.logical_type_ref().cloned());
            Ok(Arc::new(group.with_converted_type(types.0).with_logical_type(types.1).build()?))
        }
    }
}

/// Collects the leaf ranges of VARIANT groups. Returns the first leaf behind `node`.
fn variant_leaves(node: &Type, first_leaf: usize, found: &mut Vec<Range<usize>>) -> usize {
    let Type::GroupType { fields, .. } = node else { return first_leaf + 1 };
    let end = fields.iter().fold(first_leaf, |leaf, field| variant_leaves(field, leaf, found));
    if DeclaredType::is_variant(node) {
        found.push(first_leaf..end);
    }
    end
}

/// The columns of a file, visited in the order of their leaves.
struct Columns<'a> {
    file: &'a SchemaDescriptor,
    variants: Vec<Range<usize>>,
    leaf: usize,
}

impl Columns<'_> {
    /// Returns the field with its declared type as a mark, with bytes as views, and with INT96 in
    /// microseconds, which can hold every year. A view's value stays in its decompressed page or
    /// dictionary, which takes no more memory than a copy would.
    fn cheapest(&mut self, field: &FieldRef) -> FieldRef {
        let first_leaf = self.leaf;
        let mut inner = |field: &FieldRef| self.cheapest(field);
        let data_type = match field.data_type() {
            DataType::Struct(children) => DataType::Struct(children.iter().map(inner).collect()),
            DataType::List(item) => DataType::List(inner(item)),
            DataType::Map(entries, sorted) => DataType::Map(inner(entries), *sorted),
            leaf => return Arc::new(self.leaf(field, leaf)),
        };
        let field = Field::clone(field).with_data_type(data_type);
        let is_variant = self.variants.contains(&(first_leaf..self.leaf));
        Arc::new(if is_variant { DeclaredType::Variant.mark(field) } else { field })
    }

    fn leaf(&mut self, field: &Field, data_type: &DataType) -> Field {
        let column = self.file.columns().get(self.leaf);
        self.leaf += 1;
        let data_type = match (data_type, column.map(|column| column.physical_type())) {
            (DataType::Timestamp(..), Some(Physical::INT96)) => {
                DataType::Timestamp(TimeUnit::Microsecond, None)
            }
            (DataType::Binary, _) => DataType::BinaryView,
            (other, _) => other.clone(),
        };
        let field = field.clone().with_data_type(data_type);
        match column.and_then(|column| DeclaredType::of_leaf(column.self_type())) {
            Some(declared) => declared.mark(field),
            None => field,
        }
    }
}
