// SPDX-License-Identifier: GPL-2.0

//! A hash table of timeout objects by name ([`Index`]), which grows and shrinks by itself.
//!
//! C header: [`include/linux/rhashtable.h`](srctree/include/linux/rhashtable.h)

use core::{
    mem::offset_of,
    ptr::{
        self,
        NonNull, //
    },
};

use kernel::{
    container_of,
    error::to_result,
    prelude::*,
    sync::rcu,
    types::Opaque, //
};

use super::{
    name::Name,
    timeout::Timeout, //
};

use crate::bindings;

/// The hash table, which owns its buckets, but not the objects.
///
/// # Invariants
///
/// `table` is initialized. Objects in it are alive, and stay for a grace period after their
/// removal.
#[pin_data(PinnedDrop)]
pub(super) struct Index {
    #[pin]
    table: Opaque<bindings::rhashtable>,
}

// SAFETY: `table` belongs to no thread.
unsafe impl Send for Index {}

// SAFETY: `table` has locks of its own for writers, and its readers are under RCU.
unsafe impl Sync for Index {}

impl Index {
    /// Returns an initializer of an empty hash table, which allocates, and may sleep.
    #[doc(alias = "rhashtable_init")]
    pub(super) fn new() -> impl PinInit<Self, Error> {
        // The C helpers know the places of the name and, behind it, of the links.
        const {
            assert!(offset_of!(Timeout, hash) == offset_of!(Timeout, name) + size_of::<Name>());
        }
        // INVARIANT: If the C function succeeds, `table` is initialized, and empty.
        try_pin_init!(Self {
            table <- Opaque::try_ffi_init(|slot| {
                // SAFETY: `slot` is valid for writes and pinned.
                to_result(unsafe { bindings::cttimeout_helper_index_init(slot) })
            }),
        })
    }

    /// Finds the object with this name.
    #[doc(alias = "rhashtable_lookup")]
    pub(super) fn find<'g>(&self, name: &Name, _guard: &'g rcu::Guard) -> Option<&'g Timeout> {
        // SAFETY: `table` is initialized by the type invariant, and the RCU read lock is held.
        let found = unsafe {
            bindings::cttimeout_helper_index_lookup(self.table.get(), ptr::from_ref(name).cast())
        };
        let name: NonNull<Name> = NonNull::new(found)?.cast();
        // SAFETY: `name` is part of an object that by the type invariant stays during `'g`.
        Some(unsafe { &*container_of!(name.as_ptr(), Timeout, name) })
    }

    /// Inserts an object, for readers to find.
    ///
    /// Does not sleep. Fails with `ENOMEM` if the table cannot grow.
    ///
    /// # Safety
    ///
    /// `timeout` must be in no hash table that is in use, and stay alive as the type invariant
    /// demands. The table must hold no other object with that name.
    pub(super) unsafe fn insert(&self, timeout: &Timeout) -> Result {
        // SAFETY: `table` is initialized by the type invariant; `timeout` is alive by the safety
        // requirements of this function.
        to_result(unsafe {
            bindings::cttimeout_helper_index_insert(self.table.get(), timeout.hash.get())
        })
        .map_err(|_| ENOMEM)
    }

    /// Removes an object, if it is in the table; does not sleep.
    pub(super) fn remove(&self, timeout: &Timeout) {
        // SAFETY: `table` is initialized by the type invariant. The bucket of the name is searched
        // for the address of `timeout`, so an object that is not there does no harm.
        unsafe { bindings::cttimeout_helper_index_remove(self.table.get(), timeout.hash.get()) };
    }
}

#[pinned_drop]
impl PinnedDrop for Index {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: `table` is initialized by the type invariant, and exclusive access says that no
        // reader is left.
        unsafe { bindings::rhashtable_destroy(self.table.get()) };
    }
}
