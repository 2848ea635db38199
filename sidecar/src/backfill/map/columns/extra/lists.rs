//! Lists and maps of texts.

use std::ops::Range;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, BinaryViewArray, OffsetSizeTrait};
use arrow_schema::DataType;

use super::builder::CellRows;
use super::text_value::expected;
use crate::backfill::extra::{CellLayout, ExtraValues};
use crate::backfill::map::columns::json::{self, PairsOfMap};
use crate::backfill::map::columns::json_items::{json_list, json_map};
use crate::backfill::map::columns::text::{bytes, is_text, quoted};
use crate::backfill::map::mapping::find::FoundColumn;
use crate::backfill::map::reject::Faults;

const NOT_UTF8: &str = "is not UTF-8";

/// Lists of texts, and maps between texts, are read as they are, all else by way of JSON. Returns
/// `None` if the column has another type than at plan time.
pub(super) fn read(rows: &CellRows<'_>, found: &FoundColumn, faults: &mut Faults) -> Option<ExtraValues> {
    let array = &rows.values.array;
    match rows.column.layout {
        CellLayout::TextList => {
            if let Some((items_of, items)) = list(array) {
                return Some(lists(rows, faults, &items, items_of));
            }
        }
        _ => {
            if let Some(mut text_maps) = map(array) {
                return Some(maps(rows, faults, &mut text_maps));
            }
        }
    }
    let texts = if json::is_nested(array.data_type()) {
        json::texts(&rows.column.name, found, rows.values, faults)?
    } else {
        bytes(array)?
    };
    Some(of_json(rows, faults, &texts))
}

fn of_json(rows: &CellRows<'_>, faults: &mut Faults, texts: &BinaryViewArray) -> ExtraValues {
    let is_list = rows.column.layout == CellLayout::TextList;
    rows.build(faults, |row, builder| {
        let text = texts.value(row);
        let wrong = || (quoted(text), expected(&rows.column.field.conversion));
        if is_list {
            builder.push_list(json_list(text).ok_or_else(wrong)?);
        } else {
            builder.push_map(json_map(text).ok_or_else(wrong)?);
        }
        Ok(())
    })
}

fn lists(
    rows: &CellRows<'_>,
    faults: &mut Faults,
    items: &BinaryViewArray,
    items_of: Vec<Range<usize>>,
) -> ExtraValues {
    rows.build(faults, |row, builder| {
        let items = items_of[row].clone().map(|item| text(items, item));
        let items: Vec<&[u8]> = items.collect();
        check_utf8(&items)?;
        builder.push_list(items);
        Ok(())
    })
}

fn maps(rows: &CellRows<'_>, faults: &mut Faults, maps: &mut TextMaps) -> ExtraValues {
    rows.build(faults, |row, builder| {
        let pairs = maps.pairs.of_row(row, &maps.keys);
        let keys: Vec<&[u8]> = pairs.iter().map(|pair| text(&maps.keys, *pair)).collect();
        let values: Vec<&[u8]> = pairs.iter().map(|pair| text(&maps.values, *pair)).collect();
        check_utf8(&keys)?;
        check_utf8(&values)?;
        builder.push_map(keys.into_iter().zip(values));
        Ok(())
    })
}

fn check_utf8(texts: &[&[u8]]) -> Result<(), (String, String)> {
    match texts.iter().find(|text| std::str::from_utf8(text).is_err()) {
        Some(text) => Err((quoted(text), NOT_UTF8.to_owned())),
        None => Ok(()),
    }
}

/// The text, which is empty for null.
fn text(texts: &BinaryViewArray, item: usize) -> &[u8] {
    if texts.is_null(item) { b"" } else { texts.value(item) }
}

fn list(array: &ArrayRef) -> Option<(Vec<Range<usize>>, BinaryViewArray)> {
    match array.data_type() {
        DataType::List(item) if is_text(item.data_type()) => {
            let list = array.as_list_opt::<i32>()?;
            Some((ranges(list.value_offsets()), bytes(list.values())?))
        }
        DataType::LargeList(item) if is_text(item.data_type()) => {
            let list = array.as_list_opt::<i64>()?;
            Some((ranges(list.value_offsets()), bytes(list.values())?))
        }
        _ => None,
    }
}

/// Pairs of texts, by row.
struct TextMaps {
    pairs: PairsOfMap,
    keys: BinaryViewArray,
    values: BinaryViewArray,
}

fn map(array: &ArrayRef) -> Option<TextMaps> {
    let map = array.as_map_opt()?;
    let are_texts = is_text(map.keys().data_type()) && is_text(map.values().data_type());
    let pairs = PairsOfMap::new(map.offsets().clone());
    are_texts.then_some(())?;
    Some(TextMaps { pairs, keys: bytes(map.keys())?, values: bytes(map.values())? })
}

fn ranges<O: OffsetSizeTrait>(offsets: &[O]) -> Vec<Range<usize>> {
    offsets.windows(2).map(|ends| ends[0].as_usize()..ends[1].as_usize()).collect()
}
