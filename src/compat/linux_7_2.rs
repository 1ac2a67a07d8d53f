// SPDX-License-Identifier: GPL-2.0

//! Linux 7.2: what its kernel crate lacks, or has under another name.

use core::mem;

use kernel::{
    ffi::c_int,
    prelude::*,
    sync::barrier::{
        smp_rmb,
        smp_wmb, //
    },
    ModuleMetadata,
};

use pin_init::PinInit;

use crate::bindings;

pub(crate) const EOPNOTSUPP: Error = error(bindings::EOPNOTSUPP);
pub(crate) const EPROTONOSUPPORT: Error = error(bindings::EPROTONOSUPPORT);

/// An error that has no name in the kernel crate. To be evaluated at compile time.
const fn error(number: u32) -> Error {
    const { assert!(size_of::<Error>() == size_of::<c_int>()) };
    assert!(number > 0 && number <= bindings::MAX_ERRNO);
    // SAFETY: An `Error` is a structure of one field, a `NonZero<c_int>`, and nothing else, as its
    // size tells. By the other assertion, its invariant holds: it is an error number.
    unsafe { mem::transmute::<c_int, Error>(-(number as c_int)) }
}

/// The `THIS_MODULE` of a module.
#[expect(
    clippy::extra_unused_type_parameters,
    reason = "a crate has one module, and `M` is that"
)]
pub(crate) const fn this_module<M: ModuleMetadata>() -> &'static ThisModule {
    &crate::THIS_MODULE
}

/// What a memory barrier orders.
pub(crate) enum Ordering {
    /// Reads before it with reads after it.
    Read,
    /// Writes before it with writes after it.
    Write,
}

pub(crate) use Ordering::{
    Read,
    Write, //
};

/// A memory barrier between CPUs.
#[inline(always)]
pub(crate) fn smp_mb(ordering: Ordering) {
    match ordering {
        Read => smp_rmb(),
        Write => smp_wmb(),
    }
}

/// Waits for a grace period. Sleeps.
pub(crate) fn synchronize_rcu() {
    // SAFETY: There are no requirements but that the caller may sleep.
    unsafe { bindings::synchronize_rcu() };
}

/// Initializes the memory at `slot`.
///
/// # Safety
///
/// `slot` must be valid for writes. On success it must not be moved until it is dropped; on failure it
/// must not be read.
#[inline(always)]
pub(crate) unsafe fn raw_try_init<T, E>(slot: *mut T, init: impl PinInit<T, E>) -> Result<(), E> {
    // SAFETY: By the caller's promise.
    unsafe { init.__pinned_init(slot) }
}

/// `module!`, which has no parameters of type `bool`: `linux_7_2.c` has them.
macro_rules! module {
    (
        type: $type:tt,
        name: $name:tt,
        authors: $authors:tt,
        description: $description:tt,
        license: $license:tt,
        alias: $alias:tt,
        params: $params:tt,
    ) => {
        ::kernel::prelude::module! {
            type: $type,
            name: $name,
            authors: $authors,
            description: $description,
            license: $license,
            alias: $alias,
        }
    };
}
pub(crate) use module;

/// The parameters of `nfnetlink_cttimeout_rust`.
#[allow(non_upper_case_globals)]
pub(crate) mod module_parameters {
    extern "C" {
        static cttimeout_detach_in_use: bool;
    }

    pub(crate) struct DetachInUse;

    impl DetachInUse {
        pub(crate) fn value(&self) -> bool {
            // SAFETY: The variable is written before any code of the module runs, and not any more
            // then: the parameter has no file in sysfs.
            unsafe { cttimeout_detach_in_use }
        }
    }

    pub(crate) static detach_in_use: DetachInUse = DetachInUse;
}
