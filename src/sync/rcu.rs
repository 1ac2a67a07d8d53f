// SPDX-License-Identifier: GPL-2.0

//! What RCU readers need beyond the kernel crate's guard.
//!
//! C header: [`include/linux/rcupdate.h`](srctree/include/linux/rcupdate.h)

use core::ptr::NonNull;

use kernel::sync::rcu::Guard;

/// Evidence of a read-side critical section that the caller of a C callback is in.
///
/// # Examples
///
/// ```ignore
/// # use kernel::sync::rcu;
/// /// Called by C, under `rcu_read_lock()`.
/// unsafe extern "C" fn callback() {
///     // SAFETY: The caller holds the lock until this returns.
///     let rcu: &rcu::Guard = unsafe { rcu::held() };
///     // What takes a guard can be called here.
///     # let _ = rcu;
/// }
/// # let _guard = rcu::read_lock();
/// # // SAFETY: As it wants to be called.
/// # unsafe { callback() };
/// ```
///
/// # Safety
///
/// The RCU read lock must be held during `'a`, by the current thread.
pub(crate) unsafe fn held<'a>() -> &'a Guard {
    const { assert!(size_of::<Guard>() == 0) };
    // SAFETY: A reference to nothing points to nothing. What a guard stands for is promised by the
    // caller.
    unsafe { NonNull::dangling().as_ref() }
}

/// Loads a pointer that writers change while it is read (`rcu_dereference()`).
///
/// What a writer wrote before it published the pointer with release ordering is visible through the
/// pointer. Unlike a load with acquire ordering, this takes no fence on most machines.
///
/// # Examples
///
/// ```ignore
/// # use kernel::sync::{
/// #     atomic::{Atomic, Release},
/// #     rcu,
/// # };
/// let mut answer = 42;
/// let place = Atomic::new(core::ptr::null_mut());
/// place.store(&raw mut answer, Release);
///
/// let guard = rcu::read_lock();
/// // SAFETY: An `Atomic` is accessed as a whole only.
/// let found = unsafe { rcu::dereference(place.as_ptr(), &guard) };
/// // SAFETY: It points to the answer, which nobody changes.
/// assert_eq!(unsafe { *found }, 42);
/// ```
///
/// # Safety
///
/// `place` must be aligned and valid for reads; all concurrent accesses must be of the whole pointer, as
/// by WRITE_ONCE().
#[inline(always)]
pub(crate) unsafe fn dereference<T>(place: *const *mut T, _guard: &Guard) -> *mut T {
    // A volatile load, that is READ_ONCE(), which is all that rcu_dereference() takes on the
    // machines that Rust supports: reads through a pointer are ordered by the address dependency.
    // (On arm64 with LTO, C uses an acquire load, because of what clang might do when it sees the
    // whole kernel; rustc takes no part in that.) There is no C helper for it, because walking a
    // list does little else.
    // SAFETY: By the caller's promise.
    unsafe { place.read_volatile() }
}
