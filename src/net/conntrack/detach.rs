// SPDX-License-Identifier: GPL-2.0

//! Taking timeout objects off the flows that have them.
//!
//! C header:
//! [`include/net/netfilter/nf_conntrack_core.h`](srctree/include/net/netfilter/nf_conntrack_core.h)

use core::ptr;

use kernel::{
    alloc::KVVec,
    ffi::{
        c_int,
        c_void, //
    },
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
};

use super::timeout::{
    Owner,
    Timeout, //
};

use crate::{
    bindings,
    net::netns::Net, //
};

/// Takes an object off all flows in `net`, and drops it. Sleeps.
///
/// The flows go on with the default timeouts of the namespace. When there is no other reference,
/// there is no such flow, and the conntrack table is not walked. Templates and other users keep the
/// object; a flow that is not in the table yet (its first packet is being processed) may keep it,
/// too.
pub(crate) fn detach<T>(owner: Owner<T>, net: &Net) {
    if let Err(timeout) = owner.into_timeout().try_end() {
        walk(net, &timeout);
    }
}

/// Takes an object off all flows in `net`. Sleeps.
fn walk<T>(net: &Net, timeout: &Timeout<T>) {
    // SAFETY: The namespace is valid, and our reference keeps the object.
    unsafe { bindings::nf_ct_untimeout(net.as_raw(), timeout.as_raw().as_ptr()) };
}

/// A number of objects to be taken off all flows of a namespace, in one walk, when it is dropped.
pub(crate) struct DetachBatch<'a, T> {
    net: &'a Net,
    timeouts: KVVec<Timeout<T>>,
}

impl<'a, T> DetachBatch<'a, T> {
    /// An empty batch.
    pub(crate) fn new(net: &'a Net) -> Self {
        Self {
            net,
            timeouts: KVVec::new(),
        }
    }

    /// Adds an object. One that no flow can have is done with at once; without memory to remember
    /// it, so is any other. Sleeps.
    pub(crate) fn push(&mut self, owner: Owner<T>) {
        let Err(timeout) = owner.into_timeout().try_end() else {
            return;
        };
        // Not charged to the caller: it is given back right away, and a caller at its limit would make
        // us walk the table once for each object.
        if self.timeouts.reserve(1, GFP_KERNEL).is_err() {
            walk(self.net, &timeout);
            return;
        }
        // There is room for it, so this does not fail.
        let _ = self.timeouts.push(timeout, GFP_KERNEL);
    }
}

impl<T> Drop for DetachBatch<'_, T> {
    fn drop(&mut self) {
        if self.timeouts.is_empty() {
            return;
        }
        let timeouts = self.timeouts.as_mut_slice();
        // The kernel's sort is a heap sort: it needs no stack to speak of.
        // SAFETY: The arguments describe the slice, and any order of its elements is fine.
        unsafe {
            bindings::sort(
                timeouts.as_mut_ptr().cast(),
                timeouts.len(),
                size_of::<Timeout<T>>(),
                Some(compare_addresses::<T>),
                None,
            );
        }
        let listed: &[Timeout<T>] = timeouts;
        let data = bindings::nf_ct_iter_data {
            net: self.net.as_raw(),
            data: (&raw const listed).cast_mut().cast(),
            ..Default::default()
        };
        // SAFETY: The callback takes `data.data` for what it is, a slice that outlives the call.
        unsafe { bindings::nf_ct_iterate_cleanup_net(Some(detach_if_listed::<T>), &data) };
    }
}

/// # Safety
///
/// To be called by `sort()` only, on a slice of `Timeout<T>`.
unsafe extern "C" fn compare_addresses<T>(a: *const c_void, b: *const c_void) -> c_int {
    // SAFETY: Both point to elements of the slice.
    let (a, b) = unsafe { (&*a.cast::<Timeout<T>>(), &*b.cast::<Timeout<T>>()) };
    a.as_raw().cmp(&b.as_raw()) as c_int
}

/// Takes one of the listed objects off a flow; the flow itself stays.
///
/// # Safety
///
/// To be called by `nf_ct_iterate_cleanup_net()` only, which holds the lock of the flow's bucket,
/// with a pointer to a sorted slice of `Timeout<T>`.
unsafe extern "C" fn detach_if_listed<T>(ct: *mut bindings::nf_conn, data: *mut c_void) -> c_int {
    // SAFETY: By this function's contract.
    let listed = unsafe { *data.cast::<&[Timeout<T>]>() };
    // SAFETY: The flow is valid. Its extension is either absent or valid as long as the flow is.
    let slot = unsafe {
        let ext = bindings::cttimeout_helper_nf_ct_timeout_find(ct);
        if ext.is_null() {
            return 0;
        }
        Atomic::from_ptr(&raw mut (*ext).timeout)
    };

    let object = slot.load(Relaxed);
    let found = listed.binary_search_by(|timeout| timeout.as_raw().as_ptr().cmp(&object));
    if let Some(timeout) = found.ok().and_then(|at| listed.get(at)) {
        // Who frees a flow first takes it out of the table, under the lock that we run under, so it
        // does not give the same reference back a second time.
        slot.store(ptr::null_mut(), Relaxed);
        // SAFETY: It is the flow's reference that we give back; `timeout` is another.
        unsafe { timeout.put_another() };
    }
    0
}
