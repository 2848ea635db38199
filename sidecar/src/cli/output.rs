//! Output of results as JSON, lines, or aligned tables.

use std::io::{ErrorKind, Write, stdout};

use serde::Serialize;

use super::logs::LogFormat;

/// Spaces between two columns.
const GAP: usize = 2;

/// Formats of the results on stdout and of the error on stderr.
#[derive(Debug, Clone, Copy)]
pub(super) struct Output {
    /// One JSON document instead of text.
    pub(super) json: bool,
    /// Format of the logs, which an error without `json` follows.
    pub(super) logs: LogFormat,
}

impl Output {
    /// Prints `result` as JSON if requested, else the text that `text` formats.
    pub(super) fn print<T: Serialize>(
        self,
        result: &T,
        text: impl FnOnce(&T) -> String,
    ) -> anyhow::Result<()> {
        let mut shown = if self.json { serde_json::to_string_pretty(result)? } else { text(result) };
        if !shown.ends_with('\n') {
            shown.push('\n');
        }
        print(&shown)
    }
}

/// Prints a text unchanged.
pub(super) fn print(text: &str) -> anyhow::Result<()> {
    match stdout().lock().write_all(text.as_bytes()) {
        // The reader has closed the pipe, as `head` does.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}

/// Formats rows with columns as wide as their widest cell; the first row is the heading.
pub(super) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or_default()
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}{:GAP$}", ""));
        text.push_str(cells.collect::<String>().trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["node", "state"], ["ch-é", "new"], ["ch10-long", ""]];
        let rows: Vec<Vec<String>> =
            rows.iter().map(|row| row.iter().map(ToString::to_string).collect()).collect();
        assert_eq!(table(&rows), "node       state\nch-é       new\nch10-long\n");
        assert_eq!(table(&[]), "");
    }
}
