//! The pipes between the server and us: large while large blocks come, and else as the kernel makes them.
//!
//! Linux grants a user 64 MiB in all pipes together (`/proc/sys/fs/pipe-user-pages-soft`). Beyond that it refuses larger ones
//! and makes new ones of two pages, for the server as well. The functions' pools have 112 processes, which live as long as
//! the server does, so those that wait must not keep what those at work need.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::time::Duration;

/// Bytes asked for in the pipe from the server. Its blocks of strings have up to a million (`preferred_block_size_bytes`). Where
/// its threads share the processors with us, a query is a sixth slower if the server has to wait in the middle of each
/// (`make bench BENCH=udf`, two threads, with this and with 256 KiB).
const INPUT_BYTES: usize = 1 << 20;

/// Bytes asked for in the pipe to the server: a block with a million bytes of 40-byte strings is answered with less.
const OUTPUT_BYTES: usize = 1 << 18;

/// How long large pipes are kept while nothing comes.
const IDLE: Duration = Duration::from_secs(10);

/// Standard input and output, as the pipes they are: `Stdout` looks for the end of lines in what it writes.
///
/// # Errors
/// One of them is closed.
pub fn pipes() -> io::Result<(InputPipe, File)> {
    let output = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    let input = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    Ok((InputPipe::new(input, output.try_clone()?), output))
}

/// Standard input, which sees when blocks are large, and when none come.
pub struct InputPipe {
    input: Pipe,
    output: Pipe,
    are_large: bool,
}

impl InputPipe {
    fn new(input: File, output: File) -> Self {
        Self { input: Pipe::new(input), output: Pipe::new(output), are_large: false }
    }

    /// Waits for a while, and gives the large pipes back if nothing comes.
    fn wait(&mut self, idle: Duration) {
        if self.are_large && !self.input.is_readable_within(idle) {
            self.input.resize(self.input.usual_bytes);
            self.output.resize(self.output.usual_bytes);
            self.are_large = false;
        }
    }

    /// Has larger pipes if so many bytes filled the usual one: then the server waits for us to make room.
    fn grow(&mut self, count: usize) {
        if !self.are_large && count >= self.input.usual_bytes {
            // Refused when the user's share is used up, and asked again with the next block: others may have given theirs back.
            self.are_large = self.input.resize(INPUT_BYTES);
            if self.are_large {
                self.output.resize(OUTPUT_BYTES);
            }
        }
    }
}

impl Read for InputPipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.wait(IDLE);
        let count = self.input.file.read(buffer)?;
        self.grow(count);
        Ok(count)
    }
}

/// One pipe, if it is one: a file or a terminal does as well, and has no size.
struct Pipe {
    file: File,
    usual_bytes: usize,
}

#[cfg(target_os = "linux")]
impl Pipe {
    fn new(file: File) -> Self {
        let usual_bytes = rustix::pipe::fcntl_getpipe_size(&file).unwrap_or(usize::MAX);
        Self { file, usual_bytes }
    }

    /// Whether the kernel agreed.
    fn resize(&self, bytes: usize) -> bool {
        rustix::pipe::fcntl_setpipe_size(&self.file, bytes).is_ok()
    }

    /// Whether a read would not wait longer than this. The end of the input and errors are the read's to tell.
    fn is_readable_within(&self, time: Duration) -> bool {
        use rustix::event::{PollFd, PollFlags, poll};
        let timeout = time.try_into().ok();
        poll(&mut [PollFd::new(&self.file, PollFlags::IN)], timeout.as_ref()) != Ok(0)
    }
}

/// Elsewhere sizes can't be asked for.
#[cfg(not(target_os = "linux"))]
impl Pipe {
    fn new(file: File) -> Self {
        Self { file, usual_bytes: usize::MAX }
    }

    fn resize(&self, _bytes: usize) -> bool {
        false
    }

    fn is_readable_within(&self, _time: Duration) -> bool {
        true
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use std::io::{PipeReader, PipeWriter, Write};
    use std::os::fd::OwnedFd;

    use super::*;

    /// Blocks from the server, and what it would read answers from.
    fn pair() -> (PipeWriter, InputPipe, PipeReader) {
        let ((blocks, server), (answers, results)) = (io::pipe().unwrap(), io::pipe().unwrap());
        (server, InputPipe::new(OwnedFd::from(blocks).into(), OwnedFd::from(results).into()), answers)
    }

    fn sizes(pipes: &InputPipe) -> [usize; 2] {
        [&pipes.input, &pipes.output].map(|pipe| rustix::pipe::fcntl_getpipe_size(&pipe.file).unwrap())
    }

    /// A block of so many bytes, which the usual pipe holds, comes and is read.
    fn block(server: &mut PipeWriter, pipes: &mut InputPipe, bytes: usize) {
        server.write_all(&vec![7; bytes]).unwrap();
        assert_eq!(pipes.read(&mut vec![0; 1 << 17]).unwrap(), bytes);
    }

    #[test]
    fn pipes_are_large_while_large_blocks_come() {
        let (mut server, mut pipes, _answers) = pair();
        let usual = sizes(&pipes);
        // Small blocks do not add up to a large one.
        for _ in 0..20 {
            block(&mut server, &mut pipes, usual[0] / 2);
        }
        assert_eq!(sizes(&pipes), usual);
        for _ in 0..2 {
            block(&mut server, &mut pipes, usual[0]);
            assert_eq!(sizes(&pipes), [INPUT_BYTES, OUTPUT_BYTES]);
            // Something is there.
            server.write_all(&[7]).unwrap();
            pipes.wait(Duration::ZERO);
            assert_eq!(sizes(&pipes), [INPUT_BYTES, OUTPUT_BYTES]);
            assert_eq!(pipes.read(&mut [0; 2]).unwrap(), 1);
            // Nothing is.
            pipes.wait(Duration::ZERO);
            assert_eq!(sizes(&pipes), usual);
        }
        drop(server);
        assert_eq!(pipes.read(&mut [0; 2]).unwrap(), 0);
    }
}
