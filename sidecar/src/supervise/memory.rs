//! Memory that was freed, given back to the system.

/// Gives it back: glibc keeps what a large task freed for the next one, which may never come. Elsewhere the allocator decides.
pub(crate) fn trim() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: it returns pages that nothing uses, and takes locks of the allocator meanwhile.
    unsafe {
        libc::malloc_trim(0);
    }
}
