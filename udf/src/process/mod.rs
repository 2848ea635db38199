//! What a process does once, before it serves, because the server started it by fork and exec.
//!
//! It does not ask to be killed with its parent (`PR_SET_PDEATHSIG`): the kernel binds that to the *thread*
//! that forked, which in ClickHouse is a pool thread that may end long before the server does, and then a
//! healthy pooled process would die in the middle of a query. The end of its input tells a process that the
//! server has gone.

mod pipes;

use std::io;

pub use pipes::{InputPipe, pipes};

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
