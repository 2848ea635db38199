//! The text of a config file, and the faults found in it.

use std::cell::RefCell;
use std::fmt;
use std::ops::Range;

/// Maximum number of characters quoted from a faulty value, so that each fault fits on one line.
const VALUE_SHOWN: usize = 60;

/// One fault in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Line of the file, counted from 1.
    pub line: usize,
    /// Path of the key from the top of the file; items of lists are counted from 1, like shards.
    /// Empty if the file is not TOML at this line.
    pub key: String,
    /// The value as written in the file, shortened. `None` if there is none, or if it may
    /// be a secret.
    pub value: Option<String>,
    /// Names the fault and the text to write instead.
    pub problem: String,
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

/// The text of a file and the faults found so far.
pub(super) struct SourceText<'t> {
    text: &'t str,
    pub(super) broken: bool,
    pub(super) faults: RefCell<Vec<Fault>>,
    pub(super) warnings: RefCell<Vec<Fault>>,
}

impl<'t> SourceText<'t> {
    pub(super) fn new(text: &'t str, broken: bool) -> Self {
        Self { text, broken, faults: RefCell::default(), warnings: RefCell::default() }
    }

    pub(super) fn line(&self, span: Range<usize>) -> usize {
        self.text.bytes().take(span.start).filter(|byte| *byte == b'\n').count() + 1
    }

    pub(super) fn shown(&self, span: Range<usize>) -> Option<String> {
        let text = self.text.get(span)?.lines().next()?;
        // A password in a URL is refused, and the refusal must not repeat it.
        if text.contains('@') {
            return None;
        }
        let short: String = text.chars().take(VALUE_SHOWN).collect();
        Some(if short.len() < text.len() { format!("{short}…") } else { short })
    }

    pub(super) fn report(&self, fault: Fault) {
        self.faults.borrow_mut().push(fault);
    }

    pub(super) fn warn(&self, fault: Fault) {
        self.warnings.borrow_mut().push(fault);
    }
}
