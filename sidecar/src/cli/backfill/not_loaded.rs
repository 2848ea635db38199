//! Columns that a load fills, leaves at their default, or leaves out: one line for each.

use crate::backfill::plan::{ExtraSummary, Summary, UnreadColumn};

/// Names in a line; `--json` has all.
const MAX_NAMES: usize = 20;
/// Characters of a name in a line.
const MAX_NAME_CHARS: usize = 80;

/// Warns once of all columns that are not loaded.
pub(super) fn warn(summary: &Summary) {
    if !summary.not_loaded.is_empty() {
        let columns = text(&summary.not_loaded, summary.files);
        tracing::warn!(columns = %columns, "columns of the files are not loaded");
    }
}

/// Formats columns of the schema beyond the core, in some of `files` files.
pub(super) fn extras(columns: &[ExtraSummary], files: usize) -> String {
    if columns.is_empty() {
        return "none".to_owned();
    }
    let groups = columns.chunk_by(|one, next| (one.files, &one.problem) == (next.files, &next.problem));
    let groups = groups.map(|group| {
        let (count, problem) =
            group.first().map_or((0, None), |column| (column.files, column.problem.as_deref()));
        let names: Vec<String> = group.iter().map(|column| name(&column.column)).collect();
        let problem = problem.map_or_else(String::new, |problem| format!("; {problem}"));
        format!("{} ({}{problem})", names.join(", "), of_files(count, files))
    });
    groups.collect::<Vec<_>>().join(", ")
}

/// Formats the columns that the mapping does not read in some of `files` files.
pub(super) fn text(unread: &[UnreadColumn], files: usize) -> String {
    if unread.is_empty() {
        return "none: the mapping reads all columns".to_owned();
    }
    let shown = unread.get(..MAX_NAMES).unwrap_or(unread);
    let groups = shown.chunk_by(|one, next| one.files == next.files).map(|group| {
        let count = group.first().map_or(0, |column| column.files);
        format!("{} ({})", names(group), of_files(count, files))
    });
    let mut text = groups.collect::<Vec<_>>().join(", ");
    if unread.len() > shown.len() {
        text.push_str(&format!(", and {} more (--json has all)", unread.len() - shown.len()));
    }
    text + &remark(unread)
}

/// Says which of the columns the schema has. They come first.
fn remark(unread: &[UnreadColumn]) -> String {
    let end = unread.iter().take_while(|column| column.in_schema).count();
    let in_schema = unread.get(..end).unwrap_or(unread);
    let shown = in_schema.get(..MAX_NAMES).unwrap_or(in_schema);
    let more = match in_schema.len() - shown.len() {
        0 => String::new(),
        more => format!(", and {more} more"),
    };
    let problem = match in_schema.len() {
        0 => return String::new(),
        1 => "the schema has this column, but the load does not fill it",
        _ => "the schema has these columns, but the load does not fill them",
    };
    format!("; {}{more}: {problem}", names(shown))
}

fn of_files(count: usize, files: usize) -> String {
    match (count, files) {
        (1, 1) => "1 file".to_owned(),
        (count, files) if count == files => format!("{files} files"),
        (count, files) => format!("{count} of {files} files"),
    }
}

fn names(columns: &[UnreadColumn]) -> String {
    columns.iter().map(|column| name(&column.column)).collect::<Vec<_>>().join(", ")
}

/// Shortens a name, and quotes it unless it is a plain word.
fn name(column: &str) -> String {
    let short: String = column.chars().take(MAX_NAME_CHARS).collect();
    let dots = if short.len() < column.len() { "…" } else { "" };
    let is_plain = short.escape_debug().eq(short.chars()) && !short.contains([' ', ',', ';', ':']);
    if is_plain && !short.is_empty() { format!("{short}{dots}") } else { format!("{short:?}{dots}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unread(column: &str, files: usize, in_schema: bool) -> UnreadColumn {
        UnreadColumn { column: column.to_owned(), files, in_schema }
    }

    #[test]
    fn groups_columns_by_their_files() {
        let columns = [
            unread("person_id", 12, false),
            unread("person_properties", 12, false),
            unread("extra", 1, false),
        ];
        assert_eq!(text(&columns, 12), "person_id, person_properties (12 files), extra (1 of 12 files)");
        assert_eq!(text(&columns[2..], 1), "extra (1 file)");
        assert_eq!(text(&[], 12), "none: the mapping reads all columns");
    }

    #[test]
    fn names_columns_of_the_schema_once_more() {
        let columns = [unread("person_id", 2, true), unread("extra", 2, false)];
        let expected = "person_id, extra (2 files); person_id: the schema has this column, but the load does not fill it";
        assert_eq!(text(&columns, 2), expected);
        let both = [unread("a", 1, true), unread("b", 1, true)];
        let expected = "a, b (1 file); a, b: the schema has these columns, but the load does not fill them";
        assert_eq!(text(&both, 1), expected);
    }

    #[test]
    fn stays_short_for_many_and_long_names() {
        let columns: Vec<_> =
            (0..5_000).map(|number| unread(&format!("{number:0>9000}"), 3, number < 30)).collect();
        let line = text(&columns, 3);
        assert!(line.contains("… (3 files), and 4980 more (--json has all); 000"), "{line}");
        assert!(line.contains("…, and 10 more: the schema has these columns"), "{line}");
        assert!(line.chars().count() < 4_000, "{line}");
    }

    #[test]
    fn groups_columns_of_the_schema_by_files_and_problem() {
        let column = |column: &str, files, problem: Option<&str>| {
            let problem = problem.map(str::to_owned);
            ExtraSummary { column: column.to_owned(), files, problem }
        };
        let columns =
            [column("a", 2, None), column("b", 2, None), column("c", 1, None), column("d", 2, Some("x"))];
        assert_eq!(extras(&columns, 2), "a, b (2 files), c (1 of 2 files), d (2 files; x)");
        assert_eq!(extras(&[], 2), "none");
    }

    #[test]
    fn quotes_names_that_are_no_plain_word() {
        assert_eq!(name("$group_0.é"), "$group_0.é");
        assert_eq!(name("a\u{1b}[2J, b"), r#""a\u{1b}[2J, b""#);
        assert_eq!(name(""), "\"\"");
    }
}
