//! Signals to a load.

use tokio::signal::unix::{SignalKind, signal};

use super::bar;
use crate::cli::FAILED;
use crate::cli::failure::report;
use crate::cli::output::Output;

/// Calls `stop` at the first Ctrl-C or SIGTERM, for an end in order. The second signal ends the
/// process at once, as safely as any kill.
pub(super) async fn on_signals(stop: impl FnOnce(), output: Output) {
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return;
    };
    let mut signalled = async || {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    };
    signalled().await;
    stop();
    bar::say_stopping();
    signalled().await;
    let stopped =
        anyhow::anyhow!("stopped at once: the same command finds the blocks that were in flight and resumes");
    report(&stopped, FAILED, output);
    std::process::exit(i32::from(FAILED))
}
