//! Names of a file's columns that a mapping does not read.

use std::collections::BTreeSet;

use arrow_schema::{DataType, Fields};

use super::find::leaf_count;

/// Returns the names of the columns without any of the leaves `read`, which ascend. A struct of
/// which some fields are read gives the dotted names of its other fields.
pub(crate) fn unread_columns(fields: &Fields, read: &[usize]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    collect(fields, "", 0, read, &mut names);
    names
}

fn collect(fields: &Fields, prefix: &str, first_leaf: usize, read: &[usize], names: &mut BTreeSet<String>) {
    let mut leaf = first_leaf;
    for field in fields {
        let end = leaf + leaf_count(field.data_type());
        let before = |limit: usize| read.partition_point(|leaf| *leaf < limit);
        let count = before(end) - before(leaf);
        let name = || format!("{prefix}{}", field.name());
        match field.data_type() {
            _ if count == 0 => {
                names.insert(name());
            }
            DataType::Struct(children) if count < end - leaf => {
                collect(children, &format!("{}.", name()), leaf, read, names);
            }
            _ => {}
        }
        leaf = end;
    }
}

#[cfg(test)]
mod tests {
    use arrow_schema::Field;

    use super::*;

    fn text(name: &str) -> Field {
        Field::new(name, DataType::Utf8, true)
    }

    fn of(name: &str, children: Vec<Field>) -> Field {
        Field::new(name, DataType::Struct(children.into()), true)
    }

    fn unread(read: &[usize]) -> Vec<String> {
        let device = of("device", vec![text("os"), text("model")]);
        let tags = Field::new_list("tags", of("item", vec![text("key"), text("value")]), true);
        let fields: Fields =
            vec![text("id"), of("payload", vec![text("name"), device]), tags, text("x.y")].into();
        unread_columns(&fields, read).into_iter().collect()
    }

    #[test]
    fn names_whole_structs_unless_some_fields_are_read() {
        assert_eq!(unread(&[]), ["id", "payload", "tags", "x.y"]);
        assert_eq!(unread(&[0, 1]), ["payload.device", "tags", "x.y"]);
        assert_eq!(unread(&[2, 4, 5]), ["id", "payload.device.model", "payload.name", "x.y"]);
        assert_eq!(unread(&[0, 1, 2, 3, 4, 5, 6]), [""; 0]);
    }
}
