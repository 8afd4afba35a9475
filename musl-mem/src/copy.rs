//! Copying, on x86-64.

// A register of SSE2, which every x86-64 processor has.
use core::arch::x86_64::__m128i as Block;

/// Copies `len` bytes; source and destination do not overlap.
///
/// # Safety
///
/// As C defines it: both ranges are valid.
#[cfg_attr(all(target_env = "musl", not(test)), unsafe(no_mangle))]
pub unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, len: usize) -> *mut u8 {
    // SAFETY: the caller guarantees what `copy` needs.
    unsafe { copy(to, from, len) }
    to
}

/// Copies `len` bytes; source and destination may overlap.
///
/// # Safety
///
/// As C defines it: both ranges are valid.
#[cfg_attr(all(target_env = "musl", not(test)), unsafe(no_mangle))]
pub unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, len: usize) -> *mut u8 {
    // SAFETY: the caller guarantees what `copy` needs.
    unsafe { copy(to, from, len) }
    to
}

/// Copies `len` bytes; source and destination may overlap.
///
/// # Safety
///
/// Both ranges are valid.
#[inline(always)]
unsafe fn copy(to: *mut u8, from: *const u8, len: usize) {
    // SAFETY: each function gets a length of at least the size that it needs.
    unsafe {
        match len {
            0 => {}
            1 => *to = *from,
            2..4 => copy_ends::<u16>(to, from, len),
            4..8 => copy_ends::<u32>(to, from, len),
            8..16 => copy_ends::<u64>(to, from, len),
            16..=32 => copy_ends::<Block>(to, from, len),
            33..=64 => copy_ends::<[Block; 2]>(to, from, len),
            // The destination begins before the source or behind its end.
            _ if to.addr().wrapping_sub(from.addr()) >= len => copy_forwards(to, from, len),
            _ => copy_backwards(to, from, len),
        }
    }
}

/// Copies the first and the last `T` of the range, which together are the whole of it.
///
/// # Safety
///
/// Both ranges are valid and hold at least one `T`.
#[inline(always)]
unsafe fn copy_ends<T>(to: *mut u8, from: *const u8, len: usize) {
    // SAFETY: `len` is at least the size of `T`. Both are read before anything is written.
    unsafe {
        let last = len - size_of::<T>();
        let (head, tail) = (load::<T>(from, 0), load::<T>(from, last));
        store(to, 0, head);
        store(to, last, tail);
    }
}

/// The number of bytes that are copied at a time.
const CHUNK: usize = size_of::<[Block; 4]>();

/// Copies from the first byte to the last.
///
/// # Safety
///
/// Both ranges are valid and hold at least a chunk; writing upwards overwrites nothing that is
/// still to be read.
unsafe fn copy_forwards(to: *mut u8, from: *const u8, len: usize) {
    // SAFETY: `at` and `last` are at most `len` minus a chunk.
    unsafe {
        let last = len - CHUNK;
        let tail = load::<[Block; 4]>(from, last);
        let mut at = 0;
        while at < last {
            store(to, at, load::<[Block; 4]>(from, at));
            at += CHUNK;
        }
        store(to, last, tail);
    }
}

/// Copies from the last byte to the first.
///
/// # Safety
///
/// Both ranges are valid and hold at least a chunk; writing downwards overwrites nothing that is
/// still to be read.
unsafe fn copy_backwards(to: *mut u8, from: *const u8, len: usize) {
    // SAFETY: `at` is at least a chunk where it is used.
    unsafe {
        let head = load::<[Block; 4]>(from, 0);
        let mut at = len;
        while at > CHUNK {
            at -= CHUNK;
            store(to, at, load::<[Block; 4]>(from, at));
        }
        store(to, 0, head);
    }
}

#[inline(always)]
unsafe fn load<T>(from: *const u8, at: usize) -> T {
    // SAFETY: the caller guarantees that a `T` lies there.
    unsafe { from.add(at).cast::<T>().read_unaligned() }
}

#[inline(always)]
unsafe fn store<T>(to: *mut u8, at: usize, value: T) {
    // SAFETY: the caller guarantees that a `T` fits there.
    unsafe { to.add(at).cast::<T>().write_unaligned(value) }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::{CHUNK, memcpy, memmove};

    /// Lengths around the limits of all ways to copy.
    fn lengths() -> impl Iterator<Item = usize> {
        (0..4 * CHUNK).chain([4095, 4096, 4097])
    }

    fn pattern(len: usize) -> Vec<u8> {
        (0..len).map(|at| u8::try_from(at % 251).unwrap()).collect()
    }

    #[test]
    fn memcpy_copies_the_range_and_nothing_else() {
        for len in lengths() {
            for offset in [0, 1, 7, 15] {
                let from = pattern(offset + len);
                let mut to = std::vec![255; len + 2];
                // SAFETY: both ranges lie within their vectors.
                unsafe { memcpy(to.as_mut_ptr().add(1), from.as_ptr().add(offset), len) };
                assert_eq!(&to[1..=len], &from[offset..], "{len} bytes at {offset}");
                assert_eq!((to[0], to[len + 1]), (255, 255), "{len} bytes at {offset}");
            }
        }
    }

    #[test]
    fn memmove_copies_ranges_that_overlap() {
        for len in lengths() {
            for distance in [0, 1, 7, 16, 33, CHUNK, CHUNK + 1, len.saturating_sub(1)] {
                for (from, to) in [(0, distance), (distance, 0)] {
                    let mut bytes = pattern(len + distance);
                    let mut expected = bytes.clone();
                    expected.copy_within(from..from + len, to);
                    let start = bytes.as_mut_ptr();
                    // SAFETY: both ranges lie within the vector.
                    unsafe { memmove(start.add(to), start.add(from), len) };
                    assert!(bytes == expected, "{len} bytes from {from} to {to}");
                }
            }
        }
    }
}
