//! Output to stderr that neither fails nor blocks: progress, logs, errors.
//!
//! Work must not end because the reader of its log is gone: `2>&1 | head -1` closes the pipe after
//! a line, and a paused reader leaves it full.

use std::fmt::Display;
use std::io::{self, Write, stderr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::visible::visible;

/// Bytes that a writable pipe takes without blocking (PIPE_BUF of Linux).
const CHUNK_BYTES: usize = 4096;
/// Longest wait for a full pipe. Further writes do not wait until the pipe has taken some bytes.
const FULL_PIPE_TIMEOUT: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };
const NO_WAIT: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

/// Whether the last write found the pipe full.
static IS_FULL: AtomicBool = AtomicBool::new(false);
/// Writes dropped since the last notice about them.
static DROPPED: AtomicU64 = AtomicU64::new(0);

/// Writes a line to standard error, with visible control characters.
pub(super) fn note(text: impl Display) {
    note_painted(visible(&text.to_string()));
}

/// Writes a line that may have colours.
pub(super) fn note_painted(line: impl Display) {
    write(format!("{line}\n").as_bytes());
}

/// The writer of logs as JSON.
pub(super) struct JsonLog;

impl Write for JsonLog {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        write(visible(&String::from_utf8_lossy(bytes)).as_bytes());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The writer of logs as text, whose events are visible already.
pub(super) struct Log;

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        write(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Ignores errors, because there is no place to report them.
fn write(bytes: &[u8]) {
    let mut stderr = stderr().lock();
    let dropped = DROPPED.load(Ordering::Relaxed);
    if dropped > 0 && has_room(&stderr) {
        let notice = format!("posthouse: {dropped} lines were dropped because standard error was not read\n");
        if stderr.write_all(notice.as_bytes()).is_ok() {
            DROPPED.store(0, Ordering::Relaxed);
        }
    }
    for chunk in bytes.chunks(CHUNK_BYTES) {
        if !has_room(&stderr) {
            DROPPED.fetch_add(1, Ordering::Relaxed);
            return;
        }
        if stderr.write_all(chunk).is_err() {
            return;
        }
    }
}

fn has_room(stderr: &io::StderrLock<'_>) -> bool {
    let timeout = if IS_FULL.load(Ordering::Relaxed) { NO_WAIT } else { FULL_PIPE_TIMEOUT };
    let mut ready = [PollFd::new(stderr, PollFlags::OUT)];
    // A descriptor that can't be polled can be written.
    let is_full = poll(&mut ready, Some(&timeout)) == Ok(0);
    IS_FULL.store(is_full, Ordering::Relaxed);
    !is_full
}
