//! Items of JSON lists and objects as text, as ClickHouse's `JSONExtract` gives them.

use std::fmt;

use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Items of a list: texts as they are, null as an empty text, all else as JSON. Returns `None` for
/// any other text.
pub(in crate::backfill::map) fn json_list(text: &[u8]) -> Option<Vec<String>> {
    let items: Vec<&RawValue> = serde_json::from_slice(text).ok()?;
    items.into_iter().map(item).collect()
}

/// Fields of an object in their order. Returns `None` for any other text.
pub(in crate::backfill::map) fn json_map(text: &[u8]) -> Option<Vec<(String, String)>> {
    json_fields(text)?.into_iter().map(|(key, value)| Some((key, item(value)?))).collect()
}

/// Fields of an object in their order, each with its JSON. Returns `None` for any other text.
pub(in crate::backfill::map) fn json_fields(text: &[u8]) -> Option<Vec<(String, &RawValue)>> {
    let mut reader = serde_json::Deserializer::from_slice(text);
    let fields = reader.deserialize_map(JsonFields).ok()?;
    reader.end().ok()?;
    Some(fields)
}

fn item(value: &RawValue) -> Option<String> {
    match value.get() {
        "null" => Some(String::new()),
        text if text.starts_with('"') => serde_json::from_str(text).ok(),
        json => Some(compact(json)),
    }
}

/// JSON without spaces between its parts.
fn compact(json: &str) -> String {
    let (mut is_text, mut is_escaped) = (false, false);
    let keep = |character: &char| {
        match character {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = is_text,
            '"' => is_text = !is_text,
            _ => {}
        }
        is_text || !character.is_ascii_whitespace()
    };
    json.chars().filter(keep).collect()
}

/// Reads an object without a loss of order or repeated keys.
struct JsonFields;

impl<'de> Visitor<'de> for JsonFields {
    type Value = Vec<(String, &'de RawValue)>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = map.next_entry()? {
            fields.push(field);
        }
        Ok(fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_texts_as_the_server_extracts_them() {
        // SELECT JSONExtract('["a",1,null,true,{"b":1, "c" : [1 , "x \"y"]},[1]]', 'Array(String)')
        let items = json_list(br#"["a",1,null,true,{"b":1, "c" : [1 , "x \"y"]},[1]]"#).expect("a list");
        assert_eq!(items, ["a", "1", "", "true", r#"{"b":1,"c":[1,"x \"y"]}"#, "[1]"]);
        // SELECT JSONExtract('{"b":1,"a":"x","b":null}', 'Map(String, String)')
        let fields = json_map(br#" {"b":1,"a":"x","b":null} "#).expect("an object");
        let fields: Vec<_> = fields.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        assert_eq!(fields, [("b", "1"), ("a", "x"), ("b", "")]);
        for text in ["", "x", "5", "null", "[1", "[1] x", "{}", r#""[]""#] {
            assert_eq!(json_list(text.as_bytes()), None, "{text}");
        }
        for text in ["", "[]", "null", "{", "{} x", r#"{"a"}"#] {
            assert_eq!(json_map(text.as_bytes()), None, "{text}");
        }
    }
}
