// SPDX-License-Identifier: GPL-2.0

//! Taking timeout objects off the flows that have them.
//!
//! The flow table is walked once for any number of deleted policies, and no memory is needed to
//! remember them: their objects are marked. A walk takes every marked object off the flows of its
//! namespace, so walks may run at the same time.
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
    free,
    put,
    refcnt,
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
    due: bool,
}

impl<'a> Untimeout<'a> {
    /// No walk is due.
    pub(super) fn new(net: &'a Net) -> Self {
        Self { net, due: false }
    }

    /// Drops the table's user of an object that is no longer in the table.
    ///
    /// Flows that have the object go on with the default timeouts of the namespace, after the walk
    /// at the latest. Without flows, no walk is due. Rules keep the object, and so may a flow that is
    /// not in the flow table yet, because its first packet is being processed. Sleeps if there are
    /// rules.
    ///
    /// # Safety
    ///
    /// `timeout` must have been removed from the table, whose user passes to this function; or there
    /// are no users any more, and the references that they had pass. The module's exit must wait for
    /// the caller.
    pub(super) unsafe fn add(&mut self, timeout: NonNull<Timeout>) {
        // SAFETY: The references of the users of `timeout` keep it.
        let (object, users) = unsafe { (timeout.as_ref().as_raw(), &timeout.as_ref().users) };
        // SAFETY: `object` is allocated as long as `timeout` is.
        let refcnt = unsafe { refcnt(object) };
        if users.read() != 0 {
            refcnt.inc();
            if users.dec_and_test() {
                // SAFETY: `timeout` has no users any more.
                unsafe { Timeout::release(timeout) };
            }
            // Rules go on handing it out, so the object is not marked.
            walk(self.net, object.as_ptr());
            // SAFETY: The count was taken above.
            unsafe { put(object) };
        } else if refcnt.dec_if_one() {
            // SAFETY: Only RCU readers have `object`; the module reference is the caller's.
            unsafe { free(object) };
            // SAFETY: By the safety requirements of this function, the module's exit waits.
            unsafe { Timeout::put_module() };
        } else {
            // SAFETY: `object` is allocated, and not being freed, as the caller's reference shows.
            unsafe { mark(object) }.store(object.as_ptr().cast(), Relaxed);
            self.due = true;
            // SAFETY: `timeout` has no users any more.
            unsafe { Timeout::release(timeout) };
        }
    }
}

impl Drop for Untimeout<'_> {
    fn drop(&mut self) {
        if self.due {
            walk(self.net, ptr::null_mut());
        }
    }
}

/// The mark of an object: `rcu.next`, which is zero, and not used before the object is freed. A marked
/// object points to itself there.
///
/// # Safety
///
/// `object` must be referenced during `'a`.
unsafe fn mark<'a>(object: NonNull<bindings::nf_ct_timeout>) -> &'a Atomic<*mut c_void> {
    // SAFETY: By the safety requirements of this function, `object` is not being freed, so nobody else
    // uses the field.
    unsafe { Atomic::from_ptr((&raw mut (*object.as_ptr()).rcu.next).cast()) }
}

/// Takes marked objects off all flows in `net`, and `also`. Sleeps.
fn walk(net: &Net, also: *mut bindings::nf_ct_timeout) {
    let data = bindings::nf_ct_iter_data {
        net: net.as_raw(),
        data: also.cast(),
        ..Default::default()
    };
    // SAFETY: `net` is valid, and `untimeout` returns zero for each flow, so that it stays.
    unsafe { bindings::nf_ct_iterate_cleanup_net(Some(untimeout), &data) };
}

/// Takes the object off a flow, if it is marked or is `also`; the flow itself stays.
///
/// # Safety
///
/// For `nf_ct_iterate_cleanup_net()` only, which holds the lock of the flow's bucket.
unsafe extern "C" fn untimeout(ct: *mut bindings::nf_conn, also: *mut c_void) -> c_int {
    // SAFETY: By the safety requirements of this function, `ct` is valid.
    let Some(ext) = NonNull::new(unsafe { bindings::cttimeout_helper_nf_ct_timeout_find(ct) })
    else {
        return 0;
    };
    // SAFETY: The extension is valid as long as `ct` is. Packets load the pointer as a whole.
    let slot = unsafe { Atomic::from_ptr(&raw mut (*ext.as_ptr()).timeout) };
    // Relaxed: writers hold the lock of the bucket.
    let Some(object) = NonNull::new(slot.load(Relaxed)) else {
        return 0;
    };
    // SAFETY: The flow has a reference to `object`: a flow that is being freed has left the flow
    // table, under the lock that is held here.
    let marked = unsafe { mark(object) }.load(Relaxed) == object.as_ptr().cast();
    if marked || also == object.as_ptr().cast() {
        // A packet that has loaded the pointer before, under RCU, uses the object's timeouts once
        // more; its memory stays for a grace period.
        slot.store(ptr::null_mut(), Relaxed);
        // SAFETY: The flow's reference to `object` is dropped in its place.
        unsafe { put(object) };
    }
    0
}
