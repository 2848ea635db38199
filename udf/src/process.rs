//! What a process does once, before it serves, because the server started it by fork and exec.
//!
//! It does not ask to be killed with its parent (`PR_SET_PDEATHSIG`): the kernel binds that to the *thread*
//! that forked, which in ClickHouse is a pool thread that may end long before the server does, and then a
//! healthy pooled process would die in the middle of a query. The end of its input tells a process that the
//! server has gone.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;

/// Bytes asked for in each pipe between the server and us, instead of the usual 64 KiB, so that either side
/// waits less often for the other. Linux grants a user 64 MiB in all pipes together
/// (`/proc/sys/fs/pipe-user-pages-soft`), of which 128 processes with both pipes enlarged take all; the functions' pools
/// have 112.
const PIPE_BYTES: usize = 1 << 18;

/// Bytes asked for in the pipe from the server once a block was larger than it. Those of strings have up to a million
/// (`preferred_block_size_bytes`). Where threads of the server share the processors with us, a query is a sixth slower if
/// the server has to wait in the middle of each (`make bench BENCH=udf`, two threads, with this and with [`PIPE_BYTES`]).
const LARGE_PIPE_BYTES: usize = 1 << 20;

/// Where the process's open descriptors are listed, on Linux and on macOS.
const DESCRIPTOR_FOLDER: &str = if cfg!(target_os = "linux") { "/proc/self/fd" } else { "/dev/fd" };

/// Closes every descriptor above standard error.
///
/// A child inherits the server's sockets and files that are not close-on-exec; as long as it holds a client's
/// socket, a connection that the server has closed stays open on the client's side.
///
/// # Errors
/// The list of open descriptors cannot be read.
///
/// # Safety
/// Nothing in this process may own a descriptor above 2 yet: it would find it closed, or become another file.
pub unsafe fn close_inherited_descriptors() -> io::Result<()> {
    // Collected first, so that the list's own descriptor is closed by its owner before any other is.
    let names: Vec<_> = std::fs::read_dir(DESCRIPTOR_FOLDER)?
        .map(|entry| Ok(entry?.file_name()))
        .collect::<io::Result<_>>()?;
    let descriptors = names.iter().filter_map(|name| name.to_str()?.parse().ok());
    for descriptor in descriptors.filter(|&descriptor: &i32| descriptor > 2) {
        // One of them was the list's own and is closed by now: libc answers EBADF, where rustix would assert.
        // SAFETY: the caller promises that nobody in this process owns it.
        unsafe { libc::close(descriptor) };
    }
    Ok(())
}

/// Standard input and output, enlarged, as the pipes they are: `Stdout` looks for the end of lines in what it writes.
///
/// # Errors
/// One of them is closed.
pub fn pipes() -> io::Result<(InputPipe, File)> {
    let input = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let output = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    enlarge(&input, PIPE_BYTES);
    enlarge(&output, PIPE_BYTES);
    Ok((InputPipe { file: input, at_hand: Some(0) }, output))
}

/// Standard input, which becomes larger when blocks turn out to be large.
pub struct InputPipe {
    file: File,
    /// How many bytes were there at once without a wait; nothing when the pipe is as large as it gets.
    at_hand: Option<usize>,
}

impl Read for InputPipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        if let Some(at_hand) = &mut self.at_hand {
            *at_hand = if count == buffer.len() { at_hand.saturating_add(count) } else { 0 };
            if *at_hand > PIPE_BYTES {
                enlarge(&self.file, LARGE_PIPE_BYTES);
                self.at_hand = None;
            }
        }
        Ok(count)
    }
}

/// Asks for a larger pipe.
///
/// It only makes us faster, so nothing is said if the kernel refuses: the user's share of pipe memory may be
/// used up, or the descriptor is no pipe.
fn enlarge(pipe: &File, bytes: usize) {
    #[cfg(target_os = "linux")]
    let _ = rustix::pipe::fcntl_setpipe_size(pipe, bytes);
    #[cfg(not(target_os = "linux"))]
    let _ = (pipe, bytes);
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use std::io::Write;
    use std::os::fd::OwnedFd;
    use std::thread;

    use super::*;

    /// What a pipe is made of: who reads as much never reads less, whoever is faster.
    const PAGE: usize = 4096;

    /// The size of a pipe after blocks of so many pages have come through it.
    fn size_after(pages: usize) -> usize {
        let (reader, mut writer) = io::pipe().unwrap();
        let mut input = InputPipe { file: File::from(OwnedFd::from(reader)), at_hand: Some(0) };
        enlarge(&input.file, PIPE_BYTES);
        let server = thread::spawn(move || {
            for _ in 0..5 {
                writer.write_all(&vec![7; pages * PAGE]).unwrap();
            }
        });
        let mut buffer = [0; PAGE];
        while input.read(&mut buffer).unwrap() > 0 {}
        server.join().unwrap();
        rustix::pipe::fcntl_getpipe_size(&input.file).unwrap()
    }

    #[test]
    fn the_pipe_grows_for_blocks_that_it_does_not_hold() {
        assert_eq!(size_after(150), LARGE_PIPE_BYTES);
        assert_eq!(size_after(5), PIPE_BYTES);
    }
}
