//! Standard error that neither fails nor blocks: progress, logs and the last error.
//!
//! Work never ends because a reader of its log has: `2>&1 | head -1` closes the pipe after a line, and a paused reader leaves it
//! full.

use std::fmt::Display;
use std::io::{self, Write, stderr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// A pipe that is ready takes so many bytes without blocking (PIPE_BUF of Linux).
const CHUNK_BYTES: usize = 4096;
/// How long a full pipe is waited for. It is not waited for again before it has taken something.
const FULL_PIPE_TIMEOUT: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };
const NO_WAIT: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

/// Whether the last write found no room.
static IS_FULL: AtomicBool = AtomicBool::new(false);
/// Writes that found no room, until that could be said.
static DROPPED: AtomicU64 = AtomicU64::new(0);

/// Writes a line for people to standard error.
pub(super) fn note(text: impl Display) {
    write(format!("{text}\n").as_bytes());
}

/// The writer of logs.
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

/// Whatever goes wrong, there is nowhere to report it.
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
