// SPDX-License-Identifier: GPL-2.0

//! Operations of RCU readers beyond the kernel crate's guard.
//!
//! C header: [`include/linux/rcupdate.h`](srctree/include/linux/rcupdate.h)

use core::ptr::NonNull;

use kernel::sync::{
    atomic::{
        Atomic,
        AtomicType, //
    },
    rcu::Guard, //
};

/// Evidence of a read-side critical section that the caller of a C callback is in.
///
/// # Safety
///
/// The current thread must hold the RCU read lock during `'a`.
pub(crate) unsafe fn held<'a>() -> &'a Guard {
    const { assert!(size_of::<Guard>() == 0) };
    // SAFETY: `Guard` is zero-sized, so a dangling, aligned pointer is valid for it. By the safety
    // requirements of this function, the RCU read lock is held during `'a`.
    unsafe { NonNull::dangling().as_ref() }
}

/// Loads a value that a writer may change meanwhile.
///
/// The load is relaxed. (`Atomic::load` calls a function, which would more than double the
/// instructions by which a rule finds one of ten policies. `CONFIG_RUST_INLINE_HELPERS` would
/// inline it, but is experimental.)
#[doc(alias = "READ_ONCE")]
#[inline(always)]
pub(crate) fn read_once<T: AtomicType>(place: &Atomic<T>) -> T {
    const { assert!(size_of::<T>() <= size_of::<usize>()) };
    // SAFETY: `place` is valid, because it is borrowed. A volatile load of a word is a relaxed one,
    // as `READ_ONCE()` is.
    unsafe { place.as_ptr().read_volatile() }
}

/// Stores a value that readers may load meanwhile.
///
/// The store is relaxed. (`Atomic::store` would cost a function call for each timeout of a replace,
/// and for each flow of an untimeout.)
#[doc(alias = "WRITE_ONCE")]
#[inline(always)]
pub(crate) fn write_once<T: AtomicType>(place: &Atomic<T>, value: T) {
    const { assert!(size_of::<T>() <= size_of::<usize>()) };
    // SAFETY: `place` is valid, because it is borrowed. A volatile store of a word is a relaxed
    // one, as `WRITE_ONCE()` is.
    unsafe { place.as_ptr().write_volatile(value) };
}

/// Loads a pointer that a writer may change meanwhile.
///
/// A relaxed load is enough: reads through the pointer are ordered by the address dependency, and
/// the writer has published it with release ordering.
#[doc(alias = "rcu_dereference")]
#[inline(always)]
pub(crate) fn dereference<T>(place: &Atomic<*mut T>, _guard: &Guard) -> *mut T {
    read_once(place)
}
