// SPDX-License-Identifier: GPL-2.0

//! Taking timeout objects off the flows that have them ([`Untimeout`]).
//!
//! The flow table is walked once for any number of deleted policies, and no memory is needed to
//! remember them: their objects are marked with the number of the walk.
//!
//! C header:
//! [`include/net/netfilter/nf_conntrack_core.h`](srctree/include/net/netfilter/nf_conntrack_core.h)

use core::ptr::{
    self,
    NonNull, //
};

use kernel::{
    ffi::{
        c_int,
        c_void, //
    },
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
};

use super::timeout::{
    put,
    Timeout, //
};

use crate::{
    bindings,
    net::netns::Net,
    sync::refcount::RefcountExt, //
};

/// The walk over the flows of a namespace that is due. Dropping the value does it, and sleeps.
#[doc(alias = "nf_ct_untimeout")]
pub(super) struct Untimeout<'a> {
    net: &'a Net,
    /// Not zero, and not the number of another walk in `net`.
    number: usize,
    due: bool,
}

impl<'a> Untimeout<'a> {
    /// No walk is due.
    pub(super) fn new(net: &'a Net, number: usize) -> Self {
        Self {
            net,
            number,
            due: false,
        }
    }

    /// Drops the table's user of an object that was removed from the table.
    ///
    /// Flows that have the object go on with the default timeouts of the namespace, after the walk.
    /// Without flows and rules, no walk is due. Rules keep the object, and so may a flow that is
    /// not in the flow table yet, because its first packet is being processed.
    ///
    /// # Safety
    ///
    /// `timeout` was just removed from its table. The table's user passes to this function or, if
    /// there are no users any more, the references that they had. The module's exit must wait for
    /// the caller.
    pub(super) unsafe fn add(&mut self, timeout: NonNull<Timeout>) {
        // SAFETY: The references of the users of `timeout` keep it and its object.
        let (users, mark) = unsafe { (&timeout.as_ref().users, mark(timeout.as_ref().as_raw())) };
        // Litmus: mark
        mark.store(self.number, Relaxed);
        // Litmus: retire
        let unused = users.read() == 0 || users.dec_and_test();
        // SAFETY: `timeout` has no users any more, by whom it could be released.
        let freed = unused && unsafe { Timeout::release(timeout) };
        self.due |= !freed;
    }
}

impl Drop for Untimeout<'_> {
    fn drop(&mut self) {
        if self.due {
            walk(self.net, self.number);
        }
    }
}

/// The mark of an object: `rcu.next`, which is zero, and has no other use before the object is
/// freed.
///
/// # Safety
///
/// `object` must be referenced during `'a`.
unsafe fn mark<'a>(object: NonNull<bindings::nf_ct_timeout>) -> &'a Atomic<usize> {
    // SAFETY: By the safety requirements of this function, `object` is not being freed, so only
    // walks and `Untimeout::add` access the field, atomically.
    unsafe { Atomic::from_ptr((&raw mut (*object.as_ptr()).rcu.next).cast()) }
}

/// Takes the objects marked with `number` off all flows in `net`. Sleeps.
fn walk(net: &Net, number: usize) {
    let data = bindings::nf_ct_iter_data {
        net: net.as_raw(),
        data: ptr::without_provenance_mut(number),
        ..Default::default()
    };
    // SAFETY: `net` is valid, and `untimeout` returns zero for each flow, so that it stays.
    unsafe { bindings::nf_ct_iterate_cleanup_net(Some(untimeout), &data) };
}

/// Takes the object off a flow, if it is marked; the flow itself stays.
///
/// # Safety
///
/// For `nf_ct_iterate_cleanup_net()` only, which holds the lock of the flow's bucket.
unsafe extern "C" fn untimeout(ct: *mut bindings::nf_conn, number: *mut c_void) -> c_int {
    // SAFETY: By the safety requirements of this function, `ct` is valid.
    let Some(ext) = NonNull::new(unsafe { bindings::cttimeout_helper_nf_ct_timeout_find(ct) })
    else {
        return 0;
    };
    // SAFETY: The extension is valid as long as `ct` is. Packets load the pointer as a whole.
    let slot = unsafe { Atomic::from_ptr(&raw mut (*ext.as_ptr()).timeout) };
    // Relaxed: the pointer was stored before the flow was in the flow table; what it leads to is
    // ordered by the address dependency.
    let Some(object) = NonNull::new(slot.load(Relaxed)) else {
        return 0;
    };
    // SAFETY: The flow has a reference to `object`: a flow that is being freed has left the flow
    // table, under the lock that is held here.
    if unsafe { mark(object) }.load(Relaxed) == number.addr() {
        // Litmus: mark, untimeout
        // A packet that has loaded the pointer before, under RCU, uses the object's timeouts once
        // more; its memory stays for a grace period.
        slot.store(ptr::null_mut(), Relaxed);
        // SAFETY: The flow's reference to `object`, a slab allocation, is dropped in its place.
        unsafe { put(object) };
    }
    0
}
