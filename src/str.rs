// SPDX-License-Identifier: GPL-2.0

//! Short strings of bounded size, kept inline.

use kernel::{
    ffi::c_char,
    prelude::*,
    transmute::AsBytes, //
};

use crate::{
    bindings,
    sync::rcu_map::Key, //
};

/// A string of at most `N - 1` bytes other than NUL, padded with NULs to `N` bytes.
///
/// # Examples
///
/// ```ignore
/// # use kernel::str::padded::PaddedStr;
/// let name = PaddedStr::<32>::new(b"web\0").ok_or(EINVAL)?;
/// assert_eq!(name.as_c_str(), c"web");
/// assert!(PaddedStr::<8>::new(b"too long").is_none());
/// # Ok::<(), Error>(())
/// ```
///
/// Two of them hold the same string if and only if all their bytes are equal, which makes the type
/// fit to be a hash table key. The bytes have no encoding.
///
/// # Invariants
///
/// The last byte is NUL, and every byte after a NUL is NUL.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub(crate) struct PaddedStr<const N: usize>([u8; N]);

impl<const N: usize> PaddedStr<N> {
    /// Copies the bytes up to the first NUL.
    ///
    /// Returns [`None`] if that is more than `N - 1` bytes.
    pub(crate) fn new(bytes: &[u8]) -> Option<Self> {
        Self::assert_no_padding();
        let len = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
        let mut padded = [0; N];
        if len >= N {
            return None;
        }
        // INVARIANT: The rest, of at least one byte, stays NUL.
        padded.get_mut(..len)?.copy_from_slice(bytes.get(..len)?);
        Some(Self(padded))
    }

    /// The empty string.
    pub(crate) const fn empty() -> Self {
        Self::assert_no_padding();
        Self([0; N])
    }

    /// Sets this to a copy of a NUL-terminated string.
    ///
    /// Fails with `E2BIG` if there is no NUL within the first `N` bytes; no byte after them is
    /// read. The contents are unspecified then.
    ///
    /// # Safety
    ///
    /// `ptr` must point to bytes that are valid for reads up to and including the first NUL, or `N`
    /// bytes.
    pub(crate) unsafe fn copy_from(&mut self, ptr: *const c_char) -> Result {
        *self = Self::empty();
        // INVARIANT: The last byte is NUL, also if the string was cut off. What is written behind its
        // end, up to the end of a word, are NULs.
        // SAFETY: There is room for `N` bytes. By the caller's promise, the string has as many, or ends
        // before; that the rest of the word it ends in can be read is the function's own concern.
        let len = unsafe { bindings::sized_strscpy(self.0.as_mut_ptr().cast(), ptr, N) };
        if len < 0 {
            return Err(E2BIG);
        }
        Ok(())
    }

    const fn assert_no_padding() {
        const { assert!(N != 0 && N % size_of::<u64>() == 0 && size_of::<Self>() == N) };
    }

    /// The length of the string in bytes.
    fn len(&self) -> usize {
        // Only NULs follow a NUL, so what a word has of the string is all but its trailing NULs. To
        // count that takes a fraction of the time of a search for the first NUL.
        self.words()
            .map(|word| size_of::<u64>() - u64::from_le(word).leading_zeros() as usize / 8)
            .sum()
    }

    /// All bytes, by the word.
    fn words(&self) -> impl Iterator<Item = u64> + '_ {
        self.0
            .chunks_exact(size_of::<u64>())
            .filter_map(|bytes| bytes.first_chunk())
            .map(|bytes| u64::from_ne_bytes(*bytes))
    }

    /// The string with its terminator.
    pub(crate) fn as_c_str(&self) -> &CStr {
        // SAFETY: By the type invariant the byte at `len` exists and is the first NUL.
        unsafe { CStr::from_bytes_with_nul_unchecked(self.0.get_unchecked(..=self.len())) }
    }
}

impl<const N: usize> PartialEq for PaddedStr<N> {
    fn eq(&self, other: &Self) -> bool {
        // The kernel's bcmp() compares byte by byte.
        self.words().eq(other.words())
    }
}

impl<const N: usize> Eq for PaddedStr<N> {}

// SAFETY: All bytes are compared, by the word.
unsafe impl<const N: usize> Key for PaddedStr<N> {}

// SAFETY: There is no padding: no value can be made if `N` is not a multiple of the alignment. Either
// `assert_no_padding` sees to that, or the value comes from `Zeroable`, which only 32 has.
unsafe impl<const N: usize> AsBytes for PaddedStr<N> {}

// Not for every `N`: nothing would assert that there is no padding.
// SAFETY: All zeros is the empty string.
unsafe impl Zeroable for PaddedStr<32> {}
