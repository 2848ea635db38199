//! Former names of config keys, which are read with a warning.

use std::borrow::Cow;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::source_text::{FaultSpan, SourceText};

/// Former names of `posthouse.toml`'s keys, valid until version 1.0.
pub(super) const RENAMED: &[RenamedKey] = &[
    RenamedKey::new("clickhouse", "timeout_s", "timeout").unit("s"),
    RenamedKey::new("shards[].replicas[]", "user_scripts", "user_scripts_path"),
    RenamedKey::new("shards[].replicas[]", "functions", "functions_config_file"),
    RenamedKey::new("kafka", "topics", "topics_file"),
    RenamedKey::new("events", "poll_timeout_ms", "poll_timeout").unit("ms"),
    RenamedKey::new("persons", "flush_ms", "flush_interval").unit("ms"),
    RenamedKey::new("persons.postgres", "lag_limit_mib", "max_slot_lag").unit("MiB"),
    RenamedKey::new("persons", "postgres.audit", "audit.mode"),
    RenamedKey::new("persons", "postgres.audit_period_s", "audit.interval").unit("s"),
    RenamedKey::new("", "daemon.topics", "topics.reconcile"),
    RenamedKey::new("", "daemon.topics_period_s", "topics.interval").unit("s"),
];

type KeyAndValue<'t> = (Spanned<Cow<'t, str>>, Spanned<DeValue<'t>>);

/// A key with a former name.
pub(crate) struct RenamedKey {
    /// Path of the table that has both keys, or the tables of both; `[]` for each item of a list.
    within: &'static str,
    /// Former path below `within`.
    old: &'static str,
    new: &'static str,
    /// Unit of an integer under the former name. It becomes part of the value's text.
    unit: Option<&'static str>,
}

impl RenamedKey {
    const fn new(within: &'static str, old: &'static str, new: &'static str) -> Self {
        Self { within, old, new, unit: None }
    }

    const fn unit(self, unit: &'static str) -> Self {
        Self { unit: Some(unit), ..self }
    }

    /// Moves the value to the new key, with a warning. A file that has both keys is at fault.
    pub(super) fn rename<'t>(&self, source: &SourceText<'t>, top: &mut DeTable<'t>) {
        self.descend(source, top, self.within, String::new());
    }

    fn descend<'t>(&self, source: &SourceText<'t>, table: &mut DeTable<'t>, within: &str, path: String) {
        if within.is_empty() {
            return self.rename_in(source, table, &path);
        }
        let (step, rest) = within.split_once('.').unwrap_or((within, ""));
        let name = step.trim_end_matches("[]");
        let path = format!("{path}{name}");
        let Some(value) = table.get_mut(name) else { return };
        match value.get_mut() {
            DeValue::Table(inner) if !step.ends_with("[]") => {
                self.descend(source, inner, rest, format!("{path}."));
            }
            DeValue::Array(items) if step.ends_with("[]") => {
                for (index, item) in items.iter_mut().enumerate() {
                    if let DeValue::Table(inner) = item.get_mut() {
                        self.descend(source, inner, rest, format!("{path}[{}].", index + 1));
                    }
                }
            }
            // The reader reports the wrong shape.
            _ => {}
        }
    }

    fn rename_in<'t>(&self, source: &SourceText<'t>, table: &mut DeTable<'t>, path: &str) {
        let Some((key, mut value)) = take(table, self.old) else { return };
        if let (Some(unit), DeValue::Integer(number)) = (self.unit, value.get_ref()) {
            let text = format!("{number}{unit}");
            *value.get_mut() = DeValue::String(Cow::Owned(text));
        }
        let (old, new) = (format!("{path}{}", self.old), format!("{path}{}", self.new));
        if holds(table, self.new) {
            let problem = format!("is the former name of {new}, which is in the file too: remove one");
            return source.report(FaultSpan::Key(key.span()), old, None, problem);
        }
        let shown = value.get_ref().as_str().map_or_else(String::new, |text| format!(" = {text:?}"));
        let problem = format!("is now {new}: write {new}{shown}");
        source.warn(key.span().start, old, problem);
        put(table, self.new, key.span(), value);
    }
}

fn take<'t>(table: &mut DeTable<'t>, path: &str) -> Option<KeyAndValue<'t>> {
    match path.split_once('.') {
        None => table.remove_entry(path),
        Some((step, rest)) => match table.get_mut(step)?.get_mut() {
            DeValue::Table(inner) => take(inner, rest),
            _ => None,
        },
    }
}

fn holds(table: &DeTable<'_>, path: &str) -> bool {
    match path.split_once('.') {
        None => table.contains_key(path),
        Some((step, rest)) => {
            let inner = table.get(step).and_then(|value| value.get_ref().as_table());
            inner.is_some_and(|inner| holds(inner, rest))
        }
    }
}

/// Adds a value and the tables on its path. A table that is another kind of value stays, and the
/// reader reports it.
fn put<'t>(table: &mut DeTable<'t>, path: &'static str, span: Range<usize>, value: Spanned<DeValue<'t>>) {
    let key = |name: &'static str| Spanned::new(span.clone(), Cow::Borrowed(name));
    match path.split_once('.') {
        None => drop(table.insert(key(path), value)),
        Some((step, rest)) => {
            if !table.contains_key(step) {
                table.insert(key(step), Spanned::new(span.clone(), DeValue::Table(DeTable::new())));
            }
            if let Some(DeValue::Table(inner)) = table.get_mut(step).map(Spanned::get_mut) {
                put(inner, rest, span, value);
            }
        }
    }
}
