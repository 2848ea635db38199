//! Hostile texts in a config, which are refused or stay one literal or name of a statement.

use std::path::Path;

use super::super::*;
use crate::config::{Config, ConfigError};

/// A word that no statement has of its own.
const MARKER: &str = "zqx";
/// Texts that would end a literal, a name, a comment or a template early.
const HOSTILE: &[&str] = &[
    "x') zqx --",
    "x''zqx",
    "x\\') zqx --",
    "zqx\\",
    "x` zqx --",
    "x`, `zqx",
    "x\") zqx --",
    "x\nzqx",
    "x -- \n zqx",
    "*/ zqx /*",
    "x; DROP TABLE zqx",
    "{{ 7 * 191 }} zqx",
    "{% for a in [1] %}zqx{% endfor %}",
    "{zqx:Identifier}",
    "$zqx$",
    "$$ zqx $$",
    "$ zqx",
    "zqx\u{202e}\u{2028}",
    "ｚ'zqx ünïcödé 👩‍🚀",
    "\0zqx",
];
/// Keys whose values are SQL of the config's author.
const SQL_KEYS: [&str; 4] = ["expression", "type", "codec", "index"];

/// A config that uses every section with statements.
const CONFIG: &str = r#"
database = "posthog"
cluster = "posthog"
[[shards]]
weight = 1
[[shards.replicas]]
name = "ch1"
url = "http://a:8123"
address = "a:9000"
[kafka]
brokers = ["b:1"]
named_collection = "brokers"
[events]
profile = "posthog"
topic = "events"
group = "events"
keeper_path = "/posthouse/events"
[[events.columns]]
name = "score"
type = "Float64"
path = ["context", "score"]
comment = "a comment"
[[events.columns]]
name = "mode"
type = "Nullable(Enum8('x' = 1))"
invalid = "default"
[[events.materialized]]
name = "mat_browser"
property = "$browser"
source = "properties"
comment = "column_materializer::browser"
[persons]
topic = "person"
distinct_id_topic = "distinct_id"
group = "persons"
"#;

/// The parts of a statement outside of literals, quoted names and comments.
fn bare(sql: &str) -> String {
    let (mut bare, mut rest) = (String::new(), sql);
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '\'' | '`' | '"' => quoted_length(rest, first),
            _ if rest.starts_with("--") => rest.find('\n').unwrap_or(rest.len()),
            _ if rest.starts_with("/*") => rest.find("*/").expect("the comment ends") + 2,
            _ => {
                bare.push(first);
                first.len_utf8()
            }
        };
        rest = &rest[length..];
    }
    bare
}

/// The bytes of a quoted text, as ClickHouse's lexer reads it: with escapes and doubled quotes.
fn quoted_length(text: &str, quote: char) -> usize {
    let mut characters = text.char_indices().skip(1).peekable();
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => _ = characters.next(),
            _ if character == quote && characters.peek().is_some_and(|(_, next)| *next == quote) => {
                _ = characters.next();
            }
            _ if character == quote => return at + 1,
            _ => {}
        }
    }
    panic!("{quote} is not closed: {text}");
}

/// The positions of the strings of a TOML text, without their quotes.
fn strings(text: &str) -> Vec<std::ops::Range<usize>> {
    let quotes: Vec<usize> = text.match_indices('"').map(|(at, _)| at).collect();
    quotes.chunks(2).map(|pair| pair[0] + 1..pair[1]).collect()
}

fn key_at(at: usize) -> &'static str {
    let line = CONFIG[..at].rsplit('\n').next().unwrap_or_default();
    line.split(' ').next().unwrap_or_default()
}

#[test]
fn hostile_texts_are_refused_or_stay_in_their_quotes() {
    let (mut refused, mut kept) = (0, Vec::new());
    for span in strings(CONFIG) {
        let key = key_at(span.start);
        for hostile in HOSTILE {
            let written = toml::Value::String((*hostile).to_owned()).to_string();
            let text = format!("{}{written}{}", &CONFIG[..span.start - 1], &CONFIG[span.end + 1..]);
            let config = match Config::parse(&text, Path::new("")) {
                Ok(config) => config,
                Err(ConfigError::Faulty { .. }) => {
                    refused += 1;
                    continue;
                }
                Err(error) => panic!("{key} = {hostile:?}: {error}"),
            };
            for node in Node::all(&config).expect("nodes") {
                for Statement { sql, object } in render(&config, &node).expect("renders") {
                    let name = object.name;
                    let is_sql = SQL_KEYS.contains(&key);
                    assert!(is_sql || !bare(&sql).contains(MARKER), "{key} = {hostile:?} in {name}: {sql}");
                    assert!(!sql.contains("1337"), "{key} = {hostile:?} is a template in {name}: {sql}");
                    if sql.contains(hostile) {
                        kept.push((key, *hostile));
                    }
                }
            }
        }
    }
    assert!(refused > 100, "{refused} refused");
    for wanted in ["property", "comment"] {
        assert!(kept.contains(&(wanted, "{{ 7 * 191 }} zqx")), "{wanted} is not literal: {kept:?}");
    }
}

#[test]
fn the_lexer_of_this_test_tells_quoted_texts_apart() {
    assert_eq!(bare("SELECT 'a''b\\'c', `d\\``, \"e\" -- f\n/* g */ h"), "SELECT , ,  \n h");
}
