//! The pipes between the server and us: large while large blocks come, and else as the kernel makes them.
//!
//! Linux grants a user 64 MiB in all pipes together (`/proc/sys/fs/pipe-user-pages-soft`). Beyond that it refuses larger ones
//! and makes new ones of two pages, for the server as well. The functions' pools have 112 processes, which live as long as
//! the server does, so those that wait must not keep what those at work need.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::rc::Rc;
use std::time::Duration;

/// Bytes asked for in the pipe from the server, which holds a block of up to a million bytes (`preferred_block_size_bytes`), so
/// that the server need not wait in the middle of it.
const WHOLE_BLOCK_BYTES: usize = 1 << 20;

/// Bytes asked for where blocks are larger than that and the server has to wait anyway: what is in the pipe then stays in the
/// processor's cache.
const PART_OF_BLOCK_BYTES: usize = 1 << 18;

/// Bytes asked for in the pipe to the server: a block with a million bytes of 40-byte strings is answered with less.
const OUTPUT_BYTES: usize = 1 << 18;

/// How long large pipes are kept while nothing comes.
const IDLE: Duration = Duration::from_secs(10);

/// Standard input and output, as the pipes they are: `Stdout` looks for the end of lines in what it writes.
///
/// # Errors
/// One of them is closed.
pub fn pipes() -> io::Result<(InputPipe, OutputPipe)> {
    let output = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    let input = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    joined(input, output)
}

fn joined(input: File, output: File) -> io::Result<(InputPipe, OutputPipe)> {
    let answered = Rc::new(Cell::new(false));
    let (input, results) = (Pipe::new(input), Pipe::new(output.try_clone()?));
    let input = InputPipe { input, output: results, large: None, block_bytes: 0, answered: answered.clone() };
    Ok((input, OutputPipe { output, answered }))
}

/// Standard output, which tells that a block was answered.
pub struct OutputPipe {
    output: File,
    answered: Rc<Cell<bool>>,
}

impl Write for OutputPipe {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.answered.set(true);
        self.output.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}

/// Standard input, which sees how large blocks are, and when none come.
pub struct InputPipe {
    input: Pipe,
    output: Pipe,
    /// Bytes that the pipe from the server has, while both are larger than usual.
    large: Option<usize>,
    /// What has come of the block.
    block_bytes: usize,
    /// Whether the block was answered, so that what comes is the next.
    answered: Rc<Cell<bool>>,
}

impl InputPipe {
    /// Fits the large pipe to blocks like the last. After its answer nothing is in the pipe that would not fit into a smaller one.
    fn fit(&mut self) {
        let wanted =
            if self.block_bytes > WHOLE_BLOCK_BYTES { PART_OF_BLOCK_BYTES } else { WHOLE_BLOCK_BYTES };
        self.block_bytes = 0;
        if self.large.is_some_and(|bytes| bytes != wanted) && self.input.resize(wanted) {
            self.large = Some(wanted);
        }
    }

    /// Waits for a while, and gives the large pipes back if nothing comes.
    fn wait(&mut self, idle: Duration) {
        if self.large.is_some() && !self.input.is_readable_within(idle) {
            self.input.resize(self.input.usual_bytes);
            self.output.resize(self.output.usual_bytes);
            self.large = None;
        }
    }

    /// Has larger pipes if so many bytes filled the usual one: then the server waits for us to make room.
    fn grow(&mut self, count: usize) {
        self.block_bytes = self.block_bytes.saturating_add(count);
        if self.large.is_none() && count >= self.input.usual_bytes {
            // Refused when the user's share is used up, and asked again with the next block: others may have given theirs back.
            self.large = self.input.resize(WHOLE_BLOCK_BYTES).then_some(WHOLE_BLOCK_BYTES);
            if self.large.is_some() {
                self.output.resize(OUTPUT_BYTES);
            }
        }
    }
}

impl Read for InputPipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.answered.take() {
            self.fit();
        }
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

    /// Blocks from the server, our ends of both pipes, and what it would read answers from.
    fn pair() -> (PipeWriter, InputPipe, OutputPipe, PipeReader) {
        let ((blocks, server), (answers, results)) = (io::pipe().unwrap(), io::pipe().unwrap());
        let (pipes, output) = joined(OwnedFd::from(blocks).into(), OwnedFd::from(results).into()).unwrap();
        (server, pipes, output, answers)
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
        let (mut server, mut pipes, _output, _answers) = pair();
        let usual = sizes(&pipes);
        // Small blocks do not add up to a large one.
        for _ in 0..20 {
            block(&mut server, &mut pipes, usual[0] / 2);
        }
        assert_eq!(sizes(&pipes), usual);
        for _ in 0..2 {
            block(&mut server, &mut pipes, usual[0]);
            assert_eq!(sizes(&pipes), [WHOLE_BLOCK_BYTES, OUTPUT_BYTES]);
            // Something is there.
            server.write_all(&[7]).unwrap();
            pipes.wait(Duration::ZERO);
            assert_eq!(sizes(&pipes), [WHOLE_BLOCK_BYTES, OUTPUT_BYTES]);
            assert_eq!(pipes.read(&mut [0; 2]).unwrap(), 1);
            // Nothing is.
            pipes.wait(Duration::ZERO);
            assert_eq!(sizes(&pipes), usual);
        }
        drop(server);
        assert_eq!(pipes.read(&mut [0; 2]).unwrap(), 0);
    }

    #[test]
    fn blocks_that_no_pipe_holds_get_a_smaller_one_until_others_come() {
        let (mut server, mut pipes, mut output, mut answers) = pair();
        // The usual pipe holds no more.
        const PART: usize = 1 << 16;
        for parts in [17, 24, 1, 16, 20] {
            for _ in 0..parts {
                block(&mut server, &mut pipes, PART);
            }
            output.write_all(&[7]).unwrap();
            answers.read_exact(&mut [0]).unwrap();
            // The next block begins.
            block(&mut server, &mut pipes, PART);
            output.write_all(&[7]).unwrap();
            answers.read_exact(&mut [0]).unwrap();
            let bytes = if parts > 16 { PART_OF_BLOCK_BYTES } else { WHOLE_BLOCK_BYTES };
            assert_eq!(sizes(&pipes), [bytes, OUTPUT_BYTES], "{parts} parts");
        }
    }
}
