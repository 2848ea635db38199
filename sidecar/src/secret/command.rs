//! Secrets from the output of a program, such as the token of a cloud account.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use zeroize::Zeroizing;

use super::{MAX_SECRET_BYTES, Secret, SecretError, only_line};

/// Longest run of a command. A token service answers within seconds.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(10);
/// Interval at which an ended command is noticed.
const EXIT_POLL_INTERVAL: Duration = Duration::from_millis(5);

pub(super) fn read(command: &[String]) -> Result<Secret, SecretError> {
    read_within(command, COMMAND_TIMEOUT)
}

/// Runs the command in a process group of its own, which is killed at the end, so that its children
/// end as well.
pub(super) fn read_within(command: &[String], limit: Duration) -> Result<Secret, SecretError> {
    let deadline = Instant::now() + limit;
    let program = command.first().cloned().unwrap_or_default();
    let failed = |problem: String| SecretError::Failed { program: program.clone(), problem };
    let child = Command::new(&program)
        .args(command.iter().skip(1))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn();
    let child = child.map_err(|source| SecretError::NoProgram { program: program.clone(), source })?;
    let mut group = ProcessGroup(child);
    let (sender, printed) = mpsc::channel();
    if let Some(output) = group.0.stdout.take() {
        // It ends with the group.
        thread::spawn(move || {
            let mut text = Zeroizing::new(Vec::new());
            let read = output.take(MAX_SECRET_BYTES + 1).read_to_end(&mut text).map(|_| text);
            // The receiver may have given up.
            let _ = sender.send(read);
        });
    }
    let too_slow = || failed(format!("did not end within {} s", limit.as_secs()));
    let text = printed.recv_timeout(deadline.saturating_duration_since(Instant::now()));
    let text = text.map_err(|_| too_slow())?.map_err(|error| failed(format!("can't be read ({error})")))?;
    let secret = only_line(text, || program.clone())?;
    loop {
        match group.0.try_wait() {
            Ok(Some(status)) if status.success() => return Ok(secret),
            Ok(Some(status)) => return Err(failed(format!("ended with {status}"))),
            Ok(None) if Instant::now() < deadline => thread::sleep(EXIT_POLL_INTERVAL),
            Ok(None) => return Err(too_slow()),
            Err(error) => return Err(failed(format!("can't be waited for ({error})"))),
        }
    }
}

/// A program and its children.
struct ProcessGroup(Child);

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        if let Some(group) = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw) {
            // The group has no process anymore if the program has ended without children.
            let _ = kill_process_group(group, Signal::KILL);
        }
        // A zombie would stay otherwise.
        let _ = self.0.wait();
    }
}
