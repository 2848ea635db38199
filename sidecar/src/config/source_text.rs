//! The text of a config file, and the faults found in it.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;

/// Maximum number of characters quoted from a faulty value, so that each fault fits on one line.
const VALUE_SHOWN: usize = 60;
/// Longer lines are not quoted, so that many faults on one line take little memory.
const MAX_QUOTED_BYTES: usize = 1000;
/// Words of a text that may have a secret.
const SECRET_WORDS: [&str; 16] = [
    "password",
    "passwd",
    "passphrase",
    "pwd",
    "secret",
    "token",
    "credential",
    "bearer",
    "authorization",
    "apikey",
    "api_key",
    "api-key",
    "access_key",
    "accesskey",
    "signature",
    "-----begin",
];
/// Ending of keys whose values are programs with arguments.
const COMMAND: &str = "_command";
/// Ending of keys whose values are paths, which may be shown.
const FILE: &str = "_file";

/// One fault in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    /// Line of the file, counted from 1.
    pub(crate) line: usize,
    /// Path of the key from the top of the file; items of lists are counted from 1, like shards.
    /// Empty if the file is not TOML at this line.
    pub(crate) key: String,
    /// The value as written in the file, shortened. `None` if there is none, or if it may
    /// be a secret.
    pub(crate) value: Option<String>,
    /// Names the fault and the text to write instead.
    pub(crate) problem: String,
    /// The line of the file. `None` if the fault has no line, or if the line may have a secret.
    pub(crate) quote: Option<QuotedLine>,
}

/// A line of the file with a mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct QuotedLine {
    /// Without its newline. Ends with `…` after a key whose value may be a secret.
    pub(crate) text: String,
    /// Bytes of the text that are at fault.
    pub(crate) marked: Range<usize>,
}

impl Fault {
    /// A fault of the whole file.
    pub(super) fn of_file(problem: &str) -> Self {
        Self { line: 1, key: String::new(), value: None, problem: problem.to_owned(), quote: None }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: ", self.line)?;
        match (&self.value, self.key.is_empty()) {
            (_, true) => {}
            (Some(value), false) => write!(f, "{} = {value}: ", self.key)?,
            (None, false) => write!(f, "{}: ", self.key)?,
        }
        f.write_str(&self.problem)
    }
}

/// Position of a fault, and what its quote may show.
#[derive(Debug, Clone)]
pub(super) enum FaultSpan {
    /// A value of a known key, or the beginning of a table.
    Value(Range<usize>),
    /// A key whose value may be a secret.
    Key(Range<usize>),
    /// Text that is not TOML.
    Syntax(Range<usize>),
    /// The whole file.
    File,
}

impl FaultSpan {
    fn start(&self) -> usize {
        match self {
            Self::Value(span) | Self::Key(span) | Self::Syntax(span) => span.start,
            Self::File => 0,
        }
    }
}

/// The text of a file and the faults found so far.
pub(super) struct SourceText<'t> {
    text: &'t str,
    pub(super) broken: bool,
    faults: RefCell<Vec<(Fault, FaultSpan)>>,
    pub(super) warnings: RefCell<Vec<Fault>>,
    /// Names of all keys that were read.
    known: RefCell<BTreeSet<String>>,
    /// Lines with values of unknown keys.
    hidden: RefCell<BTreeSet<usize>>,
}

impl<'t> SourceText<'t> {
    pub(super) fn new(text: &'t str, broken: bool) -> Self {
        Self {
            text,
            broken,
            faults: RefCell::default(),
            warnings: RefCell::default(),
            known: RefCell::default(),
            hidden: RefCell::default(),
        }
    }

    pub(super) fn line(&self, position: usize) -> usize {
        self.text.bytes().take(position).filter(|byte| *byte == b'\n').count() + 1
    }

    /// Returns the value of a key as written, shortened. `None` if it may be a secret.
    pub(super) fn shown(&self, key: &str, span: Range<usize>) -> Option<String> {
        let whole = self.text.get(span)?;
        // Folders of secrets have such names.
        let is_path = key.ends_with(FILE) && !may_be_signed(whole);
        if is_secret_key(key) || (may_be_secret(whole) && !is_path) {
            return None;
        }
        let text = whole.lines().next()?;
        let short: String = text.chars().take(VALUE_SHOWN).collect();
        Some(if short.len() < text.len() { format!("{short}…") } else { short })
    }

    pub(super) fn report(&self, at: FaultSpan, key: String, value: Option<String>, problem: String) {
        let fault = Fault { line: self.line(at.start()), key, value, problem, quote: None };
        self.faults.borrow_mut().push((fault, at));
    }

    pub(super) fn warn(&self, position: usize, key: String, problem: String) {
        let fault = Fault { line: self.line(position), key, value: None, problem, quote: None };
        self.warnings.borrow_mut().push(fault);
    }

    /// Records the name of a key that was read.
    pub(super) fn know(&self, key: &str) {
        self.known.borrow_mut().insert(key.to_owned());
    }

    /// Keeps the lines of an unknown key's value out of all quotes.
    pub(super) fn hide(&self, span: Range<usize>) {
        let lines = self.line(span.start)..=self.line(span.end.saturating_sub(1).max(span.start));
        self.hidden.borrow_mut().extend(lines);
    }

    /// Returns all faults in the order of lines, with their quotes. Call it after the whole file
    /// was read, because only then every secret is known.
    pub(super) fn quoted_faults(&self) -> Vec<Fault> {
        let faults = self.faults.take();
        let quoted = faults.into_iter().map(|(fault, at)| Fault { quote: self.quote(at), ..fault });
        let mut faults: Vec<Fault> = quoted.collect();
        faults.sort_by_key(|fault| fault.line);
        faults
    }

    fn quote(&self, at: FaultSpan) -> Option<QuotedLine> {
        let position = at.start();
        let start = self.text.get(..position)?.rfind('\n').map_or(0, |newline| newline + 1);
        let line = self.text.get(start..)?.lines().next()?;
        if line.len() > MAX_QUOTED_BYTES || may_be_secret(line) {
            return None;
        }
        let mark = |span: Range<usize>| {
            let marked = (span.start - start).min(line.len())..(span.end - start).min(line.len());
            QuotedLine { text: line.to_owned(), marked }
        };
        let is_hidden = self.hidden.borrow().contains(&self.line(position));
        match at {
            FaultSpan::Value(span) if !is_hidden && !span.is_empty() => without_rest(mark(span)),
            FaultSpan::Syntax(span) if !is_hidden && self.has_no_secret(line) => {
                Some(without_comment(mark(span)))
            }
            FaultSpan::Key(span) => without_value(mark(span)),
            FaultSpan::Value(_) | FaultSpan::Syntax(_) | FaultSpan::File => None,
        }
    }

    /// Whether a line that is not TOML is a heading, or has a single key that is known. Any other
    /// line may have the value of an unknown key, or be a part of one.
    fn has_no_secret(&self, line: &str) -> bool {
        if line.contains('{') {
            return false;
        }
        match line.split_once('=') {
            None => line.trim_start().starts_with('['),
            Some((key, value)) => {
                let name = key.rsplit('.').next().unwrap_or_default().trim();
                !value.contains('=') && self.known.borrow().contains(name)
            }
        }
    }
}

/// The quote of a value, cut off before the next value of the line and before a comment.
fn without_rest(quote: QuotedLine) -> Option<QuotedLine> {
    let QuotedLine { text, marked } = quote;
    Some(QuotedLine { text: text.get(..marked.end)?.to_owned(), marked })
}

/// The quote of text that is not TOML, cut off before a comment.
fn without_comment(quote: QuotedLine) -> QuotedLine {
    let QuotedLine { mut text, marked } = quote;
    if let Some(comment) = text.get(marked.end..).and_then(|rest| rest.find('#')) {
        text.truncate(marked.end + comment);
    }
    QuotedLine { text, marked }
}

/// The quote of a key, cut off before its value.
fn without_value(quote: QuotedLine) -> Option<QuotedLine> {
    let QuotedLine { text, marked } = quote;
    let before = text.get(..marked.start)?;
    if before.contains(['=', '{', '#']) {
        return None;
    }
    if before.trim_start().starts_with('[') {
        return Some(QuotedLine { text, marked });
    }
    Some(QuotedLine { text: format!("{} …", text.get(..marked.end)?), marked })
}

/// Whether a line or a value may have a secret.
fn may_be_secret(text: &str) -> bool {
    let lower = text.to_lowercase();
    may_be_signed(text) || SECRET_WORDS.iter().any(|word| lower.contains(word))
}

/// Whether a text may have an address with a user and a password, or with a query, which may be
/// signed.
fn may_be_signed(text: &str) -> bool {
    let has_parameters = |address: &str| address.contains(['?', '#', ';']);
    text.contains('@')
        || text.split_once("://").is_some_and(|(_, address)| has_parameters(address))
        || text.split_once('?').is_some_and(|(_, query)| query.contains('='))
}

/// Whether the value of a key may be a secret, so that no report shows it.
fn is_secret_key(key: &str) -> bool {
    let key = key.to_lowercase();
    key.ends_with(COMMAND) || (!key.ends_with(FILE) && may_be_secret(&key))
}
