//! Hash of a value of an extra column, equal to `sql/backfill/cell_hash.sql`.
//!
//! A row's checksum is the hash of its core columns plus the hashes of its extra values. Each hash
//! includes the row id and the column's name, so that no value can change places.

use std::ops::Range;

use arrow_array::BinaryViewArray;
use xxhash_rust::xxh3::xxh3_64;

use super::values::{Cells, ExtraValues};

/// Bytes before the value: the row id and the hash of the column's name.
const PLACE: usize = 2 * 8;

/// Hashes the values of one column.
pub(crate) struct CellHasher<'a> {
    values: &'a ExtraValues,
    name: [u8; 8],
}

impl<'a> CellHasher<'a> {
    pub(crate) fn new(values: &'a ExtraValues) -> Self {
        let name = xxh3_64(values.column.name.as_bytes()).to_le_bytes();
        Self { values, name }
    }

    /// Sum of the hashes of `rows`, modulo 2⁶⁴. `offset` returns the `_offset` of a row.
    pub(crate) fn sum(&self, rows: &[usize], offset: impl Fn(usize) -> u64) -> u64 {
        rows.iter().fold(0, |sum: u64, row| sum.wrapping_add(self.hash(*row, offset(*row))))
    }

    fn hash(&self, row: usize, offset: u64) -> u64 {
        let mut bytes = [0; PLACE + 16];
        bytes[..8].copy_from_slice(&offset.to_le_bytes());
        bytes[8..PLACE].copy_from_slice(&self.name);
        if self.values.is_null(row) {
            return xxh3_64(&bytes[..PLACE]);
        }
        let hashed = match &self.values.cells {
            Cells::Fixed { width, bytes: all } => {
                bytes[PLACE..][..*width].copy_from_slice(&all[row * width..][..*width]);
                return xxh3_64(&bytes[..PLACE + width]);
            }
            Cells::Texts(texts) => xxh3_64(texts.value(row)),
            Cells::Lists { rows, items } => list(rows[row].clone(), items),
            Cells::Maps { rows, keys, values } => map(rows[row].clone(), keys, values),
        };
        bytes[PLACE..][..8].copy_from_slice(&hashed.to_le_bytes());
        xxh3_64(&bytes[..PLACE + 8])
    }
}

fn list(row: Range<usize>, items: &BinaryViewArray) -> u64 {
    (1_u32..).zip(row).fold(0, |sum: u64, (place, item)| {
        let mut bytes = [0; 12];
        bytes[..4].copy_from_slice(&place.to_le_bytes());
        bytes[4..].copy_from_slice(&xxh3_64(items.value(item)).to_le_bytes());
        sum.wrapping_add(xxh3_64(&bytes))
    })
}

/// Independent of the order of keys, in which the server may store a map.
fn map(row: Range<usize>, keys: &BinaryViewArray, values: &BinaryViewArray) -> u64 {
    row.fold(0, |sum: u64, pair| {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&xxh3_64(keys.value(pair)).to_le_bytes());
        bytes[8..].copy_from_slice(&xxh3_64(values.value(pair)).to_le_bytes());
        sum.wrapping_add(xxh3_64(&bytes))
    })
}

#[cfg(test)]
mod tests {
    use super::super::{CellValue, ExtraColumn};
    use super::*;
    use crate::backfill::events::wire_uuid;

    fn hash(name: &str, sql_type: &str, value: &CellValue) -> u64 {
        let values = ExtraValues::repeated(&ExtraColumn::of_type(name, sql_type), value, 1);
        CellHasher::new(&values).sum(&[0], |_| (1 << 63) + 1)
    }

    fn number(value: i128) -> CellValue {
        CellValue::Fixed(value.to_le_bytes())
    }

    #[test]
    fn a_value_has_the_hash_that_the_server_gives_it() {
        // SELECT {cell_hash} of each column, with toUInt64(9223372036854775809) AS _offset.
        let text = |text: &str| CellValue::Text(text.to_owned());
        let list = |items: &[&str]| CellValue::List(items.iter().map(|item| (*item).to_owned()).collect());
        let map = |pairs: &[(&str, &str)]| {
            CellValue::Map(
                pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
            )
        };
        let uuid = CellValue::Fixed(wire_uuid(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff));
        let [score, half] = [i128::from((-1.5_f64).to_bits()), i128::from(0.1_f32.to_bits())];
        for (name, sql_type, value, hashed) in [
            ("id", "UUID", uuid, 462_106_946_443_364_682),
            ("small", "Int8", number(-3), 5_081_077_124_712_228_059),
            ("large", "Nullable(UInt64)", number(u64::MAX.into()), 10_120_680_510_658_216_882),
            ("none", "Nullable(UInt64)", CellValue::Null, 18_187_301_633_190_337_014),
            ("score", "Float64", number(score), 6_979_058_494_238_714_047),
            ("half", "Float32", number(half), 2_641_696_343_013_918_128),
            ("truth", "Bool", number(1), 16_353_557_343_919_209_283),
            ("at", "DateTime64(3, 'UTC')", number(-1), 4_330_165_063_952_470_696),
            ("second", "DateTime", number(9), 11_792_858_517_281_730_178),
            ("mode", "Enum8('a' = -2, 'b' = 5)", number(5), 12_224_743_799_112_120_053),
            ("wide", "Nullable(Enum16('a' = 300))", number(300), 10_393_434_845_357_282_590),
            ("word", "LowCardinality(Nullable(String))", text("wörd"), 16_655_841_148_220_289_669),
            ("text", "String", text(""), 15_038_380_007_909_471_560),
            ("tags", "Array(String)", list(&["a", "", "ü"]), 7_201_224_376_100_723_893),
            ("empty", "Array(String)", list(&[]), 12_095_757_598_867_307_097),
            ("labels", "Map(String, String)", map(&[("a", "b"), ("", "c")]), 14_019_970_603_174_869_365),
            ("labels", "Map(String, String)", map(&[("", "c"), ("a", "b")]), 14_019_970_603_174_869_365),
            ("no labels", "Map(String, String)", map(&[]), 11_437_304_968_535_093_113),
        ] {
            assert_eq!(hash(name, sql_type, &value), hashed, "{name} {sql_type}");
        }
    }
}
