//! Progress of long work, as a bar on a terminal or as lines.

use std::io::{IsTerminal, stderr};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::notices::note;
use crate::visible::visible_line;

/// Interval of redraws on a terminal.
const FRAME: Duration = Duration::from_millis(200);
/// Interval of lines without a terminal.
const LINE: Duration = Duration::from_secs(10);

/// State of the work as the bar shows it.
pub(super) struct BarState {
    /// Rows that need no further work.
    pub(super) done: u64,
    /// Rows done as text, and the time left.
    pub(super) far: String,
    /// Speed, and the reason of a slowdown.
    pub(super) pace: String,
}

/// Shows the state of work on `rows` until the future is dropped.
pub(super) async fn show(rows: u64, state: impl FnMut() -> BarState) {
    if stderr().is_terminal() { bar(rows, state).await } else { lines(rows, state).await }
}

async fn bar(rows: u64, mut state: impl FnMut() -> BarState) {
    let bar = ProgressBar::with_draw_target(Some(rows), ProgressDrawTarget::stderr());
    // Two lines, the second cut where the terminal ends. A wrapped line would disturb the
    // next redraw.
    let style = ProgressStyle::with_template("{bar:30.cyan} {percent:>3} %  {prefix}\n{wide_msg}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let clear = Clear(bar);
    loop {
        let BarState { done, far, pace } = state();
        clear.0.set_position(done);
        clear.0.set_prefix(visible_line(&far).into_owned());
        clear.0.set_message(visible_line(&pace).into_owned());
        tokio::time::sleep(FRAME).await;
    }
}

/// Clears the bar when dropped, on every way out of the wait.
struct Clear(ProgressBar);

impl Drop for Clear {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

async fn lines(rows: u64, mut state: impl FnMut() -> BarState) {
    loop {
        tokio::time::sleep(LINE).await;
        let BarState { done, far, pace } = state();
        note(format_args!("{:>3} %  {far}  {pace}", 100 * done / rows.max(1)));
    }
}
