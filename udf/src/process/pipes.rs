//! Pipes to and from the server, enlarged while large blocks arrive.
//!
//! Linux grants a user 64 MiB in all pipes together (`/proc/sys/fs/pipe-user-pages-soft`). Above
//! that limit it refuses to enlarge pipes and creates new ones of two pages, for the server as
//! well. The functions' pools have 112 processes, which live as long as the server. Idle processes
//! must therefore return their share for the busy ones.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::rc::Rc;
use std::time::Duration;

/// Requested size of the input pipe. It holds a block of up to a million bytes
/// (`preferred_block_size_bytes`), so that the server needn't wait in the middle of a block.
const WHOLE_BLOCK_BYTES: usize = 1 << 20;

/// Requested size of the input pipe when blocks are larger than [`WHOLE_BLOCK_BYTES`] and the
/// server has to wait anyway. The smaller pipe's content stays in the processor's cache.
const PART_OF_BLOCK_BYTES: usize = 1 << 18;

/// Requested size of the output pipe. The answer to a block with a million bytes of 40-byte strings
/// is smaller.
const OUTPUT_BYTES: usize = 1 << 18;

/// Time without input after which large pipes shrink to their usual size.
const IDLE: Duration = Duration::from_secs(10);

/// Work between two blocks, after [`IDLE`] without input. Returns whether to do it after a further
/// [`IDLE`] too.
pub type IdleWork = fn() -> bool;

/// Returns stdin and stdout as raw pipes, because `Stdout` searches its output for line ends.
/// `idle_work` is done between blocks.
///
/// # Errors
/// Fails if one of them is closed.
pub fn pipes(idle_work: IdleWork) -> io::Result<(InputPipe, OutputPipe)> {
    let output = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    let input = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    joined(input, output, idle_work)
}

fn joined(input: File, output: File, idle_work: IdleWork) -> io::Result<(InputPipe, OutputPipe)> {
    let answered = Rc::new(Cell::new(false));
    let (input, results) = (Pipe::new(input), Pipe::new(output.try_clone()?));
    let answers = answered.clone();
    let input =
        InputPipe { input, output: results, large: None, block_bytes: 0, answered: answers, idle_work };
    Ok((input, OutputPipe { output, answered }))
}

/// Standard output. It notes that a block was answered.
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

/// Standard input. It tracks the size of blocks and the time without blocks.
pub struct InputPipe {
    input: Pipe,
    output: Pipe,
    /// Size in bytes of the input pipe while both pipes are enlarged.
    large: Option<usize>,
    /// Bytes of the current block that have arrived.
    block_bytes: usize,
    /// Whether the current block was answered, so that the next bytes begin a new block.
    answered: Rc<Cell<bool>>,
    idle_work: IdleWork,
}

impl InputPipe {
    /// Resizes an enlarged pipe to fit blocks like the last one. Shrinking is safe: after a block's
    /// answer the pipe's content fits into the smaller size.
    fn fit(&mut self) {
        let wanted =
            if self.block_bytes > WHOLE_BLOCK_BYTES { PART_OF_BLOCK_BYTES } else { WHOLE_BLOCK_BYTES };
        self.block_bytes = 0;
        if self.large.is_some_and(|bytes| bytes != wanted) && self.input.resize(wanted) {
            self.large = Some(wanted);
        }
    }

    /// Waits for input. If none arrives within `idle`, returns the large pipes and does the idle
    /// work.
    fn wait(&mut self, idle: Duration) {
        let mut has_work = self.block_bytes == 0;
        while (has_work || self.large.is_some()) && !self.input.is_readable_within(idle) {
            if self.large.take().is_some() {
                self.input.resize(self.input.usual_bytes);
                self.output.resize(self.output.usual_bytes);
            }
            has_work = has_work && (self.idle_work)();
        }
    }

    /// Enlarges the pipes if one read of `count` bytes filled the usual pipe: the server then waits
    /// for room in it.
    fn grow(&mut self, count: usize) {
        self.block_bytes = self.block_bytes.saturating_add(count);
        if self.large.is_none() && count >= self.input.usual_bytes {
            // The kernel refuses when the user's share is used up. The next block retries, because
            // other processes may have returned theirs.
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

/// A pipe, file or terminal. Files and terminals have no pipe size.
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

    /// Requests a pipe size, and returns whether the kernel granted it.
    fn resize(&self, bytes: usize) -> bool {
        rustix::pipe::fcntl_setpipe_size(&self.file, bytes).is_ok()
    }

    /// Whether a read would return within `time`. End of input and errors count as readable; the
    /// read reports them.
    fn is_readable_within(&self, time: Duration) -> bool {
        use rustix::event::{PollFd, PollFlags, poll};
        let timeout = time.try_into().ok();
        poll(&mut [PollFd::new(&self.file, PollFlags::IN)], timeout.as_ref()) != Ok(0)
    }
}

/// Other systems can't change a pipe's size.
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

    /// Returns the server's writer of blocks, our ends of both pipes, and the server's reader of
    /// answers.
    fn pair() -> (PipeWriter, InputPipe, OutputPipe, PipeReader) {
        let ((blocks, server), (answers, results)) = (io::pipe().unwrap(), io::pipe().unwrap());
        let (pipes, output) =
            joined(OwnedFd::from(blocks).into(), OwnedFd::from(results).into(), || false).unwrap();
        (server, pipes, output, answers)
    }

    fn sizes(pipes: &InputPipe) -> [usize; 2] {
        [&pipes.input, &pipes.output].map(|pipe| rustix::pipe::fcntl_getpipe_size(&pipe.file).unwrap())
    }

    /// Sends a block of `bytes` bytes, which fits into the usual pipe, and reads it.
    fn block(server: &mut PipeWriter, pipes: &mut InputPipe, bytes: usize) {
        server.write_all(&vec![7; bytes]).unwrap();
        assert_eq!(pipes.read(&mut vec![0; 1 << 17]).unwrap(), bytes);
    }

    #[test]
    fn pipes_are_large_while_large_blocks_come() {
        let (mut server, mut pipes, _output, _answers) = pair();
        let usual = sizes(&pipes);
        // Small blocks don't add up to a large one.
        for _ in 0..20 {
            block(&mut server, &mut pipes, usual[0] / 2);
        }
        assert_eq!(sizes(&pipes), usual);
        for _ in 0..2 {
            block(&mut server, &mut pipes, usual[0]);
            assert_eq!(sizes(&pipes), [WHOLE_BLOCK_BYTES, OUTPUT_BYTES]);
            // Input is waiting.
            server.write_all(&[7]).unwrap();
            pipes.wait(Duration::ZERO);
            assert_eq!(sizes(&pipes), [WHOLE_BLOCK_BYTES, OUTPUT_BYTES]);
            assert_eq!(pipes.read(&mut [0; 2]).unwrap(), 1);
            // No input is waiting.
            pipes.wait(Duration::ZERO);
            assert_eq!(sizes(&pipes), usual);
        }
        drop(server);
        assert_eq!(pipes.read(&mut [0; 2]).unwrap(), 0);
    }

    #[test]
    fn blocks_that_no_pipe_holds_get_a_smaller_one_until_others_come() {
        let (mut server, mut pipes, mut output, mut answers) = pair();
        // Capacity of the usual pipe.
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

    #[test]
    fn idle_work_is_done_between_blocks_until_there_is_none() {
        use std::sync::atomic::{AtomicU32, Ordering};

        static DONE: AtomicU32 = AtomicU32::new(0);
        let (mut server, mut pipes, mut output, mut answers) = pair();
        pipes.idle_work = || DONE.fetch_add(1, Ordering::Relaxed) < 2;
        pipes.wait(Duration::ZERO);
        assert_eq!(DONE.load(Ordering::Relaxed), 3, "twice there was more");
        // In a block it would change what the block's rows see.
        block(&mut server, &mut pipes, 10);
        pipes.wait(Duration::ZERO);
        assert_eq!(DONE.load(Ordering::Relaxed), 3);
        output.write_all(&[7]).unwrap();
        answers.read_exact(&mut [0]).unwrap();
        block(&mut server, &mut pipes, 10);
        assert_eq!(DONE.load(Ordering::Relaxed), 3, "the next block was there");
    }
}
