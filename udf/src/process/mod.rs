//! Process setup before serving, needed after ClickHouse's fork and exec.
//!
//! The process doesn't set `PR_SET_PDEATHSIG`. The kernel binds that signal to the *thread* that
//! forked, in ClickHouse a pool thread that may end long before the server. A healthy pooled
//! process would then die in the middle of a query. End of input shows the process that the server
//! has exited.

#![allow(unsafe_code)]

mod pipes;

use std::io;

pub use pipes::{IdleWork, InputPipe, pipes};

/// Folder that lists the process's open descriptors, on Linux and on macOS.
const DESCRIPTOR_FOLDER: &str = if cfg!(target_os = "linux") { "/proc/self/fd" } else { "/dev/fd" };

/// Closes every descriptor above stderr.
///
/// A child process inherits the server's sockets and files that aren't close-on-exec. While it
/// holds a client's socket, a connection that the server has closed stays open on the client's
/// side.
///
/// # Errors
/// Fails if the list of open descriptors can't be read.
///
/// # Safety
/// No code in this process may own a descriptor above 2 yet. Its descriptor would be closed, or
/// would refer to another file later.
pub unsafe fn close_inherited_descriptors() -> io::Result<()> {
    // Collected first, so that the directory's own descriptor is closed by its owner before the
    // others.
    let names: Vec<_> = std::fs::read_dir(DESCRIPTOR_FOLDER)?
        .map(|entry| Ok(entry?.file_name()))
        .collect::<io::Result<_>>()?;
    let descriptors = names.iter().filter_map(|name| name.to_str()?.parse().ok());
    for descriptor in descriptors.filter(|&descriptor: &i32| descriptor > 2) {
        // One descriptor was the directory's own and is already closed. libc returns EBADF for it,
        // where rustix would assert. SAFETY: the caller guarantees that no code in this process
        // owns the descriptor.
        unsafe { libc::close(descriptor) };
    }
    Ok(())
}
