// SPDX-License-Identifier: GPL-2.0

//! A doubly linked list that is read under RCU.
//!
//! # Examples
//!
//! ```ignore
//! # use core::ptr;
//! # use kernel::sync::{rcu, rcu_list::{Links, RcuList}};
//! struct Host {
//!     number: u32,
//!     links: Links,
//! }
//!
//! let hosts = KBox::pin_init(RcuList::new(), GFP_KERNEL)?;
//! let host = KBox::into_raw(KBox::new(Host { number: 7, links: Links::new() }, GFP_KERNEL)?);
//! // SAFETY: The host was just allocated.
//! let links = unsafe { &raw mut (*host).links };
//!
//! // SAFETY: It is in no list, and only known here.
//! unsafe { hosts.prepare(links) };
//! let guard = rcu::read_lock();
//! // SAFETY: The host is prepared for the list.
//! assert_eq!(unsafe { hosts.next(links, &guard) }, None);
//! drop(guard);
//!
//! // SAFETY: It is in no list, nobody else writes to this one, and it is not freed before a grace
//! // period has passed since it was removed.
//! unsafe { hosts.push_back(links) };
//! let guard = rcu::read_lock();
//! // SAFETY: Null is the beginning.
//! let first = unsafe { hosts.next(ptr::null_mut(), &guard) };
//! // SAFETY: The host is in the list.
//! let second = unsafe { hosts.next(links, &guard) };
//! drop(guard);
//! assert_eq!(first, Some(links));
//! assert_eq!(second, None);
//!
//! // SAFETY: It is still there, and nobody else writes.
//! unsafe { hosts.remove(links) };
//! rcu::synchronize_rcu();
//! // SAFETY: Neither the list nor a reader knows of it any more.
//! let host = unsafe { KBox::from_raw(host) };
//! assert_eq!(host.number, 7);
//! # Ok::<(), Error>(())
//! ```
//!
//! C header: [`include/linux/rculist.h`](srctree/include/linux/rculist.h)

use core::{
    convert::Infallible,
    ptr, //
};

use kernel::{
    prelude::*,
    sync::rcu,
    types::Opaque, //
};

use super::rcu::dereference;

use crate::bindings;

/// The place of an element in an [`RcuList`].
#[repr(transparent)]
pub(crate) struct Links(Opaque<bindings::list_head>);

// SAFETY: The links are only touched through the list, whose writers are serialized and whose
// readers load whole pointers.
unsafe impl Send for Links {}

// SAFETY: As above.
unsafe impl Sync for Links {}

impl Links {
    /// Links of an element that is in no list.
    pub(crate) const fn new() -> Self {
        Self(Opaque::uninit())
    }

    /// The head of an empty list: it points to itself.
    fn empty_head() -> impl PinInit<Self> {
        let init = |slot: *mut Self| {
            let head: *mut bindings::list_head = slot.cast();
            // SAFETY: `slot` is valid for writes, and pinned, so the address stays right.
            unsafe {
                head.write(bindings::list_head {
                    next: head,
                    prev: head,
                })
            };
            Ok::<(), Infallible>(())
        };
        // SAFETY: The closure initializes the whole of `slot`, a transparent wrapper of
        // `list_head`.
        unsafe { pin_init::pin_init_from_closure(init) }
    }
}

impl Default for Links {
    fn default() -> Self {
        Self::new()
    }
}

/// The head of a list of [`Links`].
///
/// # Invariants
///
/// `head` is an initialized list head. Its elements are alive as long as they are linked, and for
/// an RCU grace period after that.
#[pin_data]
#[repr(transparent)]
pub(crate) struct RcuList {
    #[pin]
    head: Links,
}

impl RcuList {
    /// Returns an initializer of an empty list.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            head <- Links::empty_head(),
        })
    }

    /// Makes the list end behind an element that is not in it yet, for those who go on from there.
    ///
    /// For elements that readers can find in another way before they are linked.
    ///
    /// # Safety
    ///
    /// `links` must be part of an element that is in no list, and that nobody else knows of.
    pub(crate) unsafe fn prepare(&self, links: *mut Links) {
        let links: *mut bindings::list_head = links.cast();
        // SAFETY: By the caller's promise, it is valid, and ours.
        unsafe { (&raw mut (*links).next).write(self.head.0.get()) };
    }

    /// Links an element behind all others and lets readers see it.
    ///
    /// # Safety
    ///
    /// - `links` must be part of an initialized element that is in no list, and that stays alive as
    ///   the type invariant demands.
    /// - The caller must be the list's only writer.
    pub(crate) unsafe fn push_back(&self, links: *mut Links) {
        // SAFETY: By the caller's promise; the head is initialized by the type invariant.
        unsafe { bindings::cttimeout_helper_list_add_tail_rcu(links.cast(), self.head.0.get()) };
    }

    /// Unlinks an element. Readers that are at it can go on from it.
    ///
    /// # Safety
    ///
    /// `links` must be in this list, and the caller must be the list's only writer.
    pub(crate) unsafe fn remove(&self, links: *mut Links) {
        // SAFETY: By the caller's promise.
        unsafe { bindings::cttimeout_helper_list_del_rcu(links.cast()) };
    }

    /// The element behind `links`, or the first one if `links` is null.
    ///
    /// # Safety
    ///
    /// `links` must be null, or an element that is in this list, or was in it or prepared for it at
    /// some time since the read-side section of `guard` began. (For a writer that no other writer can
    /// run beside, being in the list is enough.)
    pub(crate) unsafe fn next(&self, links: *mut Links, guard: &rcu::Guard) -> Option<*mut Links> {
        let head = self.head.0.get();
        let at: *mut bindings::list_head = if links.is_null() { head } else { links.cast() };

        // SAFETY: `at` is the head or an element that is still allocated. Writers store `next` as a
        // whole: list_add_tail_rcu() with release, which this load pairs with; list_del_rcu()
        // without, because the element that it leads to was published before.
        let next = unsafe { dereference(&raw const (*at).next, guard) };

        (!ptr::eq(next, head)).then_some(next.cast())
    }
}
