//! Report of faults with the quoted lines of the file, for people.

use std::path::Path;

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};

use super::source_text::{Fault, QuotedLine};
use super::{file_name, heading};
use crate::visible::{visible, visible_line};

/// Style of quoted lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum QuoteStyle {
    Plain,
    /// With escape sequences of a terminal.
    Coloured,
}

/// Formats a heading and each fault with its line, where the line has no secret.
pub(crate) fn quote(path: Option<&Path>, faults: &[Fault], style: QuoteStyle) -> String {
    let renderer = match style {
        QuoteStyle::Plain => Renderer::plain(),
        QuoteStyle::Coloured => Renderer::styled(),
    };
    let name = file_name(path);
    let mut text = visible(&heading(path, faults)).into_owned();
    for fault in faults {
        text.push_str("\n\n");
        // The library shows control characters as symbols, except C1.
        text.push_str(&c1_hidden(&renderer.render(&[group(&name, fault)])));
    }
    text
}

fn group<'f>(name: &'f str, fault: &'f Fault) -> Group<'f> {
    let Some(QuotedLine { text, marked }) = &fault.quote else {
        let origin = Origin::path(name).line(fault.line);
        return Level::ERROR.primary_title(fault.to_string()).element(origin);
    };
    let title = match fault.key.as_str() {
        "" => format!("line {}", fault.line),
        key => format!("line {}: {key}", fault.line),
    };
    // A label has one line.
    let label = visible_line(&fault.problem.replace('\n', " ")).into_owned();
    let annotation = AnnotationKind::Primary.span(marked.clone()).label(label);
    let snippet = Snippet::source(text).line_start(fault.line).path(name).annotation(annotation);
    Level::ERROR.primary_title(title).element(snippet)
}

fn c1_hidden(text: &str) -> String {
    text.replace(|character: char| matches!(character, '\u{80}'..='\u{9f}'), "\u{fffd}")
}
