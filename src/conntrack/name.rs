// SPDX-License-Identifier: GPL-2.0

//! Names of timeout policies.
//!
//! C header:
//! [`include/net/netfilter/nf_conntrack_timeout.h`][header] (`CTNL_TIMEOUT_NAME_MAX`)
//!
//! [header]: srctree/include/net/netfilter/nf_conntrack_timeout.h

use kernel::{
    ffi::c_char,
    prelude::*,
    transmute::AsBytes, //
};

use crate::bindings;

/// The size of a name in bytes, its NUL included.
pub(crate) const TIMEOUT_NAME_MAX: usize = bindings::CTNL_TIMEOUT_NAME_MAX as usize;

/// The name of a policy: up to 31 bytes other than NUL, in no particular encoding.
///
/// Whole words are compared and hashed, so the bytes after the NUL count, too.
///
/// # Invariants
///
/// The last byte is NUL, and so is every byte after a NUL.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct Name([u64; TIMEOUT_NAME_MAX / size_of::<u64>()]);

impl Name {
    /// Copies the bytes up to the first NUL; [`None`] if there is no NUL among the first 32.
    pub(crate) fn new(bytes: &[u8]) -> Option<Self> {
        // SAFETY: `bytes` can be read up to its end.
        unsafe { Self::copy(bytes.as_ptr().cast(), bytes.len()) }
    }

    /// Copies a C string; [`None`] if it has more than 31 bytes.
    ///
    /// # Safety
    ///
    /// `name` must point to bytes that are valid for reads up to the first NUL, or 32 bytes.
    pub(super) unsafe fn from_char_ptr(name: *const c_char) -> Option<Self> {
        // SAFETY: By the safety requirements of this function, `name` can be read up to its NUL or
        // for 32 bytes.
        unsafe { Self::copy(name, TIMEOUT_NAME_MAX) }
    }

    /// Copies a C string that ends within `len` bytes, and within 32.
    ///
    /// # Safety
    ///
    /// `name` must point to bytes that are valid for reads up to the first NUL, or `len` bytes.
    unsafe fn copy(name: *const c_char, len: usize) -> Option<Self> {
        let mut this = Self([0; _]);
        let len = len.min(TIMEOUT_NAME_MAX);
        // INVARIANT: The function ends the string with a NUL, behind which it writes only NULs, or
        // leaves those that are there.
        // SAFETY: `this` has room for `len` bytes. By the safety requirements of this function,
        // `name` can be read up to its NUL or for `len` bytes.
        let copied = unsafe { bindings::sized_strscpy(this.0.as_mut_ptr().cast(), name, len) };
        (copied >= 0).then_some(this)
    }

    /// The name with its NUL.
    pub(crate) fn as_c_str(&self) -> &CStr {
        // The bytes of each word but the zeros at its end: a search for the first NUL takes longer.
        let len = |word: &u64| size_of::<u64>() - u64::from_le(*word).leading_zeros() as usize / 8;
        let len: usize = self.0.iter().map(len).sum();
        let bytes = AsBytes::as_bytes(&self.0);
        // SAFETY: By the type invariant, only the word with the first NUL and those behind it end
        // in zeros, so the first NUL of `bytes` is at `len`, which is at most 31.
        unsafe { CStr::from_bytes_with_nul_unchecked(bytes.get_unchecked(..=len)) }
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        // The derived comparison calls bcmp(), which goes by the byte.
        self.0.iter().zip(&other.0).all(|(a, b)| a == b)
    }
}

// SAFETY: All zeros is the empty name.
unsafe impl Zeroable for Name {}
