// SPDX-License-Identifier: GPL-2.0

//! The kernel's resizable hash table.
//!
//! Each table has a random seed of its own, grows and shrinks by itself, and is searched under RCU.
//! Keys have 32 bytes; zeros at their end are not hashed.
//!
//! # Examples
//!
//! ```ignore
//! # use core::{mem::offset_of, ptr::NonNull};
//! # use kernel::sync::{rcu, rhashtable::{Element, Links, RHashTable}};
//! struct Host {
//!     id: [u64; 4],
//!     links: Links,
//! }
//!
//! // SAFETY: These are the offsets of the fields, and nothing changes the id.
//! unsafe impl Element for Host {
//!     type Key = [u64; 4];
//!     const KEY: usize = offset_of!(Host, id);
//!     const LINKS: usize = offset_of!(Host, links);
//! }
//!
//! let hosts = KBox::pin_init(RHashTable::<Host>::new(), GFP_KERNEL)?;
//! let id = [7, 0, 0, 0];
//! let host = KBox::into_raw(KBox::new(Host { id, links: Links::new() }, GFP_KERNEL)?);
//! let at = NonNull::new(host).ok_or(ENOMEM)?;
//!
//! // SAFETY: There is no other host with this id, and this one is not freed before a grace period
//! // has passed since it was removed.
//! unsafe { hosts.insert(at) }?;
//! assert_eq!(hosts.find(&id, &rcu::read_lock()), Some(at));
//! assert_eq!(hosts.find(&[8, 0, 0, 0], &rcu::read_lock()), None);
//!
//! // SAFETY: It is still there.
//! unsafe { hosts.remove(at) }?;
//! assert_eq!(hosts.find(&id, &rcu::read_lock()), None);
//! rcu::synchronize_rcu();
//! // SAFETY: Neither the table nor a reader knows of it any more.
//! drop(unsafe { KBox::from_raw(host) });
//! # Ok::<(), Error>(())
//! ```
//!
//! C header: [`include/linux/rhashtable.h`](srctree/include/linux/rhashtable.h)

use core::{
    marker::PhantomData,
    ptr::{
        self,
        NonNull, //
    },
};

use kernel::{
    error::to_result,
    prelude::*,
    sync::rcu,
    transmute::AsBytes,
    types::Opaque, //
};

use crate::bindings;

/// The place of an element in an [`RHashTable`].
#[repr(transparent)]
pub(crate) struct Links(Opaque<bindings::rhash_head>);

// SAFETY: The links are only touched by the hash table, which does its own locking.
unsafe impl Send for Links {}

// SAFETY: As above.
unsafe impl Sync for Links {}

impl Links {
    /// Links of an element that is in no table.
    pub(crate) const fn new() -> Self {
        Self(Opaque::uninit())
    }
}

impl Default for Links {
    fn default() -> Self {
        Self::new()
    }
}

/// Elements that an [`RHashTable`] can hold.
///
/// # Safety
///
/// `KEY` and `LINKS` must be the byte offsets of a `Self::Key` and of a [`Links`] within `Self`, and
/// the key must not change while the element is in a table.
pub(crate) unsafe trait Element: Sized {
    /// What elements are looked up by, compared as bytes.
    type Key: AsBytes;
    /// Offset of the key in bytes.
    const KEY: usize;
    /// Offset of the links in bytes.
    const LINKS: usize;
}

/// A hash table of `T`.
///
/// # Invariants
///
/// `table` is an initialized `struct rhashtable` that knows where the key and the links of a `T`
/// are. Its elements are alive as long as they are in it, and for an RCU grace period after that.
#[pin_data(PinnedDrop)]
pub(crate) struct RHashTable<T: Element> {
    #[pin]
    table: Opaque<bindings::rhashtable>,
    _elements: PhantomData<T>,
}

// SAFETY: The table does its own locking and owns nothing but its buckets.
unsafe impl<T: Element> Send for RHashTable<T> {}

// SAFETY: As above.
unsafe impl<T: Element> Sync for RHashTable<T> {}

impl<T: Element> RHashTable<T> {
    /// How many elements there is room for at first. The table grows when it is three quarters
    /// full, and has a power of two buckets.
    const SIZE_HINT: u16 = 24;

    /// Returns an initializer of an empty table. Allocates; may sleep.
    pub(crate) fn new() -> impl PinInit<Self, Error> {
        const {
            // C code hashes and compares by the word, 64 bits at most, and knows how many.
            assert!(size_of::<T::Key>() == bindings::CTTIMEOUT_RHASHTABLE_KEY_LEN as usize);
            assert!(align_of::<T::Key>() >= align_of::<u64>());
            assert!(T::KEY <= u16::MAX as usize && T::LINKS <= u16::MAX as usize);
        }
        // INVARIANT: The places are those of `T`.
        try_pin_init!(Self {
            table <- Opaque::try_ffi_init(|slot| {
                // SAFETY: `slot` is valid for writes and pinned.
                to_result(unsafe {
                    bindings::cttimeout_helper_rhashtable_init(
                        slot,
                        T::KEY as u16,
                        T::LINKS as u16,
                        Self::SIZE_HINT,
                    )
                })
            }),
            _elements: PhantomData,
        })
    }

    /// Finds the element with this key.
    ///
    /// The element is allocated until the section of `_guard` ends, even if it is removed meanwhile.
    pub(crate) fn find(&self, key: &T::Key, _guard: &rcu::Guard) -> Option<NonNull<T>> {
        // SAFETY: The table is initialized by the type invariant, `key` has the size that `new`
        // asserts, and the RCU read lock is held.
        NonNull::new(unsafe {
            bindings::cttimeout_helper_rhashtable_lookup(
                self.table.get(),
                ptr::from_ref(key).cast(),
            )
            .cast()
        })
    }

    /// Inserts an element, and lets readers see it. Does not sleep.
    ///
    /// Fails with `ENOMEM`, or with `EBUSY` or `E2BIG` when the table cannot grow.
    ///
    /// # Safety
    ///
    /// `element` must be initialized, in no hash table, and stay alive as the type invariant
    /// demands. There must be no other with its key in this table.
    pub(crate) unsafe fn insert(&self, element: NonNull<T>) -> Result {
        // SAFETY: By the caller's promise, `LINKS` bytes into the element are its links; the table
        // is initialized.
        to_result(unsafe {
            bindings::cttimeout_helper_rhashtable_insert_fast(
                self.table.get(),
                element.as_ptr().byte_add(T::LINKS).cast(),
            )
        })
    }

    /// Removes an element. Does not sleep.
    ///
    /// Returns `ENOENT` if it is not in this table.
    ///
    /// # Safety
    ///
    /// `element` must be alive.
    pub(crate) unsafe fn remove(&self, element: NonNull<T>) -> Result {
        // SAFETY: The element is alive, so its links and key can be read; that it is in another
        // table or in none is noticed, because the bucket of its key is searched for its address.
        to_result(unsafe {
            bindings::cttimeout_helper_rhashtable_remove_fast(
                self.table.get(),
                element.as_ptr().byte_add(T::LINKS).cast(),
            )
        })
    }
}

#[pinned_drop]
impl<T: Element> PinnedDrop for RHashTable<T> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: The table is initialized, and exclusive access says that no reader is left.
        // Elements that are still in it belong to somebody else and are not touched.
        unsafe { bindings::rhashtable_destroy(self.table.get()) };
    }
}
