//! Types that a file declares for its bytes, as marks on Arrow fields.
//!
//! All bytes are decoded as `BinaryView`, so the fields keep what Arrow's type no longer says.

use arrow_schema::{DataType, Field};
use parquet::basic::{ConvertedType, LogicalType, Type as Physical};
use parquet::schema::types::Type;

const KEY: &str = "posthouse:type";

/// A type that a field's Arrow type does not show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DeclaredType {
    /// STRING, ENUM or JSON. The bytes may be other than UTF-8 all the same.
    Text,
    Bson,
    Geometry,
    Geography,
    /// A group of the binary form of JSON.
    Variant,
}

const ALL: [DeclaredType; 5] = [
    DeclaredType::Text,
    DeclaredType::Bson,
    DeclaredType::Geometry,
    DeclaredType::Geography,
    DeclaredType::Variant,
];

impl DeclaredType {
    /// Returns the declared type of a leaf. `None` for plain bytes and for every other type.
    pub(super) fn of_leaf(leaf: &Type) -> Option<Self> {
        let Type::PrimitiveType { basic_info, physical_type: Physical::BYTE_ARRAY, .. } = leaf else {
            return None;
        };
        match (basic_info.logical_type_ref(), basic_info.converted_type()) {
            (Some(LogicalType::String | LogicalType::Json | LogicalType::Enum), _) => Some(Self::Text),
            (Some(LogicalType::Bson), _) | (None, ConvertedType::BSON) => Some(Self::Bson),
            (Some(LogicalType::Geometry(_)), _) => Some(Self::Geometry),
            (Some(LogicalType::Geography(_)), _) => Some(Self::Geography),
            (None, ConvertedType::UTF8 | ConvertedType::JSON | ConvertedType::ENUM) => Some(Self::Text),
            _ => None,
        }
    }

    /// Whether a group is a VARIANT. Spark 4.0 writes one without its type.
    pub(super) fn is_variant(group: &Type) -> bool {
        let fields = group.get_fields();
        let plain_bytes = |name: &str| {
            fields.iter().any(|field| {
                field.name() == name
                    && matches!(**field, Type::PrimitiveType { physical_type: Physical::BYTE_ARRAY, .. })
                    && field.get_basic_info().logical_type_ref().is_none()
                    && field.get_basic_info().converted_type() == ConvertedType::NONE
            })
        };
        let has_its_form = fields.len() == 2 && plain_bytes("metadata") && plain_bytes("value");
        has_its_form || matches!(group.get_basic_info().logical_type_ref(), Some(LogicalType::Variant(_)))
    }

    /// Returns the field with this mark.
    pub(crate) fn mark(self, field: Field) -> Field {
        let mut metadata = field.metadata().clone();
        metadata.insert(KEY.to_owned(), format!("{self:?}"));
        field.with_metadata(metadata)
    }

    /// Returns the mark of a decoded field.
    pub(crate) fn of(field: &Field) -> Option<Self> {
        let mark = field.metadata().get(KEY)?;
        ALL.into_iter().find(|declared| format!("{declared:?}") == *mark)
    }

    /// Whether the file declares the field's values as text, and not as bytes.
    pub(crate) fn is_text(field: &Field) -> bool {
        let plain = match field.data_type() {
            DataType::Dictionary(_, values) => values,
            other => other,
        };
        matches!(plain, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
            || Self::of(field) == Some(Self::Text)
    }
}
