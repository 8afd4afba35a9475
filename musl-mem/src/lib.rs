//! `memcpy`, `memmove`, `memcmp` and `bcmp` for binaries that are linked with musl.
//!
//! Rust calls them for nearly everything that it copies or compares, mostly for a few bytes.
//! musl's `memcpy` for x86-64 is a `rep movsq`, which takes longer to start than such a copy takes
//! otherwise; its `memcmp` compares one byte at a time. With these functions a reply of 1 MB takes
//! half the CPU time.
//!
//! A static binary takes them instead of musl's because the linker looks into musl only for what
//! is still missing. With other C libraries nothing is replaced.
//!
//! The functions are unsafe because C defines their signatures. No crate offers them under these
//! names.

#![no_std]
// Otherwise the compiler may turn a loop in `memcpy` into a call of `memcpy`.
#![no_builtins]
#![allow(unsafe_code)]

#[cfg(test)]
extern crate std;

mod compare;
// On other processors, musl has fast ones.
#[cfg(target_arch = "x86_64")]
mod copy;

pub use compare::{bcmp, memcmp};
#[cfg(target_arch = "x86_64")]
pub use copy::{memcpy, memmove};
