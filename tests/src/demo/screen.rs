//! Output of the demo: styled with progress bars, or plain lines.

use std::io::{IsTerminal, stderr, stdout};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{HumanCount, MultiProgress, ProgressBar, ProgressStyle};

use super::flow::Flow;
use super::history::Loaded;

/// Interval of progress lines where no bar is shown.
const LINE_EVERY: Duration = Duration::from_secs(3);

const BOLD: &str = "1";
const DIM: &str = "2";
const RED: &str = "31";
const GREEN: &str = "32";
const CYAN: &str = "36";

/// Writer of styled lines to stdout.
#[derive(Debug, Clone, Copy)]
pub(super) struct Screen {
    colours: bool,
}

impl Screen {
    pub(super) fn on_stdout() -> Self {
        Self { colours: stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none() }
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    pub(super) fn title(self, name: &str, what: &str) {
        println!("{}: {what}", self.paint(BOLD, name));
    }

    pub(super) fn heading(self, text: &str) {
        println!("\n{}", self.paint(BOLD, text));
    }

    /// Prints a remark, line by line.
    pub(super) fn dim(self, text: &str) {
        for line in text.lines() {
            println!("  {}", self.paint(DIM, line));
        }
    }

    /// Prints a command's output, line by line.
    pub(super) fn quote(self, text: &str) {
        for line in text.lines() {
            println!("    {}", self.paint(DIM, line));
        }
    }

    pub(super) fn blank(self) {
        println!();
    }

    /// Prints a failure.
    pub(super) fn bad(self, text: &str) {
        println!("{}", self.mark(RED, "✗", text));
    }

    fn mark(self, colour: &str, mark: &str, text: &str) -> String {
        format!("  {}", self.paint(colour, &format!("{mark} {text}")))
    }

    /// Paints `text` green if `good`, otherwise red.
    pub(super) fn judged(self, good: bool, text: &str) -> String {
        self.paint(if good { GREEN } else { RED }, text)
    }

    /// Prints a command with its duration and a summary.
    pub(super) fn command(self, command: &str, took: Duration, said: &str) {
        println!("  {command:<29}{:>5.1} s   {}", took.as_secs_f32(), self.paint(DIM, said));
    }

    /// Prints commands for the user, each with its purpose.
    pub(super) fn commands(self, commands: &[(&str, &str)]) {
        for (command, meaning) in commands {
            println!("\n  {}\n  {}", self.paint(DIM, &format!("# {meaning}")), self.paint(CYAN, command));
        }
        println!();
    }

    /// Prints short commands for the user, in one table.
    pub(super) fn next(self, commands: &[(&str, &str)]) {
        self.heading("Next");
        let width = commands.iter().map(|(command, _)| command.len()).max().unwrap_or_default();
        for (command, meaning) in commands {
            println!("  {}   {meaning}", self.paint(CYAN, &format!("{command:<width$}")));
        }
    }

    /// Prints the final result.
    pub(super) fn verdict(self, once: bool, flow: &Flow, history: &Loaded, took: Duration) {
        let (messages, rows) = (HumanCount(flow.produced.messages()), HumanCount(history.rows));
        let what = format!(
            "{messages} messages and {rows} rows of history, {} and the loader killed with -9",
            flow.victim
        );
        let text = if once {
            format!("✓ {what}: none lost, none twice")
        } else {
            format!("✗ {what}: not every one is stored exactly once and on its shard, see above")
        };
        println!(
            "\n{}{}",
            self.judged(once, &text),
            self.paint(DIM, &format!("   {:.0} s", took.as_secs_f32()))
        );
    }

    /// Returns a progress bar for a load of `total` rows, hidden without a terminal.
    pub(super) fn gauge(self, name: &'static str, total: u64) -> ProgressBar {
        if stdout().is_terminal() && stderr().is_terminal() {
            bar(name, "green", total)
        } else {
            ProgressBar::hidden()
        }
    }

    /// Returns the progress display for a load of `total` messages.
    pub(super) fn meter(self, total: u64) -> Meter {
        let bars = (stdout().is_terminal() && stderr().is_terminal()).then(|| {
            let all = MultiProgress::new();
            let bar = |name, colour| all.add(bar(name, colour, total));
            Bars { produced: bar("produced", "cyan"), queryable: bar("queryable", "green"), all }
        });
        Meter { screen: self, bars, begun: Instant::now(), next_line: Mutex::new(Duration::ZERO) }
    }
}

fn bar(name: &'static str, colour: &str, total: u64) -> ProgressBar {
    let template =
        format!("  {{prefix:<10}} {{bar:40.{colour}/237}} {{human_pos:>8}} of {{human_len}}  {{msg}}");
    let style = ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(total).with_style(style.progress_chars("━╸━")).with_prefix(name)
}

/// Two progress bars, or a line at intervals.
pub(super) struct Meter {
    screen: Screen,
    bars: Option<Bars>,
    begun: Instant,
    next_line: Mutex<Duration>,
}

struct Bars {
    produced: ProgressBar,
    queryable: ProgressBar,
    all: MultiProgress,
}

impl Meter {
    /// Shows the number of produced and queryable messages. `queryable` is `None` while the query
    /// fails.
    pub(super) fn show(&self, produced: u64, queryable: Option<u64>) {
        if let Some(bars) = &self.bars {
            // Probes come on top of `total`.
            bars.produced.set_length(bars.produced.length().unwrap_or_default().max(produced));
            bars.queryable.set_length(bars.produced.length().unwrap_or_default());
            bars.produced.set_position(produced);
            match queryable {
                Some(count) => {
                    bars.queryable.set_position(count);
                    bars.queryable.set_message("");
                }
                None => bars.queryable.set_message("a shard does not answer"),
            }
            return;
        }
        let now = self.begun.elapsed();
        let mut next = self.next_line.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if now >= *next {
            *next = now + LINE_EVERY;
            let queryable =
                queryable.map_or_else(|| "a shard does not answer".to_owned(), |n| HumanCount(n).to_string());
            println!(
                "  {:>4.0} s  produced {:>8}  queryable {queryable:>8}",
                now.as_secs_f32(),
                HumanCount(produced).to_string()
            );
        }
    }

    /// Prints a line above the bars about a failure.
    pub(super) fn bad(&self, text: &str) {
        self.line(RED, "✗", text);
    }

    /// Prints a line above the bars about a recovery.
    pub(super) fn good(&self, text: &str) {
        self.line(GREEN, "✓", text);
    }

    fn line(&self, colour: &str, mark: &str, text: &str) {
        let line = self.screen.mark(colour, mark, text);
        match &self.bars {
            Some(bars) => bars.all.suspend(|| println!("{line}")),
            None => println!("{line}"),
        }
    }

    /// Leaves the bars at their current position.
    pub(super) fn finish(&self) {
        if let Some(bars) = &self.bars {
            bars.produced.abandon();
            bars.queryable.abandon();
        }
    }
}
