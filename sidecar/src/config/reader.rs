//! Reader of TOML tables that collects every fault with its line.
//!
//! serde stops at the first fault. Delete this when a library reports all faults of a file at once,
//! each with its line, also those across several keys.

use std::collections::BTreeMap;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::renamed::RenamedKey;
use super::source_text::{Fault, FaultSpan, SourceText};

/// Minimum similarity (Jaro-Winkler, 0 to 1) of a known key for it to be suggested. One or two
/// wrong letters reach it, an unrelated word does not.
const DID_YOU_MEAN: f64 = 0.85;

/// Converts a value, or returns the hint for a corrected one.
pub(crate) trait Rule<T>: Fn(&DeValue<'_>) -> Result<T, String> {}
impl<T, F: Fn(&DeValue<'_>) -> Result<T, String>> Rule<T> for F {}

/// Parses `text` and reads it with `shape`. Any fault makes the result an error.
///
/// Where the text is not TOML, these faults are reported together with the faults in the readable
/// rest. Keys are not reported as missing then, because they may be in the unreadable part.
pub(crate) fn read<T>(
    text: &str,
    shape: impl FnOnce(&mut ConfigTable<'_>) -> Option<T>,
) -> Result<T, Vec<Fault>> {
    read_renamed(text, &[], shape).map(|(value, _)| value)
}

/// Like [`read`], for a file whose keys may have the former names of `renamed`. Returns a warning
/// for each of them.
pub(super) fn read_renamed<T>(
    text: &str,
    renamed: &[RenamedKey],
    shape: impl FnOnce(&mut ConfigTable<'_>) -> Option<T>,
) -> Result<(T, Vec<Fault>), Vec<Fault>> {
    let (mut document, errors) = DeTable::parse_recoverable(text);
    let source = SourceText::new(text, !errors.is_empty());
    for error in &errors {
        let at = error.span().map_or(FaultSpan::File, FaultSpan::Syntax);
        let problem = format!("{}: correct the TOML here", error.message());
        source.report(at, String::new(), None, problem);
    }
    for key in renamed {
        key.rename(&source, document.get_mut());
    }
    let mut top = ConfigTable::new(&source, document.get_ref(), String::new(), FaultSpan::File);
    let value = shape(&mut top);
    top.report_unknown();
    let faults = source.quoted_faults();
    match value {
        Some(value) if faults.is_empty() => Ok((value, source.warnings.into_inner())),
        _ => Err(faults),
    }
}

/// One table of the file. It records the keys that were read, so that other keys are
/// reported as unknown.
pub(crate) struct ConfigTable<'s> {
    source: &'s SourceText<'s>,
    entries: &'s DeTable<'s>,
    path: String,
    /// Beginning of the table, or of the table around an absent one.
    at: FaultSpan,
    asked: Vec<String>,
}

impl<'s> ConfigTable<'s> {
    fn new(source: &'s SourceText<'s>, entries: &'s DeTable<'s>, path: String, at: FaultSpan) -> Self {
        Self { source, entries, path, at, asked: Vec::new() }
    }

    /// Returns the value of an optional key.
    pub(crate) fn optional<T>(&mut self, key: &str, rule: impl Rule<T>) -> Option<T> {
        let value = self.ask(key)?;
        rule(value.get_ref()).map_err(|problem| self.fault(key, problem)).ok()
    }

    /// Returns the value of a key, or `default` if it is absent or faulty. A fault is reported.
    pub(crate) fn or<T>(&mut self, key: &str, default: impl Into<T>, rule: impl Rule<T>) -> T {
        self.optional(key, rule).unwrap_or_else(|| default.into())
    }

    /// Returns the value of a required key; the report of an absent key shows `example`.
    pub(crate) fn required<T>(&mut self, key: &str, example: &str, rule: impl Rule<T>) -> Option<T> {
        let value = self.optional(key, rule);
        if !self.holds(key) {
            self.missing(key, &format!("{key} = {example}"));
        }
        value
    }

    /// Reads a table inside this one. If it is absent, `shape` reads an empty table and so
    /// yields defaults.
    pub(crate) fn section<T>(&mut self, key: &str, shape: impl FnOnce(&mut ConfigTable<'_>) -> T) -> T {
        let empty = DeTable::new();
        let entries = self.ask(key).and_then(|value| self.as_table(key, value));
        let (entries, at) = entries.unwrap_or((&empty, self.at.clone()));
        let mut table = ConfigTable::new(self.source, entries, self.key_path(key), at);
        let value = shape(&mut table);
        table.report_unknown();
        value
    }

    /// Reads a list of tables (`[[key]]`), in the order of the file; an absent list is empty.
    pub(crate) fn list<T>(&mut self, key: &str, mut shape: impl FnMut(&mut ConfigTable<'_>) -> T) -> Vec<T> {
        let Some(value) = self.ask(key) else { return Vec::new() };
        let Some(items) = value.get_ref().as_array() else {
            self.fault(key, format!("give a list of tables, each begun with [[{}]]", self.key_path(key)));
            return Vec::new();
        };
        let mut read = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            let path = format!("{}[{}]", self.key_path(key), index + 1);
            let at = FaultSpan::Value(item.span());
            let Some(entries) = item.get_ref().as_table() else {
                let problem = format!("give a table, begun with [[{}]]", self.key_path(key));
                self.source.report(at, path, self.source.shown(key, item.span()), problem);
                continue;
            };
            let mut table = ConfigTable::new(self.source, entries, path, at);
            read.push(shape(&mut table));
            table.report_unknown();
        }
        read
    }

    /// Reads a table whose keys are names of the user's choice, with `shape` for the table of each.
    pub(crate) fn named<T>(
        &mut self,
        key: &str,
        mut shape: impl FnMut(&str, &mut ConfigTable<'_>) -> T,
    ) -> Vec<T> {
        let Some((entries, _)) = self.ask(key).and_then(|value| self.as_table(key, value)) else {
            return Vec::new();
        };
        let outer = ConfigTable::new(self.source, entries, self.key_path(key), self.at.clone());
        let mut read = Vec::with_capacity(entries.len());
        for (name, value) in entries {
            let name = name.get_ref().as_ref();
            let Some((inner, at)) = outer.as_table(name, value) else { continue };
            let mut table = ConfigTable::new(self.source, inner, outer.key_path(name), at);
            read.push(shape(name, &mut table));
            table.report_unknown();
        }
        read
    }

    /// Reads a table of free names and values that all follow one rule; an absent table is empty.
    pub(crate) fn map<T>(&mut self, key: &str, rule: impl Rule<T>) -> BTreeMap<String, T> {
        let Some((entries, at)) = self.ask(key).and_then(|value| self.as_table(key, value)) else {
            return BTreeMap::new();
        };
        let inner = ConfigTable::new(self.source, entries, self.key_path(key), at);
        let mut read = BTreeMap::new();
        for (name, value) in entries {
            let name = name.get_ref().as_ref();
            match rule(value.get_ref()) {
                Ok(value) => drop(read.insert(name.to_owned(), value)),
                Err(problem) => inner.fault(name, problem),
            }
        }
        read
    }

    /// Reports `key` of this table, on its own line with its value, or on the table's line if
    /// it is absent.
    pub(crate) fn fault(&self, key: &str, problem: impl Into<String>) {
        let (at, value) = match self.entries.get_key_value(key) {
            None => (self.at.clone(), None),
            Some((key, value)) if holds_tables(value.get_ref()) => (FaultSpan::Key(key.span()), None),
            Some((_, value)) => (FaultSpan::Value(value.span()), self.source.shown(key, value.span())),
        };
        self.source.report(at, self.key_path(key), value, problem.into());
    }

    /// Reports `key` without its value, which may have a secret.
    pub(crate) fn fault_unseen(&self, key: &str, problem: impl Into<String>) {
        let at = match self.entries.get_key_value(key) {
            None => self.at.clone(),
            Some((key, value)) => {
                self.source.hide(key.span().start..value.span().end);
                FaultSpan::Key(key.span())
            }
        };
        self.source.report(at, self.key_path(key), None, problem.into());
    }

    /// Warns about the value of a `key` that is present.
    pub(crate) fn warn(&self, key: &str, problem: impl Into<String>) {
        let at = self.entries.get_key_value(key).map_or(0, |(key, _)| key.span().start);
        self.source.warn(at, self.key_path(key), problem.into());
    }

    /// Whether `key` is present, valid or not.
    pub(crate) fn holds(&self, key: &str) -> bool {
        self.entries.get(key).is_some()
    }

    /// Whether `key` is present and a table, for keys that may also be a value.
    pub(crate) fn holds_table(&self, key: &str) -> bool {
        self.entries.get(key).is_some_and(|value| value.get_ref().is_table())
    }

    /// Reports this table itself, for example because of its name.
    pub(crate) fn refuse(&self, problem: String) {
        self.source.report(self.at.clone(), self.path.clone(), None, problem);
    }

    /// Reports that `key` is absent; `example` is the text to add.
    pub(crate) fn missing(&self, key: &str, example: &str) {
        if !self.source.broken {
            self.fault(key, format!("is required: add {example}"));
        }
    }

    /// Reports `key` if another table has the same value, and names that table. `seen` maps
    /// values to tables.
    pub(crate) fn unique(
        &self,
        seen: &mut BTreeMap<String, String>,
        key: &str,
        value: Option<&impl ToString>,
    ) {
        let Some(value) = value.map(ToString::to_string) else { return };
        if let Some(first) = seen.get(&value) {
            self.fault(key, format!("{first} has the same {key}: give each its own"));
        } else {
            seen.insert(value, self.path.clone());
        }
    }

    fn ask(&mut self, key: &str) -> Option<&'s Spanned<DeValue<'s>>> {
        self.asked.push(key.to_owned());
        self.source.know(key);
        self.entries.get(key)
    }

    fn as_table(&self, key: &str, value: &'s Spanned<DeValue<'s>>) -> Option<(&'s DeTable<'s>, FaultSpan)> {
        let table = value.get_ref().as_table();
        if table.is_none() {
            self.fault(key, format!("give a table, begun with [{}]", self.key_path(key)));
        }
        Some((table?, FaultSpan::Value(value.span())))
    }

    fn key_path(&self, key: &str) -> String {
        let bare = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
        let key = if bare { key.to_owned() } else { format!("{key:?}") };
        if self.path.is_empty() { key } else { format!("{}.{key}", self.path) }
    }

    /// Reports unknown keys without their values, because one of them may be a password.
    fn report_unknown(&self) {
        for (key, value) in self.entries {
            let name = key.get_ref().as_ref();
            if self.asked.iter().any(|asked| asked == name) {
                continue;
            }
            let problem = match most_alike(name, self.asked.iter().map(String::as_str)) {
                Some(known) => format!("is an unknown key, did you mean {known}?"),
                None => format!("is an unknown key: remove it (known here: {})", self.asked.join(", ")),
            };
            self.source.hide(key.span().start..value.span().end);
            self.source.report(FaultSpan::Key(key.span()), self.key_path(name), None, problem);
        }
    }
}

/// Returns the most similar name of `known`, if it is similar enough to `name` for a suggestion.
pub(crate) fn most_alike<'k>(name: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    let alike = known.map(|known| (strsim::jaro_winkler(name, known), known));
    let nearest = alike.max_by(|a, b| a.0.total_cmp(&b.0));
    nearest.filter(|(likeness, _)| *likeness >= DID_YOU_MEAN).map(|(_, known)| known)
}

/// Whether the value is a table or a list of tables. Its text is only a heading, so it
/// is not quoted.
fn holds_tables(value: &DeValue<'_>) -> bool {
    let tables = value.as_array().is_some_and(|items| items.iter().any(|item| item.get_ref().is_table()));
    tables || value.is_table()
}
