//! Random properties, distinct ids and uuids: small, large and odd values.

use rand::RngExt;
use rand::rngs::StdRng;
use serde_json::{Value, json};
use uuid::Uuid;

/// PostgreSQL stores values above 2 kB out of line, and random text doesn't compress. The WAL omits
/// them when only other columns change.
const LARGE_CHARACTERS: usize = 12_000;
/// One in this many properties is large.
const LARGE_EVERY: u32 = 10;

const PLANS: &[&str] = &["free", "pro", "team"];
/// Strings that break careless code; `jsonb` has no U+0000.
const ODD: &[&str] = &[
    "",
    "'; DROP TABLE person --",
    "\\N",
    "\\u0041 \\\\ \"quoted\"",
    "tab\tline\nreturn\r",
    "\u{1}\u{7f}",
    "Zoë 张伟 👩🏽\u{200d}🚀",
    "\u{202e}right to left",
    "e\u{301} \u{2028} \u{feff} \u{fffd} \u{10ffff}",
];

/// Returns random properties as a JSON object.
pub(super) fn properties(random: &mut StdRng) -> String {
    let mut value = json!({
        "plan": PLANS[random.random_range(0..PLANS.len())],
        "logins": random.random_range(0..1_000_000_000_000_u64),
        "ratio": random.random::<f64>(),
        "odd": odd(random),
    });
    if random.random_range(0..LARGE_EVERY) == 0 {
        value["large"] = Value::from(text(random, LARGE_CHARACTERS));
    }
    if random.random_range(0..4) == 0 {
        value[odd(random)] = json!({ "list": [null, true, odd(random), {}], "empty": [] });
    }
    let text = value.to_string();
    // Numbers beyond the range of a double: jsonb keeps every digit.
    match random.random_range(0..8) {
        0 => text.replacen('{', r#"{"digits": 12345678901234567890.00010, "huge": 1e40, "#, 1),
        _ => text,
    }
}

fn odd(random: &mut StdRng) -> &'static str {
    ODD[random.random_range(0..ODD.len())]
}

fn text(random: &mut StdRng, characters: usize) -> String {
    (0..characters).map(|_| char::from(random.random_range(b' '..=b'~'))).collect()
}

/// Returns the distinct id of a number. Some are odd, all are distinct.
pub(super) fn distinct_id(number: u32) -> String {
    let odd = ODD[number as usize % ODD.len()];
    format!("{number:04}{odd}")
}

/// Returns the uuid of a team's person, the same at each recreation.
pub(super) fn uuid(team: i32, number: u32) -> String {
    Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("{team}:{number}").as_bytes()).to_string()
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn properties_are_objects_and_some_are_large() {
        let mut random = StdRng::seed_from_u64(7);
        let all: Vec<String> = (0..200).map(|_| properties(&mut random)).collect();
        assert!(all.iter().all(|text| serde_json::from_str::<Value>(text).unwrap().is_object()));
        assert!(all.iter().any(|text| text.len() > LARGE_CHARACTERS));
        assert!(all.iter().all(|text| !text.contains("\\u0000")));
        assert_eq!(uuid(1, 2), uuid(1, 2));
        assert_ne!(uuid(1, 2), uuid(2, 1));
    }
}
