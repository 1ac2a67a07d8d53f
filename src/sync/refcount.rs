// SPDX-License-Identifier: GPL-2.0

//! Operations of `refcount_t` that [`Refcount`] lacks.
//!
//! C header: [`include/linux/refcount.h`](srctree/include/linux/refcount.h)

use kernel::sync::{
    atomic::Relaxed,
    Refcount, //
};

use crate::bindings;

/// What a reference count needs if others can find its object, and may drop its last reference.
pub(crate) trait RefcountExt {
    /// Increments the count unless it is zero, and tells whether it did.
    ///
    /// Provides control dependency ordering on success.
    ///
    /// # Examples
    ///
    /// ```ignore
    /// # use kernel::sync::Refcount;
    /// let count = Refcount::new(1);
    /// assert!(count.inc_not_zero());
    /// assert!(count.sub_and_test(2));
    /// // Who finds the object now is too late.
    /// assert!(!count.inc_not_zero());
    /// ```
    fn inc_not_zero(&self) -> bool;

    /// Decrements the count from one to zero in one atomic step, or leaves it alone.
    ///
    /// Returns true if the count was one. Provides release ordering, and a control dependency on
    /// success.
    ///
    /// # Examples
    ///
    /// ```ignore
    /// # use kernel::sync::Refcount;
    /// let count = Refcount::new(2);
    /// assert!(!count.dec_if_one());
    /// assert!(!count.sub_and_test(1));
    /// assert!(count.dec_if_one());
    /// ```
    fn dec_if_one(&self) -> bool;

    /// Subtracts `count` from the count, and tells whether it is zero now.
    ///
    /// Provides release ordering, and acquire ordering if it is zero.
    ///
    /// # Examples
    ///
    /// ```ignore
    /// # use kernel::sync::Refcount;
    /// let count = Refcount::new(10);
    /// assert!(!count.sub_and_test(9));
    /// assert!(count.sub_and_test(1));
    /// ```
    fn sub_and_test(&self, count: i32) -> bool;

    /// The count at this moment, without any ordering.
    ///
    /// # Examples
    ///
    /// ```ignore
    /// # use kernel::sync::Refcount;
    /// let count = Refcount::new(1);
    /// count.inc();
    /// assert_eq!(count.read(), 2);
    /// assert!(count.sub_and_test(2));
    /// ```
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
    fn sub_and_test(&self, count: i32) -> bool {
        // SAFETY: The pointer comes from a reference to a `refcount_t`.
        unsafe { bindings::cttimeout_helper_refcount_sub_and_test(count, as_raw(self)) }
    }

    #[inline]
    fn read(&self) -> u32 {
        self.as_atomic().load(Relaxed) as u32
    }
}
