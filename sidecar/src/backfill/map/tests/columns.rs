//! Random string, UUID and team columns, with expected results.

use std::sync::Arc;

use arrow_array::types::{Int8Type, Int32Type};
use arrow_array::{
    ArrayRef, BinaryArray, BinaryViewArray, Decimal128Array, Decimal256Array, DictionaryArray,
    FixedSizeBinaryArray, Float64Array, Int8Array, Int16Array, Int32Array, Int64Array, LargeBinaryArray,
    LargeStringArray, StringArray, StringViewArray, UInt8Array, UInt16Array, UInt32Array, UInt64Array,
};
use arrow_buffer::i256;
use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

/// A column and the expected value of each row, `None` for a rejected row.
pub(super) type Column<T> = (ArrayRef, Vec<Option<T>>);

/// One value in eight is null.
pub(super) fn null(random: &mut StdRng) -> bool {
    random.random_ratio(1, 8)
}

fn texts(random: &mut StdRng, rows: usize) -> Vec<Option<Vec<u8>>> {
    let words: [&[u8]; 6] =
        [b"", b"$pageview", "ünï☃".as_bytes(), b"a longer text than a view holds", b"{\"a\":1}", b"\0\n\""];
    (0..rows).map(|_| (!null(random)).then(|| words.choose(random).expect("some").to_vec())).collect()
}

/// Any string or binary type. Invalid UTF-8 occurs only where the type allows it.
pub(super) fn text_column(random: &mut StdRng, rows: usize) -> Column<String> {
    let mut values = texts(random, rows);
    let kind = random.random_range(0..9);
    if kind >= 4 {
        for value in values.iter_mut().flatten() {
            if random.random_ratio(1, 10) {
                *value = [b"\xff\xfe".as_slice(), b"half a \xe2\x98"].choose(random).expect("some").to_vec();
            }
        }
    }
    let strings: Vec<Option<String>> =
        values.iter().map(|value| value.clone().and_then(|bytes| String::from_utf8(bytes).ok())).collect();
    let bytes = values.iter().map(Option::as_deref);
    let array: ArrayRef = match kind {
        0 => Arc::new(StringArray::from(strings.clone())),
        1 => Arc::new(LargeStringArray::from(strings.clone())),
        2 => Arc::new(strings.iter().map(Option::as_deref).collect::<StringViewArray>()),
        3 => Arc::new(strings.iter().map(Option::as_deref).collect::<DictionaryArray<Int32Type>>()),
        4 => Arc::new(bytes.collect::<BinaryArray>()),
        5 => Arc::new(bytes.collect::<LargeBinaryArray>()),
        6 => Arc::new(bytes.collect::<BinaryViewArray>()),
        7 => {
            // Sliced, so that offsets don't start at zero.
            let padded = std::iter::once(Some(b"\xff".as_slice())).chain(bytes).collect::<LargeBinaryArray>();
            Arc::new(padded.slice(1, rows))
        }
        _ => {
            let keys = (0..rows).map(|row| i8::try_from(row).ok().filter(|_| values[row].is_some()));
            let plain = bytes.map(Option::unwrap_or_default).map(Some).collect::<BinaryArray>();
            Arc::new(DictionaryArray::<Int8Type>::new(keys.collect::<Int8Array>(), Arc::new(plain)))
        }
    };
    (array, strings)
}

pub(super) fn uuid_column(random: &mut StdRng, rows: usize) -> Column<u128> {
    let values: Vec<Option<u128>> = (0..rows).map(|_| (!null(random)).then(|| random.random())).collect();
    let raw = values.iter().map(|value| value.map(u128::to_be_bytes));
    match random.random_range(0..4) {
        0 => {
            let fixed =
                FixedSizeBinaryArray::try_from_sparse_iter_with_size(raw, 16).expect("sixteen bytes each");
            (Arc::new(fixed), values)
        }
        1 => (Arc::new(raw.collect::<BinaryArray>()), values),
        _ => {
            let mut wanted = values.clone();
            let texts: Vec<Option<String>> =
                wanted.iter_mut().map(|value| uuid_text(random, value)).collect();
            let array: ArrayRef = if random.random() {
                Arc::new(LargeStringArray::from(texts))
            } else {
                Arc::new(texts.iter().map(Option::as_deref).collect::<DictionaryArray<Int32Type>>())
            };
            (array, wanted)
        }
    }
}

/// A string of the UUID, or an invalid one.
fn uuid_text(random: &mut StdRng, value: &mut Option<u128>) -> Option<String> {
    let plain = format!("{:032x}", (*value)?);
    let hyphens = [&plain[..8], &plain[8..12], &plain[12..16], &plain[16..20], &plain[20..]].join("-");
    Some(match random.random_range(0..6) {
        0 => plain,
        1 => hyphens.to_uppercase(),
        2 => {
            *value = None;
            let bad =
                [&hyphens[1..], "", "no uuid", &hyphens.replace('-', "_"), &plain.replace(&plain[5..6], "g")];
            bad.choose(random).expect("some").to_string()
        }
        _ => hyphens,
    })
}

pub(super) fn team_column(random: &mut StdRng, rows: usize) -> Column<i64> {
    let small: Vec<Option<i64>> =
        (0..rows).map(|_| (!null(random)).then(|| random.random_range(0..=127))).collect();
    macro_rules! narrow {
        ($array:ty, $number:ty) => {
            Arc::new(
                small
                    .iter()
                    .map(|team| team.map(|team| <$number>::try_from(team).expect("small")))
                    .collect::<$array>(),
            )
        };
    }
    let array: ArrayRef = match random.random_range(0..12) {
        0 => narrow!(Int8Array, i8),
        1 => narrow!(Int16Array, i16),
        2 => narrow!(Int32Array, i32),
        3 => narrow!(Int64Array, i64),
        4 => narrow!(UInt8Array, u8),
        5 => narrow!(UInt16Array, u16),
        6 => narrow!(UInt32Array, u32),
        7 => {
            let wide: Vec<Option<u64>> =
                small.iter().map(|team| team.map(|_| random.random_range(0..=u64::MAX))).collect();
            let wanted = wide.iter().map(|team| team.and_then(|team| i64::try_from(team).ok())).collect();
            return (Arc::new(UInt64Array::from(wide)), wanted);
        }
        8 => return decimal_team(random, &small),
        9 => {
            let halves: Vec<Option<f64>> = small
                .iter()
                .map(|team| {
                    team.map(|team| team as f64 + *[0.0, 0.0, 0.5, f64::NAN].choose(random).expect("some"))
                })
                .collect();
            let wanted = halves
                .iter()
                .zip(&small)
                .map(|(half, team)| half.filter(|half| half.fract() == 0.0).and(*team));
            let wanted = wanted.collect();
            return (Arc::new(Float64Array::from(halves)), wanted);
        }
        10 => {
            let wide = small.iter().map(|team| team.map(|team| i256::from(team) * i256::from(100)));
            let array = wide.collect::<Decimal256Array>().with_precision_and_scale(60, 2).expect("fits");
            Arc::new(array)
        }
        _ => {
            let mut wanted = small.clone();
            let texts = wanted.iter_mut().map(|team| {
                let text = (*team)?.to_string();
                if random.random_ratio(1, 5) {
                    *team = None;
                    return Some(
                        [" 1", "+1", "1.0", "", "-", "99999999999999999999", "x"].choose(random)?.to_string(),
                    );
                }
                Some(text)
            });
            let texts: Vec<Option<String>> = texts.collect();
            return (Arc::new(StringArray::from(texts)), wanted);
        }
    };
    (array, small)
}

fn decimal_team(random: &mut StdRng, teams: &[Option<i64>]) -> Column<i64> {
    let mut wanted = teams.to_vec();
    let digits: Vec<Option<i128>> = wanted
        .iter_mut()
        .map(|team| {
            let digits = i128::from((*team)?) * 100;
            if random.random_ratio(1, 5) {
                *team = None;
                return Some(digits + 1);
            }
            Some(digits)
        })
        .collect();
    (Arc::new(Decimal128Array::from(digits).with_precision_and_scale(20, 2).expect("fits")), wanted)
}
