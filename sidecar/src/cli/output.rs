//! Output of results as JSON, lines, or aligned tables.
//!
//! Control characters of names and errors from outside are written visibly.

use std::io::{ErrorKind, IsTerminal, Write, stdout};

use serde::Serialize;

use super::logs::LogFormat;
use crate::visible::{visible, visible_line};

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
        self.print_painted(result, |result| visible(&text(result)).into_owned())
    }

    /// Like [`Output::print`], for a text with colours. `text` makes the rest of it [`visible`].
    pub(super) fn print_painted<T: Serialize>(
        self,
        result: &T,
        text: impl FnOnce(&T) -> String,
    ) -> anyhow::Result<()> {
        let mut shown = match self.json {
            true => visible(&serde_json::to_string_pretty(result)?).into_owned(),
            false => text(result),
        };
        if !shown.ends_with('\n') {
            shown.push('\n');
        }
        print(&shown)
    }
}

/// Returns the visible text in a colour, on a terminal without NO_COLOR.
pub(super) fn painted(text: &str, colour: &str) -> String {
    let text = visible(text);
    if stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none() {
        format!("\x1b[{colour}m{text}\x1b[0m")
    } else {
        text.into_owned()
    }
}

fn print(text: &str) -> anyhow::Result<()> {
    match stdout().lock().write_all(text.as_bytes()) {
        // The reader has closed the pipe, as `head` does.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}

/// Formats rows with columns as wide as their widest cell; the first row is the heading.
pub(super) fn table(rows: &[Vec<String>]) -> String {
    let rows: Vec<Vec<_>> =
        rows.iter().map(|row| row.iter().map(|cell| visible_line(cell)).collect()).collect();
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
    for row in &rows {
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
        let forged = [vec!["a\nall nodes match".to_owned(), "\u{1b}[2Jb".to_owned()]];
        assert_eq!(table(&forged), "a\\nall nodes match  \\u001b[2Jb\n");
    }
}
