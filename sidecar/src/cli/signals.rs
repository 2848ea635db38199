//! Signals to a running posthouse.
//!
//! The first signal ends it in order, the second at once. A separate thread watches the signals, so
//! that they work even if every other thread hangs.

use std::io;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tokio::time::sleep;

use super::FAILED;

/// Longest orderly end: service managers and orchestrators wait for 10 s or more.
const STOP_TIMEOUT: Duration = Duration::from_secs(9);

/// Starts the watch of signals. The future ends with the first SIGTERM or SIGINT.
///
/// # Errors
/// Fails if the system refuses the thread or the signal handlers.
pub(super) fn first_signal() -> io::Result<impl Future<Output = ()>> {
    let (first, told) = oneshot::channel();
    let (installed, ready) = mpsc::channel();
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        let watched = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let watched = watched.and_then(|runtime| runtime.block_on(watch(&installed, first)));
        // The receiver is gone once signals are watched.
        let _ = installed.send(watched);
    })?;
    ready.recv().map_err(io::Error::other)??;
    Ok(async move {
        if told.await.is_err() {
            std::future::pending::<()>().await;
        }
    })
}

/// Ends with the process, or with an error of the system.
async fn watch(installed: &mpsc::Sender<io::Result<()>>, first: oneshot::Sender<()>) -> io::Result<()> {
    let mut signals = Signals {
        terminate: signal(SignalKind::terminate())?,
        interrupt: signal(SignalKind::interrupt())?,
        hangup: signal(SignalKind::hangup())?,
    };
    let _ = installed.send(Ok(()));
    let name = signals.next().await;
    tracing::info!(signal = name, timeout = ?STOP_TIMEOUT, "stopping; a second signal stops at once");
    let _ = first.send(());
    tokio::select! {
        name = signals.next() => tracing::error!(signal = name, "second signal: stopped at once"),
        () = sleep(STOP_TIMEOUT) => tracing::error!(timeout = ?STOP_TIMEOUT, "stop took too long: aborted"),
    }
    std::process::exit(i32::from(FAILED))
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// Waits for the next signal that ends a process. SIGHUP does not.
    async fn next(&mut self) -> &'static str {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return "SIGTERM",
                _ = self.interrupt.recv() => return "SIGINT",
                _ = self.hangup.recv() => tracing::info!(
                    hint = "the topics file is read at each check; restart to load another config",
                    "SIGHUP is ignored"
                ),
            }
        }
    }
}
