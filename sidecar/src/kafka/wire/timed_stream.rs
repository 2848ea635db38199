//! TCP stream with one deadline for many reads and writes.
//!
//! A socket's own timeouts start again with each byte, so a slow peer could hold a thread for days.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

#[derive(Debug)]
pub(super) struct TimedStream {
    stream: TcpStream,
    limit: Duration,
    deadline: Instant,
}

impl TimedStream {
    pub(super) fn new(stream: TcpStream, limit: Duration) -> Self {
        Self { stream, limit, deadline: Instant::now() + limit }
    }

    /// Sets the deadline for the next reads and writes.
    pub(super) fn restart(&mut self, limit: Duration) {
        self.limit = limit;
        self.deadline = Instant::now() + limit;
    }

    /// Time until the deadline. Sockets reject a timeout of zero.
    fn left(&self) -> io::Result<Duration> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(self.late()) } else { Ok(left) }
    }

    fn late(&self) -> io::Error {
        let limit = self.limit.as_secs_f64();
        io::Error::new(ErrorKind::TimedOut, format!("the broker's answer is not complete after {limit} s"))
    }

    fn explain<T>(&self, done: io::Result<T>) -> io::Result<T> {
        // Unix has WouldBlock for a timeout.
        let is_late = |error: &io::Error| matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
        done.map_err(|error| if is_late(&error) { self.late() } else { error })
    }
}

impl Read for TimedStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(Some(self.left()?))?;
        let done = self.stream.read(buffer);
        self.explain(done)
    }
}

impl Write for TimedStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(Some(self.left()?))?;
        let done = self.stream.write(bytes);
        self.explain(done)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}
