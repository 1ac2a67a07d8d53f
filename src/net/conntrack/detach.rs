// SPDX-License-Identifier: GPL-2.0

//! Taking timeout objects off the flows that have them.
//!
//! # Examples
//!
//! ```ignore
//! # use kernel::{
//! #     bindings,
//! #     module_ref::ModuleRef,
//! #     net::{
//! #         conntrack::{
//! #             detach::{detach, DetachBatch},
//! #             l4proto::L4Proto,
//! #             timeout::{Owner, UniqueTimeout},
//! #         },
//! #         netns::Net,
//! #     },
//! #     sync::rcu_map::RcuPointer,
//! # };
//! # // SAFETY: The initial namespace does not go away.
//! # let net = unsafe { Net::from_raw(&raw const bindings::init_net) };
//! # let udp = L4Proto::find(bindings::IPPROTO_UDP as u8).ok_or(ENOENT)?;
//! # let object = || -> Result<_> {
//! #     let module = ModuleRef::<LocalModule>::try_get().ok_or(ENODEV)?;
//! #     let family = bindings::NFPROTO_IPV4 as u16;
//! #     let unique = UniqueTimeout::new(family, udp.no_attrs()?, net, (), module, GFP_KERNEL)?;
//! #     Ok(Owner::publish(unique))
//! # };
//! let owner = object()?;
//! // After the first line, no rule can get it; after the second, no flow has it.
//! owner.retire().map_err(|_rules| EBUSY)?;
//! detach(owner, net);
//!
//! // Many of them: the flow table is walked once, in the end.
//! let mut batch = DetachBatch::new(net);
//! for _ in 0..3 {
//!     batch.push(object()?);
//! }
//! drop(batch);
//! # Ok::<(), Error>(())
//! ```
//!
//! C header:
//! [`include/net/netfilter/nf_conntrack_core.h`](srctree/include/net/netfilter/nf_conntrack_core.h)

use core::ptr::{
    self,
    NonNull, //
};

use kernel::{
    alloc::KVVec,
    ffi::{
        c_int,
        c_void, //
    },
    prelude::*,
    ModuleMetadata, //
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
pub(crate) fn detach<T, M: ModuleMetadata>(owner: Owner<T, M>, net: &Net) {
    if let Err(timeout) = owner.into_timeout().try_end() {
        walk(net, &timeout);
    }
}

/// Takes an object off all flows in `net`. Sleeps.
///
/// This does what `nf_ct_untimeout()` does, but drops all references in one step at the end.
fn walk(net: &Net, timeout: &Timeout) {
    let mut walk = Walk {
        object: timeout.as_raw().as_ptr(),
        found: 0,
    };
    // SAFETY: The callback takes the pointer for what it is.
    unsafe { for_each_flow(net, detach_if_found, (&raw mut walk).cast()) };
    // SAFETY: So many flows had a reference each, and do not know the object any more.
    unsafe { timeout.put_others(walk.found) };
}

/// Calls a function for each flow of a namespace. Sleeps between calls.
///
/// # Safety
///
/// `callback` must be sound to call with any flow, under the lock of its bucket, and with `data`. It
/// must return zero, so that the flow stays.
unsafe fn for_each_flow(
    net: &Net,
    callback: unsafe extern "C" fn(*mut bindings::nf_conn, *mut c_void) -> c_int,
    data: *mut c_void,
) {
    let data = bindings::nf_ct_iter_data {
        net: net.as_raw(),
        data,
        ..Default::default()
    };
    // SAFETY: The namespace is valid; about the callback, the caller makes a promise.
    unsafe { bindings::nf_ct_iterate_cleanup_net(Some(callback), &data) };
}

/// The pointer in a flow to its timeout object, as seen by a walk over the flow table.
///
/// Packets read it at any time, so it is accessed as a whole word: READ_ONCE(), WRITE_ONCE(). No
/// ordering is needed: a writer holds the lock of the bucket; a reader that has loaded the pointer,
/// under RCU, just before it was cleared goes on with the object's timeouts, because the memory
/// stays for a grace period more.
///
/// # Invariants
///
/// The flow is valid, and the lock of its bucket is held.
struct Slot(NonNull<*mut bindings::nf_ct_timeout>);

impl Slot {
    /// The slot of a flow, if flows of its kind have one.
    ///
    /// # Safety
    ///
    /// The flow must be valid, and the lock of its bucket held, as long as the slot is.
    #[inline(always)]
    unsafe fn of(ct: *const bindings::nf_conn) -> Option<Self> {
        // INVARIANT: By the caller's promise.
        // SAFETY: The flow's extension is either absent or valid as long as the flow is.
        unsafe {
            let ext = bindings::cttimeout_helper_nf_ct_timeout_find(ct);
            (!ext.is_null()).then(|| Self(NonNull::new_unchecked(&raw mut (*ext).timeout)))
        }
    }

    fn read(&self) -> *mut bindings::nf_ct_timeout {
        // SAFETY: By the type invariant.
        unsafe { self.0.as_ptr().read_volatile() }
    }

    /// Takes the object off the flow; the flow's reference to it is now the caller's.
    ///
    /// A flow that is being freed is first removed from the table, under the lock that is held
    /// here, so the same reference is not dropped a second time.
    fn clear(&self) {
        // SAFETY: By the type invariant, and nobody else writes under the lock.
        unsafe { self.0.as_ptr().write_volatile(ptr::null_mut()) };
    }
}

/// A walk over the flow table that looks for one object.
struct Walk {
    object: *mut bindings::nf_ct_timeout,
    /// How many flows had it.
    found: i32,
}

/// Takes the object off a flow; the flow itself stays, and its reference is not given back yet.
///
/// # Safety
///
/// To be called by `nf_ct_iterate_cleanup_net()` only, which holds the lock of the flow's bucket,
/// with a pointer to a [`Walk`] that nobody else uses.
unsafe extern "C" fn detach_if_found(ct: *mut bindings::nf_conn, data: *mut c_void) -> c_int {
    // SAFETY: By this function's contract.
    let (walk, slot) = unsafe { (&mut *data.cast::<Walk>(), Slot::of(ct)) };
    if let Some(slot) = slot.filter(|slot| slot.read() == walk.object) {
        slot.clear();
        walk.found += 1;
    }
    0
}

/// A batch of objects. When it is dropped, they are taken off all flows of a namespace, in one
/// walk.
pub(crate) struct DetachBatch<'a> {
    net: &'a Net,
    timeouts: KVVec<Timeout>,
}

impl<'a> DetachBatch<'a> {
    /// An empty batch.
    pub(crate) fn new(net: &'a Net) -> Self {
        Self {
            net,
            timeouts: KVVec::new(),
        }
    }

    /// Adds an object. One that no flow can have is dropped at once; if there is no memory to
    /// remember another, it is taken off the flows at once. Sleeps.
    pub(crate) fn push<T, M: ModuleMetadata>(&mut self, owner: Owner<T, M>) {
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

impl Drop for DetachBatch<'_> {
    fn drop(&mut self) {
        if self.timeouts.is_empty() {
            return;
        }
        let timeouts = self.timeouts.as_mut_slice();
        // The kernel's sort is a heap sort: it needs no stack to speak of.
        // SAFETY: The arguments describe the slice, and any order of its elements is fine.
        unsafe {
            bindings::sort_nonatomic(
                timeouts.as_mut_ptr().cast(),
                timeouts.len(),
                size_of::<Timeout>(),
                Some(compare_addresses),
                None,
            );
        }
        let listed: &[Timeout] = timeouts;
        // SAFETY: The callback takes the pointer for what it is, a slice that outlives the call.
        unsafe {
            for_each_flow(
                self.net,
                detach_if_listed,
                (&raw const listed).cast_mut().cast(),
            );
        }
    }
}

/// # Safety
///
/// To be called by `sort_nonatomic()` only, on a slice of `Timeout`.
unsafe extern "C" fn compare_addresses(a: *const c_void, b: *const c_void) -> c_int {
    // SAFETY: Both point to elements of the slice.
    let (a, b) = unsafe { (&*a.cast::<Timeout>(), &*b.cast::<Timeout>()) };
    a.as_raw().cmp(&b.as_raw()) as c_int
}

/// Takes one of the listed objects off a flow; the flow itself stays.
///
/// # Safety
///
/// To be called by `nf_ct_iterate_cleanup_net()` only, which holds the lock of the flow's bucket,
/// with a pointer to a sorted slice of `Timeout`.
unsafe extern "C" fn detach_if_listed(ct: *mut bindings::nf_conn, data: *mut c_void) -> c_int {
    // SAFETY: By this function's contract.
    let (listed, slot) = unsafe { (*data.cast::<&[Timeout]>(), Slot::of(ct)) };
    let Some(slot) = slot else {
        return 0;
    };
    let object = slot.read();
    let found = listed.binary_search_by(|timeout| timeout.as_raw().as_ptr().cmp(&object));
    if let Some(timeout) = found.ok().and_then(|at| listed.get(at)) {
        slot.clear();
        // SAFETY: It is the flow's reference that we give back; `timeout` is another.
        unsafe { timeout.put_others(1) };
    }
    0
}
