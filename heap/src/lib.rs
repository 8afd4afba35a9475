//! Gives memory of the heap back to the system.
//!
//! glibc keeps what was freed if it lies below something that is still in use,
//! and it raises the size from which it asks the system for memory of its own,
//! which can always be given back, to that of the largest block that was freed.
//! After one reply of 10 MB, a few small blocks near the end of the heap kept
//! 47 MB of an idle process; with these two calls it is 5 MB. Neither has a
//! safe wrapper, nor a setting that reaches as far (`GLIBC_TUNABLES`: 32 MB), and
//! other allocators kept more (mimalloc: 14 MB at the price of a higher peak).
//!
//! With another C library both functions do nothing.

/// Blocks of this size and more, in bytes, are memory of their own. It is the
/// threshold that glibc begins with.
#[cfg(target_env = "gnu")]
const OWN_MEMORY: libc::c_int = 128 * 1024;

/// Keeps glibc from putting ever larger blocks on the heap. To be called at the
/// start of the process.
pub fn keep_large_blocks_apart() {
    #[cfg(target_env = "gnu")]
    #[allow(unsafe_code)]
    // SAFETY: `mallopt` takes two numbers and no pointer, and may be called at any
    // time. With an unknown one it does nothing.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, OWN_MEMORY);
    }
}

/// Gives back what is free. Takes some milliseconds, so it is for after large
/// things only.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    #[allow(unsafe_code)]
    // SAFETY: `malloc_trim` takes a number of bytes to keep and no pointer, touches
    // free memory only, and locks out other threads while it does.
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(all(test, target_os = "linux", target_env = "gnu"))]
mod tests {
    /// Resident memory in KiB.
    fn resident() -> usize {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    #[test]
    fn freed_memory_is_given_back_although_something_lies_above_it() {
        super::keep_large_blocks_apart();
        let begin = resident();
        let blocks: Vec<_> = (0..40_000).map(|_| vec![1_u8; 1024]).collect();
        let last = vec![1_u8; 64];
        let full = resident();
        assert!(full > begin + 35_000, "{begin} to {full}");
        drop(blocks);
        super::give_back();
        let after = resident();
        assert!(after < begin + 5_000, "{begin} to {full} to {after}");
        drop(last);
    }
}
