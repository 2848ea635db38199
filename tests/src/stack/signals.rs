//! Ctrl-C: once for an orderly end, twice for an immediate one.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

use super::interrupt;

/// A shell's exit code for a process that was ended by Ctrl-C.
pub const INTERRUPTED: u8 = 130;

/// The first SIGINT or SIGTERM makes every wait on the stack fail, so that its servers are stopped,
/// and sends a message to the receiver. The second ends the process, and the kernel kills the
/// servers with it.
///
/// # Errors
/// If the signal handlers can't be installed.
pub fn watch_signals() -> anyhow::Result<Receiver<()>> {
    let (sender, receiver) = channel();
    let (installed, ready) = channel();
    thread::Builder::new().name("signals".into()).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(watch(&installed, &sender))
    })?;
    // From here on no signal is missed.
    ready.recv().context("cannot watch for signals")?;
    Ok(receiver)
}

async fn watch(installed: &Sender<()>, first: &Sender<()>) -> anyhow::Result<()> {
    let (mut int, mut term) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    installed.send(())?;
    tokio::select! { _ = int.recv() => {} _ = term.recv() => {} }
    interrupt();
    first.send(())?;
    tokio::select! { _ = int.recv() => {} _ = term.recv() => {} }
    eprintln!("stack: killed; the next start removes its scratch folder");
    std::process::exit(INTERRUPTED.into());
}
