//! Progress of a start: spinners on a terminal, plain lines elsewhere.

use std::fmt::Display;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// Between two frames of a spinner.
const FRAME: Duration = Duration::from_millis(100);

/// The output for the steps of a start.
#[derive(Debug, Clone)]
pub enum Progress {
    /// One spinner per step.
    Terminal(MultiProgress),
    /// A line on stderr when a step begins, and one when it ends.
    Lines,
    Silent,
}

impl Progress {
    /// Spinners if stderr is a terminal, lines otherwise.
    pub fn on_stderr() -> Self {
        if std::io::stderr().is_terminal() { Self::Terminal(MultiProgress::new()) } else { Self::Lines }
    }

    /// Begins a step. It ends with [`Step::done`], or fails when dropped.
    pub(crate) fn step(&self, what: impl Display) -> Step {
        let what = what.to_string();
        let spinner = match self {
            Self::Terminal(all) => {
                let spinner = all.add(ProgressBar::new_spinner());
                spinner.set_style(style("{spinner} {msg} {elapsed}"));
                spinner.enable_steady_tick(FRAME);
                spinner.set_message(what.clone());
                Some(spinner)
            }
            Self::Lines => {
                eprintln!("stack: {what}");
                None
            }
            Self::Silent => None,
        };
        Step { what, begun: Instant::now(), spinner, lines: matches!(self, Self::Lines) }
    }
}

/// One step in progress.
#[derive(Debug)]
pub(crate) struct Step {
    what: String,
    begun: Instant,
    spinner: Option<ProgressBar>,
    lines: bool,
}

impl Step {
    /// Shows a note beside the step, for example the number of bytes.
    pub(crate) fn note(&self, note: impl Display) {
        if let Some(spinner) = &self.spinner {
            spinner.set_message(format!("{}: {note}", self.what));
        }
    }

    pub(crate) fn done(mut self) {
        self.end("✓", "done");
    }

    fn end(&mut self, mark: &str, word: &str) {
        let seconds = self.begun.elapsed().as_secs_f32();
        if let Some(spinner) = self.spinner.take() {
            spinner.set_style(style("{msg}"));
            spinner.finish_with_message(format!("{mark} {} {seconds:.1} s", self.what));
        } else if self.lines {
            eprintln!("stack: {}: {word} in {seconds:.1} s", self.what);
        }
        self.lines = false;
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        self.end("✗", "failed");
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}
