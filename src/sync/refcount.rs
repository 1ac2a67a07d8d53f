// SPDX-License-Identifier: GPL-2.0

//! Operations of `refcount_t` that [`Refcount`] lacks.
//!
//! C header: [`include/linux/refcount.h`](srctree/include/linux/refcount.h)

use kernel::sync::Refcount;

use crate::bindings;

/// Operations on the count of an object that others can find.
pub(crate) trait RefcountExt {
    /// Increments the count unless it is zero; returns whether it did.
    ///
    /// Provides a control dependency on success.
    #[must_use]
    fn inc_not_zero(&self) -> bool;

    /// Decrements the count from one to zero in one atomic step, or leaves it alone; returns
    /// whether it was one.
    ///
    /// Provides release ordering, and a control dependency on success.
    #[must_use]
    fn dec_if_one(&self) -> bool;

    /// The count at this moment, without any ordering.
    fn read(&self) -> u32;
}

fn as_raw(count: &Refcount) -> *mut bindings::refcount_t {
    count.as_atomic().as_ptr().cast()
}

impl RefcountExt for Refcount {
    #[inline]
    fn inc_not_zero(&self) -> bool {
        // SAFETY: The pointer comes from a reference to a `refcount_t`.
        unsafe { bindings::cttimeout_helper_refcount_inc_not_zero(as_raw(self)) }
    }

    #[inline]
    fn dec_if_one(&self) -> bool {
        // SAFETY: The pointer comes from a reference to a `refcount_t`.
        unsafe { bindings::refcount_dec_if_one(as_raw(self)) }
    }

    #[inline]
    fn read(&self) -> u32 {
        // SAFETY: The pointer comes from a reference to a `refcount_t`.
        unsafe { bindings::cttimeout_helper_refcount_read(as_raw(self)) }
    }
}
