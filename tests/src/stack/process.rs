//! Child processes that die with this process, spawned by one permanent thread.

#![allow(unsafe_code)]

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::ControlFlow;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{LazyLock, Mutex};
use std::thread;
use std::time::Duration;

use anyhow::{Context, anyhow, ensure};
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

use super::wait::wait_until;

/// Lines of a log in an error: enough for a stack trace, short enough for a terminal.
const TAIL_LINES: usize = 25;
/// Bytes read for the tail of a log.
const TAIL_BYTES: u64 = 64 * 1024;

type Request = (Command, Sender<io::Result<Child>>);

/// Linux ties the parent-death signal to the parent *thread*. A child spawned by a test's thread
/// would be killed at the end of that test, long before the end of the process. So one thread
/// spawns all children and never returns.
static SPAWNER: LazyLock<Mutex<Sender<Request>>> = LazyLock::new(|| {
    let (sender, requests) = channel();
    thread::Builder::new()
        .name("stack-spawner".into())
        .spawn(move || serve(&requests))
        .expect("the system refuses one more thread");
    Mutex::new(sender)
});

/// Spawns `command` in a separate process group, so that Ctrl-C in the terminal does not reach it.
/// The kernel kills it when this process ends in any way. Except on Linux, a child survives a `kill
/// -9` of this process.
pub(crate) fn spawn(command: Command) -> anyhow::Result<Child> {
    let program = command.get_program().display().to_string();
    let (answer, child) = channel();
    SPAWNER
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
        .send((command, answer))
        .context("the spawner thread has ended")?;
    child.recv().context("the spawner thread has ended")?.with_context(|| format!("cannot start {program}"))
}

fn serve(requests: &Receiver<Request>) {
    // The sender is a static, so this loop ends with the process.
    while let Ok((mut command, answer)) = requests.recv() {
        command.process_group(0);
        die_with_parent(&mut command);
        // The receiver is gone only if its thread panicked.
        let _ = answer.send(command.spawn());
    }
}

#[cfg(target_os = "linux")]
fn die_with_parent(command: &mut Command) {
    let parent = rustix::process::getpid();
    // SAFETY: between fork and exec only two system calls are made, both async-signal-safe. There
    // is no allocation.
    unsafe {
        command.pre_exec(move || {
            rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
            // If the parent died before the call above, no signal will ever come.
            if rustix::process::getppid() != Some(parent) {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            Ok(())
        });
    }
}

#[cfg(not(target_os = "linux"))]
fn die_with_parent(_: &mut Command) {}

/// Blocks until the process has ended, but doesn't reap it. Until then its id can't be reused.
pub(crate) fn wait_for_end(pid: Pid) {
    while let Err(rustix::io::Errno::INTR) =
        waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)
    {}
}

/// Runs a command that must succeed, for example a download. `meanwhile` is called repeatedly until
/// it ends.
///
/// # Errors
/// If it can't be started, does not end within `limit` (it is killed then), or fails. The error has
/// the end of `output`.
pub(crate) fn run(
    mut command: Command,
    output: &Path,
    limit: Duration,
    mut meanwhile: impl FnMut(),
) -> anyhow::Result<()> {
    let program = command.get_program().display().to_string();
    let file = File::create(output).with_context(|| format!("cannot write {}", output.display()))?;
    command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
    let mut child = spawn(command)?;
    let ended = wait_until(&format!("{program} to end"), limit, || match child.try_wait() {
        Ok(Some(status)) => ControlFlow::Break(Ok(status)),
        Ok(None) => {
            meanwhile();
            ControlFlow::Continue(anyhow!("it still runs, see {}", output.display()))
        }
        Err(error) => ControlFlow::Break(Err(error.into())),
    });
    if ended.is_err() {
        // It may have ended just now.
        let _ = child.kill();
        let _ = child.wait();
    }
    let status = ended?;
    ensure!(status.success(), "{program} ended with {status}\n{}", tail(output));
    Ok(())
}

/// The last lines of a log, indented, under its path.
pub(crate) fn tail(path: &Path) -> String {
    let mut text = format!("--- {}\n", path.display());
    match last_bytes(path) {
        Ok(bytes) => {
            let all = String::from_utf8_lossy(&bytes);
            let lines = all.lines().collect::<Vec<_>>();
            for line in &lines[lines.len().saturating_sub(TAIL_LINES)..] {
                text.push_str("    ");
                text.push_str(line);
                text.push('\n');
            }
        }
        Err(error) => text.push_str(&format!("    ({error})\n")),
    }
    text
}

fn last_bytes(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_outlives_the_thread_that_asked_for_it() {
        let asked = thread::spawn(|| {
            let mut command = Command::new("sleep");
            command.arg("60");
            spawn(command).unwrap()
        });
        let mut child = asked.join().unwrap();
        assert!(child.try_wait().unwrap().is_none(), "killed with the thread");
        child.kill().unwrap();
        wait_for_end(Pid::from_child(&child));
        assert!(child.try_wait().unwrap().is_some());
    }

    #[test]
    fn a_failed_command_shows_the_end_of_its_output() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "seq 1 1000; exit 3"]);
        let error =
            run(command, &folder.path().join("log"), Duration::from_secs(60), || ()).unwrap_err().to_string();
        assert!(error.contains("exit status: 3") && error.contains("    1000\n"), "{error}");
        assert!(!error.contains("    900\n"), "{error}");
    }
}
