//! Columns of types that have no text.

use arrow_schema::{DataType, Field};

use crate::backfill::read::DeclaredType;

/// # Errors
/// Names a type in `field`, at any depth, that the file declares and that can't be loaded.
pub(super) fn check(field: &Field) -> Result<(), String> {
    let (name, next) = match DeclaredType::of(field) {
        Some(DeclaredType::Variant) => {
            ("VARIANT", "as JSON text (Spark: to_json(column), DuckDB: column::JSON)")
        }
        Some(DeclaredType::Bson) => ("BSON", "as JSON text"),
        Some(DeclaredType::Geometry) => ("GEOMETRY", "as text, such as ST_AsText(column)"),
        Some(DeclaredType::Geography) => ("GEOGRAPHY", "as text, such as ST_AsText(column)"),
        Some(DeclaredType::Text) | None => {
            return match field.data_type() {
                DataType::Struct(children) => children.iter().try_for_each(|child| check(child)),
                DataType::List(item) | DataType::Map(item, _) => check(item),
                _ => Ok(()),
            };
        }
    };
    Err(format!("{} is {name}, which can't be loaded: write it {next}", field.name()))
}
