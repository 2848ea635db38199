//! Arrow types of decoded columns, derived from the Parquet schema alone.
//!
//! Each column gets the cheapest type that loses no information.

use std::sync::Arc;

use arrow_schema::{DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit};
use parquet::arrow::parquet_to_arrow_schema;
use parquet::basic::{ConvertedType, LogicalType, Type as Physical};
use parquet::errors::ParquetError;
use parquet::schema::types::{SchemaDescriptor, Type};

/// Deeper nesting is refused, because decoding and JSON recurse into it.
const MAX_DEPTH: usize = 64;

/// Decoding of a file's columns.
#[derive(Debug, Clone)]
pub(super) struct Decoded {
    /// The file's schema, with top-level strings as plain bytes.
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
    let parquet = SchemaDescriptor::new(Arc::new(texts_as_bytes(file.root_schema()).map_err(text)?));
    let declared = parquet_to_arrow_schema(file, None).map_err(text)?;
    let plain = parquet_to_arrow_schema(&parquet, None).map_err(text)?;
    let mut leaf = 0;
    let fields: Vec<FieldRef> =
        plain.fields().iter().map(|field| as_views(cheapest(field, &parquet, &mut leaf))).collect();
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

/// Returns the schema with every top-level string column as plain bytes. UTF-8 is checked later,
/// row by row, because the decoder would give up the whole file.
fn texts_as_bytes(root: &Type) -> Result<Type, ParquetError> {
    let mut fields = Vec::with_capacity(root.get_fields().len());
    for field in root.get_fields() {
        fields.push(if is_text(field) {
            let info = field.get_basic_info();
            let bytes = Type::primitive_type_builder(field.name(), Physical::BYTE_ARRAY);
            let bytes = bytes.with_repetition(info.repetition()).with_id(info.has_id().then(|| info.id()));
            Arc::new(bytes.build()?)
        } else {
            field.clone()
        });
    }
    Type::group_type_builder(root.name()).with_fields(fields).build()
}

fn is_text(field: &Type) -> bool {
    let Type::PrimitiveType { basic_info, physical_type: Physical::BYTE_ARRAY, .. } = field else {
        return false;
    };
    match basic_info.logical_type_ref() {
        Some(logical) => matches!(logical, LogicalType::String | LogicalType::Json | LogicalType::Enum),
        None => matches!(
            basic_info.converted_type(),
            ConvertedType::UTF8 | ConvertedType::JSON | ConvertedType::ENUM
        ),
    }
}

/// Turns top-level bytes into views. The values stay in their decompressed page, which takes as
/// much memory as a copy would.
fn as_views(field: FieldRef) -> FieldRef {
    match field.data_type() {
        DataType::LargeBinary => Arc::new(Field::clone(&field).with_data_type(DataType::BinaryView)),
        _ => field,
    }
}

/// Returns the field with 64-bit offsets, so that no batch is too long for it, and with INT96 in
/// microseconds, which can hold every year.
fn cheapest(field: &FieldRef, parquet: &SchemaDescriptor, leaf: &mut usize) -> FieldRef {
    let mut inner = |field: &FieldRef| cheapest(field, parquet, leaf);
    let data_type = match field.data_type() {
        DataType::Struct(children) => DataType::Struct(children.iter().map(inner).collect()),
        DataType::List(item) => DataType::List(inner(item)),
        DataType::Map(entries, sorted) => DataType::Map(inner(entries), *sorted),
        other => {
            let physical = parquet.columns().get(*leaf).map(|column| column.physical_type());
            *leaf += 1;
            match (other, physical) {
                (DataType::Timestamp(..), Some(Physical::INT96)) => {
                    DataType::Timestamp(TimeUnit::Microsecond, None)
                }
                (DataType::Utf8, _) => DataType::LargeUtf8,
                (DataType::Binary, _) => DataType::LargeBinary,
                (other, _) => other.clone(),
            }
        }
    };
    Arc::new(Field::clone(field).with_data_type(data_type))
}
