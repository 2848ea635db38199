//! Parsing of a table's definition as `formatQuery` writes it.
//!
//! The desired and the observed definition pass through the `formatQuery` of the same server.
//! Therefore no SQL parser is needed, and a different spelling is never a difference.

use std::collections::BTreeMap;

/// A `CREATE` statement in parts that compare letter by letter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Definition {
    /// The first line, for example `CREATE TABLE posthog.events`.
    pub(crate) head: String,
    /// Columns, indexes, projections and constraints in order. The key is `` `name` `` or
    /// `INDEX name`, the value the whole item.
    pub(crate) items: Vec<(String, String)>,
    /// The clauses after the columns, by keyword: `ENGINE`, `PARTITION BY`, `ORDER BY`, `AS` ….
    pub(crate) clauses: BTreeMap<String, String>,
    pub(crate) settings: BTreeMap<String, String>,
}

/// Keywords at which `formatQuery` begins a line. The last two start a view's query, kept
/// as one text.
const KEYWORDS: [&str; 10] = [
    "ENGINE",
    "PARTITION BY",
    "PRIMARY KEY",
    "ORDER BY",
    "SAMPLE BY",
    "TTL",
    "SETTINGS",
    "COMMENT",
    "AS SELECT",
    "AS WITH",
];
/// Keywords that start a view's query.
const QUERIES: &[&str] = &["AS SELECT", "AS WITH"];

impl Definition {
    /// Parses output of `formatQuery`. Text of another shape gives a definition that differs from
    /// any desired one.
    pub(super) fn parse(formatted: &str) -> Self {
        let mut lines = formatted.lines().peekable();
        let mut definition = Self { head: lines.next().unwrap_or_default().to_owned(), ..Self::default() };
        if lines.next_if_eq(&"(").is_some() {
            let inside: Vec<&str> = lines.by_ref().take_while(|line| !line.starts_with(')')).collect();
            definition.items = items(&inside);
        }
        let mut current: Option<(String, String)> = None;
        for line in lines {
            let keyword = KEYWORDS.iter().find(|keyword| line.starts_with(**keyword));
            match (&mut current, keyword) {
                // All lines after its start belong to the view's query, including its own SETTINGS
                // and ORDER BY.
                (Some((name, text)), _) if QUERIES.contains(&name.as_str()) => extend(text, line),
                (Some((_, text)), None) => extend(text, line),
                (_, Some(keyword)) => {
                    definition.close(current.replace(((*keyword).to_owned(), line.to_owned())));
                }
                (None, None) => definition.close(Some((line.to_owned(), line.to_owned()))),
            }
        }
        definition.close(current);
        definition
    }

    fn close(&mut self, clause: Option<(String, String)>) {
        match clause {
            Some((name, text)) if name == "SETTINGS" => self.settings = settings(&text),
            Some((name, text)) => _ = self.clauses.insert(name, text),
            None => {}
        }
    }

    /// The query of a view; empty for a table.
    pub(super) fn query(&self) -> &str {
        QUERIES.iter().find_map(|keyword| self.clauses.get(*keyword)).map_or("", String::as_str)
    }

    /// Whether it is a table whose engine stores rows.
    pub(super) fn holds_rows(&self) -> bool {
        const OTHERS: [&str; 4] = ["Distributed", "Kafka", "Null", "Merge"];
        let engine = self.clauses.get("ENGINE").and_then(|clause| clause.strip_prefix("ENGINE = "));
        let name = engine.map(|engine| engine.split('(').next().unwrap_or_default().trim());
        name.is_some_and(|name| !OTHERS.contains(&name))
    }

    pub(super) fn item(&self, key: &str) -> Option<&str> {
        self.items.iter().find_map(|(name, item)| (name == key).then_some(item.as_str()))
    }
}

fn extend(text: &mut String, line: &str) {
    text.push('\n');
    text.push_str(line);
}

/// An item begins at four spaces. Deeper lines and the brackets of a projection belong to the
/// item before.
fn items(lines: &[&str]) -> Vec<(String, String)> {
    let mut items: Vec<String> = Vec::new();
    for line in lines {
        let text = line.strip_suffix(',').unwrap_or(line);
        match (text.strip_prefix("    ").unwrap_or(text), items.last_mut()) {
            (bracket @ ("(" | ")"), Some(item)) => extend(item, bracket),
            (deeper, Some(item)) if deeper.starts_with(' ') => extend(item, line),
            (item, _) if !item.is_empty() => items.push(item.to_owned()),
            _ => {}
        }
    }
    items.into_iter().map(|item| (item_key(&item), item)).collect()
}

/// `` `a b` `` of `` `a b` String ``, `INDEX x` of `INDEX x y TYPE minmax`.
fn item_key(item: &str) -> String {
    if let Some((name, _)) = item.strip_prefix('`').and_then(|rest| rest.split_once('`')) {
        return format!("`{name}`");
    }
    item.split_whitespace().take(2).collect::<Vec<_>>().join(" ")
}

/// Parses `SETTINGS a = 1, b = 'x, y'`; a comma inside quotes does not separate.
fn settings(text: &str) -> BTreeMap<String, String> {
    let mut settings = BTreeMap::new();
    let mut quoted = false;
    let parts = text.trim_start_matches("SETTINGS").split(|character| {
        quoted ^= character == '\'';
        character == ',' && !quoted
    });
    for (name, value) in parts.filter_map(|part| part.split_once('=')) {
        settings.insert(name.trim().to_owned(), value.trim().to_owned());
    }
    settings
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `SELECT formatQuery(create_table_query) FROM system.tables WHERE name = 'sharded_events'` on
    /// 26.7, shortened.
    const TABLE: &str = "CREATE TABLE posthog.sharded_events
(
    `uuid` UUID,
    `timestamp` DateTime64(6, 'UTC'),
    `mat_$current_url` String MATERIALIZED replaceRegexpAll(JSONExtractRaw(properties, '$current_url'), '^\"|\"$', ''),
    INDEX minmax_timestamp _timestamp TYPE minmax GRANULARITY 3
)
ENGINE = ReplacingMergeTree(_timestamp)
PARTITION BY clamp(toYYYYMM(timestamp), 202001, 203512)
ORDER BY (team_id, toDate(timestamp), event, cityHash64(distinct_id), cityHash64(uuid))
SAMPLE BY cityHash64(distinct_id)
SETTINGS index_granularity = 8192, storage_policy = 'a, b'";

    #[test]
    fn a_table_comes_apart_in_items_clauses_and_settings() {
        let table = Definition::parse(TABLE);
        let keys: Vec<&str> = table.items.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(keys, ["`uuid`", "`timestamp`", "`mat_$current_url`", "INDEX minmax_timestamp"]);
        assert_eq!(table.item("`timestamp`"), Some("`timestamp` DateTime64(6, 'UTC')"));
        assert_eq!(table.clauses["ENGINE"], "ENGINE = ReplacingMergeTree(_timestamp)");
        assert_eq!(table.clauses.len(), 4);
        assert_eq!(table.settings["index_granularity"], "8192");
        assert_eq!(table.settings["storage_policy"], "'a, b'");
    }

    #[test]
    fn keeps_a_projection_as_one_item() {
        let table = "CREATE TABLE a.t\n(\n    `a` String,\n    CONSTRAINT c CHECK length(a) < 100,\n    PROJECTION p\n    (\n        SELECT\n            a,\n            count()\n        GROUP BY a\n    ),\n    PROJECTION q\n    (\n        SELECT a\n    )\n)\nENGINE = MergeTree";
        let table = Definition::parse(table);
        let keys: Vec<&str> = table.items.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(keys, ["`a`", "CONSTRAINT c", "PROJECTION p", "PROJECTION q"]);
        assert!(table.item("PROJECTION p").is_some_and(|item| item.ends_with("GROUP BY a\n)")));
    }

    #[test]
    fn a_views_query_is_one_clause() {
        let view = "CREATE MATERIALIZED VIEW a.v TO a.t\n(\n    `x` UInt8\n)\nAS SELECT x\nFROM\n(\n    SELECT 1 AS x\n)\nORDER BY x\nSETTINGS max_threads = 1";
        let view = Definition::parse(view);
        assert_eq!(view.head, "CREATE MATERIALIZED VIEW a.v TO a.t");
        assert_eq!(view.clauses.keys().collect::<Vec<_>>(), ["AS SELECT"]);
        assert!(view.clauses["AS SELECT"].ends_with("ORDER BY x\nSETTINGS max_threads = 1"));
    }

    #[test]
    fn text_of_another_shape_does_not_panic() {
        for text in ["", "(", ")", "x\n(\n", "x\n(\n,\n`\n    `a\n)\nSETTINGS\nSETTINGS ,=,'"] {
            let _ = Definition::parse(text);
        }
    }
}
