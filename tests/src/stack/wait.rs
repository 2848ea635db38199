//! Waiting for a condition with a deadline: the condition is asked again and again, and the last answer is
//! told.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{anyhow, bail};

/// Between the first two questions: short against any server's start.
const MIN_POLL: Duration = Duration::from_millis(20);
/// Between two questions after a while: a question may read whole tables, and others need the two cores.
const MAX_POLL: Duration = Duration::from_millis(200);

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Makes every wait of this process fail, so that a start under way stops what it started and returns.
pub fn interrupt() {
    INTERRUPTED.store(true, Ordering::SeqCst);
}

/// Whether [`interrupt`] was called.
pub(crate) fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::SeqCst)
}

/// Waits until `probe` answers. `what` names the condition in the error, `Continue` carries what was seen
/// instead.
///
/// # Errors
/// When `probe` breaks with an error, when `limit` has passed, and after [`interrupt`].
pub fn wait_until<T>(
    what: &str,
    limit: Duration,
    mut probe: impl FnMut() -> ControlFlow<anyhow::Result<T>, anyhow::Error>,
) -> anyhow::Result<T> {
    let deadline = Instant::now() + limit;
    let mut pause = MIN_POLL;
    loop {
        match probe() {
            ControlFlow::Break(result) => return result,
            ControlFlow::Continue(seen) if Instant::now() >= deadline => {
                return Err(anyhow!("{what}: not within {} s; last seen: {seen:#}", limit.as_secs_f32()));
            }
            ControlFlow::Continue(_) => {}
        }
        if interrupted() {
            bail!("{what}: interrupted");
        }
        thread::sleep(pause);
        pause = pause.mul_f32(1.3).min(MAX_POLL);
    }
}
