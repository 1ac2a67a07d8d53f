// SPDX-License-Identifier: GPL-2.0

//! Short strings of bounded size, kept inline.

use kernel::{
    ffi::c_char,
    prelude::*,
    transmute::AsBytes, //
};

/// A string of at most `N - 1` bytes other than NUL, padded with NULs to `N` bytes.
///
/// # Examples
///
/// ```ignore
/// let name = PaddedStr::<32>::new(b"web\0").ok_or(EINVAL)?;
/// assert_eq!(name.as_c_str(), c"web");
/// assert!(PaddedStr::<8>::new(b"too long").is_none());
/// ```
///
/// Two of them hold the same string if and only if all their bytes are equal, which makes the type
/// fit to be a hash table key. The bytes have no encoding.
///
/// # Invariants
///
/// The last byte is NUL, and every byte after a NUL is NUL.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(C, align(4))]
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

    /// Copies a NUL-terminated string.
    ///
    /// Returns [`None`] if there is no NUL within the first `N` bytes; no byte after them is read.
    ///
    /// # Safety
    ///
    /// `ptr` must point to bytes that are valid for reads up to and including the first NUL, or `N`
    /// bytes.
    pub(crate) unsafe fn from_char_ptr(ptr: *const c_char) -> Option<Self> {
        Self::assert_no_padding();
        let mut padded = [0; N];
        for (i, byte) in padded.iter_mut().enumerate() {
            // SAFETY: No byte before this one was NUL, and `i` is below `N`.
            *byte = unsafe { ptr.cast::<u8>().add(i).read() };
            if *byte == 0 {
                // INVARIANT: This byte is NUL, and the rest still is.
                return Some(Self(padded));
            }
        }
        None
    }

    const fn assert_no_padding() {
        const { assert!(N != 0 && N % size_of::<u64>() == 0 && size_of::<Self>() == N) };
    }

    /// The length of the string in bytes.
    fn len(&self) -> usize {
        // Only NULs follow a NUL, so each word has as many bytes of the string as it has without its
        // trailing NULs. That takes a fraction of the time of a search for the first NUL.
        self.0
            .chunks_exact(size_of::<u64>())
            .filter_map(|word| word.first_chunk())
            .map(|word| size_of::<u64>() - u64::from_le_bytes(*word).leading_zeros() as usize / 8)
            .sum()
    }

    /// The string with its terminator.
    pub(crate) fn as_c_str(&self) -> &CStr {
        // SAFETY: By the type invariant the byte at `len` exists and is the first NUL.
        unsafe { CStr::from_bytes_with_nul_unchecked(self.0.get_unchecked(..=self.len())) }
    }
}

// SAFETY: There is no padding: no value can be made if `N` is not a multiple of the alignment.
unsafe impl<const N: usize> AsBytes for PaddedStr<N> {}

// SAFETY: All zeros is the empty string.
unsafe impl<const N: usize> Zeroable for PaddedStr<N> {}
