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
    sync::atomic::Atomic,
};

use super::timeout::{
    put,
    Timeout, //
};

use crate::{
    bindings,
    net::netns::Net,
    sync::rcu::{
        read_once,
        write_once, //
    },
};

/// A walk over the flows of a namespace: dropping the value does the walk if it is due, and sleeps.
#[doc(alias = "nf_ct_untimeout")]
pub(super) struct Untimeout<'a> {
    net: &'a Net,
    /// Not zero, the mark of objects that are not deleted, and not the number of another walk for
    /// the same table.
    number: usize,
    /// Whether an object was marked that a flow may have.
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
    /// After the walk, flows that had the object go on with the default timeouts of the namespace.
    /// Without flows and rules, no walk is due. Rules keep the object, and so may a flow whose
    /// first packet is being processed, and which is not in the flow table yet.
    ///
    /// # Safety
    ///
    /// `timeout` must just have been removed from its table, and this must be called once. The
    /// module's exit must wait for the caller.
    pub(super) unsafe fn add(&mut self, timeout: NonNull<Timeout>) {
        // SAFETY: By the safety requirements of this function, the users' count of `refcnt` keeps
        // the allocation, with `timeout` and its object, until it is dropped below.
        let mark = unsafe { mark(timeout.as_ref().as_raw()) };
        // Litmus: mark
        write_once(mark, self.number);
        // SAFETY: By the safety requirements of this function, `timeout` has left its table, this
        // is the only call for it, and the module's exit waits.
        self.due |= !unsafe { Timeout::drop_table_user(timeout) };
    }
}

impl Drop for Untimeout<'_> {
    fn drop(&mut self) {
        if !self.due {
            return;
        }
        let data = bindings::nf_ct_iter_data {
            net: self.net.as_raw(),
            data: ptr::without_provenance_mut(self.number),
            ..Default::default()
        };
        // SAFETY: `net` is valid, and `untimeout` returns zero for each flow, so that it stays.
        unsafe { bindings::nf_ct_iterate_cleanup_net(Some(untimeout), &data) };
    }
}

/// The mark of an object: `rcu.next`, which has no other use before the object is freed.
///
/// Zero, unless [`Untimeout::add`] has marked the object; nftables' objects are never marked.
///
/// # Safety
///
/// `object` must be referenced during `'a`.
unsafe fn mark<'a>(object: NonNull<bindings::nf_ct_timeout>) -> &'a Atomic<usize> {
    // SAFETY: By the safety requirements of this function, `object` is not being freed, so only
    // walks and `Untimeout::add` access the field, atomically.
    unsafe { Atomic::from_ptr((&raw mut (*object.as_ptr()).rcu.next).cast()) }
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
    // SAFETY: `ext` is valid as long as `ct` is. Packets load `timeout` as a whole.
    let slot = unsafe { Atomic::from_ptr(&raw mut (*ext.as_ptr()).timeout) };
    // No order is needed: `timeout` was stored before the flow was in the flow table, and was
    // replaced by null at most, under the lock that is held here.
    let Some(object) = NonNull::new(read_once(slot)) else {
        return 0;
    };
    // SAFETY: The flow has a reference to `object`: a flow that is being freed has left the flow
    // table, under the lock that is held here.
    if read_once(unsafe { mark(object) }) == number.addr() {
        // Litmus: mark, untimeout
        // A packet that has loaded the pointer before, under RCU, uses the object's timeouts once
        // more; its memory stays for a grace period.
        write_once(slot, ptr::null_mut());
        // SAFETY: The flow's count of `object` is given up, whose place was just cleared. The mark
        // says that `Timeout::alloc` made `object`: a slab allocation.
        unsafe { put(object) };
    }
    0
}
