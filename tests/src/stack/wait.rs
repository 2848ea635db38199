//! Polling for a condition, with a deadline and the last observed value.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{anyhow, bail};

/// Between the first two probes: short against any server's start.
const MIN_POLL: Duration = Duration::from_millis(20);
/// Between two probes after a while. A probe may read whole tables, and other processes need the
/// two cores.
const MAX_POLL: Duration = Duration::from_millis(200);

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Makes every wait of this process fail, so that a start in progress stops its servers and
/// returns.
pub fn interrupt() {
    INTERRUPTED.store(true, Ordering::SeqCst);
}

/// Whether [`interrupt`] was called.
pub(crate) fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::SeqCst)
}

/// Waits until `probe` breaks. `what` names the condition in the error, and `Continue` carries the
/// observed value.
///
/// # Errors
/// If `probe` breaks with an error, if `limit` has passed, and after [`interrupt`].
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
                return Err(anyhow!("{what}: not within {} s; last observed: {seen:#}", limit.as_secs_f32()));
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
