//! Comparing.

/// Compares `len` bytes: negative, 0 or positive, as the first differing byte of `left` is
/// smaller, there is none, or it is larger.
///
/// # Safety
///
/// As C defines it: both ranges are valid.
#[cfg_attr(all(target_env = "musl", not(test)), unsafe(no_mangle))]
pub unsafe extern "C" fn memcmp(left: *const u8, right: *const u8, len: usize) -> i32 {
    const WORD: usize = size_of::<u64>();
    // SAFETY: `at` is at most `len` minus the size of what is read.
    unsafe {
        if len < WORD {
            for at in 0..len {
                let (left, right) = (*left.add(at), *right.add(at));
                if left != right {
                    return i32::from(left) - i32::from(right);
                }
            }
            return 0;
        }
        let last = len - WORD;
        let mut at = 0;
        loop {
            // The first byte is the most significant one.
            let left = u64::from_be(left.add(at).cast::<u64>().read_unaligned());
            let right = u64::from_be(right.add(at).cast::<u64>().read_unaligned());
            if left != right {
                return if left < right { -1 } else { 1 };
            }
            if at == last {
                return 0;
            }
            at = last.min(at + WORD);
        }
    }
}

/// Whether `len` bytes differ: 0 or not 0.
///
/// # Safety
///
/// As C defines it: both ranges are valid.
#[cfg_attr(all(target_env = "musl", not(test)), unsafe(no_mangle))]
pub unsafe extern "C" fn bcmp(left: *const u8, right: *const u8, len: usize) -> i32 {
    // SAFETY: the caller guarantees what `memcmp` needs.
    unsafe { memcmp(left, right, len) }
}

#[cfg(test)]
mod tests {
    use super::{bcmp, memcmp};

    /// What `memcmp` says of two slices of the same length, as a sign.
    fn compare(left: &[u8], right: &[u8]) -> i32 {
        // SAFETY: both slices have this length.
        let (order, differs) = unsafe {
            (
                memcmp(left.as_ptr(), right.as_ptr(), left.len()),
                bcmp(left.as_ptr(), right.as_ptr(), left.len()),
            )
        };
        assert_eq!(differs == 0, order == 0);
        order.signum()
    }

    #[test]
    fn the_first_difference_decides_as_unsigned_bytes() {
        for len in 0..40 {
            let same = std::vec![7; len];
            assert_eq!(compare(&same, &same.clone()), 0, "{len} bytes");
            for at in 0..len {
                let mut larger = same.clone();
                larger[at] = 200;
                // What follows does not matter.
                larger[at + 1..].fill(0);
                assert_eq!(compare(&same, &larger), -1, "byte {at} of {len}");
                assert_eq!(compare(&larger, &same), 1, "byte {at} of {len}");
            }
        }
    }
}
