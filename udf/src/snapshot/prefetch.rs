//! Hints to the processor to fetch a cache line.

#![allow(unsafe_code)]

/// Begins to fetch the cache line of a value. It has no effect where the processor has no such hint
/// that stable Rust can give.
#[inline(always)]
pub(super) fn prefetch<T>(value: &T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let address: *const T = value;
        // SAFETY: a hint reads no memory, and the address is that of a reference.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) };
    }
    #[cfg(target_arch = "aarch64")]
    {
        let address: *const T = value;
        // SAFETY: a hint reads no memory, and the address is that of a reference.
        unsafe {
            std::arch::asm!("prfm pldl1keep, [{0}]", in(reg) address, options(nostack, readonly, preserves_flags))
        };
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = value;
}
