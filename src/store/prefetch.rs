//! Asks the processor to fetch memory before it is needed: the only `unsafe` code of nuthatch.

/// Bytes that are fetched together.
pub(crate) const CACHE_LINE_LEN: usize = 64;

/// Begins to fetch the cache line at `address`, which need not be the address of anything.
#[inline]
pub(crate) fn prefetch<T>(address: *const T) {
    #[cfg(target_arch = "x86_64")]
    #[expect(unsafe_code, reason = "no safe function does this")]
    // SAFETY: a prefetch changes nothing and never faults, whatever the address; every x86-64
    // processor has it.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}
