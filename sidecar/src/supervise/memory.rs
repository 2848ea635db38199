//! Return of freed memory to the system.

/// Returns freed memory to the system. glibc keeps the memory that a large task freed for a next
/// one, even if none follows. On other platforms the allocator decides.
pub(crate) fn trim() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: `malloc_trim` returns only unused pages, and holds the allocator's locks meanwhile.
    unsafe {
        libc::malloc_trim(0);
    }
}
