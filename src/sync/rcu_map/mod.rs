// SPDX-License-Identifier: GPL-2.0

//! A map that remembers the order of insertion and is read under RCU.
//!
//! An [`RcuList`] keeps the order, an [`RHashTable`] finds by key; both are intrusive, so an entry
//! costs no allocation of its own. As long as there are few entries, the list is enough: to look at
//! each takes less time than to hash the key. An empty map is a few words.
//!
//! Writers show a lock (`L`) that excludes all other writers. Readers show an [`rcu::Guard`]; what
//! they find stays allocated until they drop the guard, but may be removed from the map at any
//! time.
//!
//! # Examples
//!
//! ```ignore
//! # use core::{mem::ManuallyDrop, ptr::NonNull};
//! # use kernel::{
//! #     sync::{rcu, rcu_map::{Key, Node, Place, RcuMap, RcuPointer, WriteLock}},
//! #     transmute::AsBytes,
//! # };
//! #[derive(Clone, Copy, PartialEq, Eq)]
//! #[repr(transparent)]
//! struct Id([u64; 4]);
//!
//! // SAFETY: Integers have no padding.
//! unsafe impl AsBytes for Id {}
//! // SAFETY: Nor have they two forms of one value.
//! unsafe impl Key for Id {}
//!
//! /// Something that has an id, and nothing else, and is freed when no reader can have it.
//! struct Host(NonNull<Node<Id>>);
//!
//! impl Drop for Host {
//!     fn drop(&mut self) {
//!         rcu::synchronize_rcu();
//!         // SAFETY: It comes from `KBox::leak`, and was readers' last.
//!         drop(unsafe { KBox::from_raw(self.0.as_ptr()) });
//!     }
//! }
//!
//! // SAFETY: The address is the box's, and a grace period passes before that is freed. What is
//! // borrowed is a reference to something that is `Sync`.
//! unsafe impl RcuPointer for Host {
//!     type Target = Node<Id>;
//!     type Unique = KBox<Node<Id>>;
//!     type Borrowed<'a> = &'a Node<Id>;
//!
//!     fn publish(unique: Self::Unique) -> Self {
//!         Self(NonNull::from(KBox::leak(unique)))
//!     }
//!     fn into_raw(self) -> NonNull<Node<Id>> {
//!         ManuallyDrop::new(self).0
//!     }
//!     unsafe fn from_raw(node: NonNull<Node<Id>>) -> Self {
//!         Self(node)
//!     }
//!     unsafe fn borrow<'a>(node: NonNull<Node<Id>>) -> &'a Node<Id> {
//!         // SAFETY: By the caller's promise.
//!         unsafe { node.as_ref() }
//!     }
//! }
//!
//! /// Stands for a lock: there is one thread. The pointer keeps it from being `Sync`.
//! struct Alone(core::marker::PhantomData<*mut ()>);
//! // SAFETY: There is one value of it.
//! unsafe impl WriteLock for Alone {}
//!
//! let hosts = KBox::pin_init(RcuMap::<Id, Host, Alone>::new(), GFP_KERNEL)?;
//! let mut lock = Alone(core::marker::PhantomData);
//! let id = Id([7, 0, 0, 0]);
//!
//! if let Place::Vacant(place) = hosts.entry(&mut lock, &id) {
//!     place.insert(KBox::new(Node::new(id), GFP_KERNEL)?, GFP_KERNEL)?;
//! }
//!
//! let guard = rcu::read_lock();
//! let found = hosts.get(&id, &guard).map(|node| *node.key());
//! drop(guard);
//! assert!(found == Some(id));
//!
//! // What is removed is handed out; readers that have found it keep the memory.
//! if let Place::Occupied(found) = hosts.entry(&mut lock, &id) {
//!     drop(found.remove());
//! }
//! assert!(hosts.is_empty(&rcu::read_lock()));
//! # Ok::<(), Error>(())
//! ```

mod place;

use core::{
    cell::UnsafeCell,
    marker::PhantomData,
    mem::{
        offset_of,
        ManuallyDrop, //
    },
    ptr::{
        self,
        NonNull, //
    },
};

use kernel::{
    alloc::Flags,
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Relaxed,
            Release, //
        },
        rcu, //
    },
    transmute::AsBytes,
};

use crate::compat::{
    smp_mb,
    Read,
    Write, //
};

use super::{
    rcu::dereference,
    rcu_list::{
        self,
        RcuList, //
    },
    rhashtable::{
        self,
        RHashTable, //
    },
};

pub(crate) use place::{
    Entry,
    Place,
    Vacancy, //
};

/// Owning pointers whose referent can be shared with RCU readers.
///
/// # Safety
///
/// - `into_raw` and `from_raw` must be inverse to each other, and the address must not change while
///   the object lives.
/// - From `publish` until a grace period after the last owner is dropped, the object must stay
///   allocated and its value must not be dropped.
/// - Any number of threads may have and use borrowed pointers to an object at a time, beside the
///   thread that has the owner.
pub(crate) unsafe trait RcuPointer: Sized {
    /// What the pointer refers to.
    type Target: Send + Sync;
    /// The same pointer while nobody else can know of the object.
    type Unique;
    /// What readers get: the object, for as long as they hold off its release.
    type Borrowed<'a>: Copy;

    /// Gives up exclusive access.
    fn publish(unique: Self::Unique) -> Self;

    /// Turns the owner into a bare pointer.
    fn into_raw(self) -> NonNull<Self::Target>;

    /// Turns a bare pointer back into the owner.
    ///
    /// # Safety
    ///
    /// `ptr` must come from [`Self::into_raw`], and must not be turned back twice.
    unsafe fn from_raw(ptr: NonNull<Self::Target>) -> Self;

    /// Borrows the object behind a bare pointer.
    ///
    /// # Safety
    ///
    /// `ptr` must come from [`Self::into_raw`], and the object must stay allocated for `'a`.
    unsafe fn borrow<'a>(ptr: NonNull<Self::Target>) -> Self::Borrowed<'a>;
}

/// What entries are found by.
///
/// # Safety
///
/// Two keys must be equal if and only if all their bytes are.
pub(crate) unsafe trait Key: AsBytes + Copy + Eq {}

/// Evidence that no other writer runs.
///
/// To add or remove entries takes an exclusive reference. A shared one shows that this thread is
/// the writer, which is enough for changes that leave the entries where they are.
///
/// # Safety
///
/// At any time there must be at most one value of the type in use, over all threads, and what was
/// written while one existed must be visible to whoever has the next. The type must not be [`Sync`].
pub(crate) unsafe trait WriteLock {}

/// An element of an [`RcuMap`], part of what `P` points to or all of it: a key, and its places in the
/// list and the hash table.
#[repr(C)]
pub(crate) struct Node<K> {
    list: rcu_list::Links,
    position: UnsafeCell<u64>,
    // Next to each other, for the sake of the cache.
    key: K,
    hash: rhashtable::Links,
}

// SAFETY: The links are only touched by the map; `position` is written before the node is shared.
unsafe impl<K: Send> Send for Node<K> {}

// SAFETY: As above.
unsafe impl<K: Sync> Sync for Node<K> {}

impl<K> Node<K> {
    /// A node to be inserted.
    pub(crate) const fn new(key: K) -> Self {
        Self {
            list: rcu_list::Links::new(),
            position: UnsafeCell::new(0),
            key,
            hash: rhashtable::Links::new(),
        }
    }

    /// What the node is found by.
    pub(crate) fn key(&self) -> &K {
        &self.key
    }

    fn position(&self) -> u64 {
        // SAFETY: Written once, before the node was linked.
        unsafe { *self.position.get() }
    }
}

// SAFETY: The offsets are the compiler's, and the key is never given out mutably.
unsafe impl<K: Key> rhashtable::Element for Node<K> {
    type Key = K;
    const KEY: usize = offset_of!(Self, key);
    const LINKS: usize = offset_of!(Self, hash);
}

/// A place in the order of a map, from which a later reader can go on.
///
/// It names the next entry to look at and keeps nothing alive. All zeros is the beginning.
#[derive(Clone, Copy)]
pub(crate) struct Cursor<K> {
    position: u64,
    key: K,
}

impl<K> Cursor<K> {
    const END: u64 = u64::MAX;

    /// Moves the cursor behind every entry that there is or will be.
    pub(crate) fn finish(&mut self) {
        self.position = Self::END;
    }
}

// SAFETY: All zeros is a valid integer and, by the bound, a valid key.
unsafe impl<K: Zeroable> Zeroable for Cursor<K> {}

/// The map. See the [module documentation](self).
///
/// # Invariants
///
/// - If there is an `index`, every node in `order` is in it, and the other way round, except while a
///   writer is at work. The map owns one `P` for each.
/// - Positions ascend strictly along `order`, and none is used twice. No two nodes in it have the
///   same key.
/// - `index` is null or the result of [`KBox::into_raw`]; once set, it stays until the map is
///   dropped. Only writers look at it, and `drop`. `searched` is null or the same.
#[pin_data(PinnedDrop)]
pub(crate) struct RcuMap<K, P, L>
where
    K: Key,
    P: RcuPointer<Target = Node<K>>,
{
    #[pin]
    order: RcuList,
    /// What readers search instead of the list, if it is not null.
    searched: Atomic<*mut RHashTable<Node<K>>>,
    index: UnsafeCell<*mut RHashTable<Node<K>>>,
    len: UnsafeCell<usize>,
    next_position: UnsafeCell<u64>,
    generation: Atomic<u32>,
    _owned: PhantomData<(P, fn(L))>,
}

// SAFETY: The map owns values of `P`, and shares their nodes, which are `Send` and `Sync` by the
// bound on `RcuPointer::Target`. The rest is accessed under RCU or the lock `L`.
unsafe impl<K, P, L> Send for RcuMap<K, P, L>
where
    K: Key,
    P: RcuPointer<Target = Node<K>> + Send,
{
}

// SAFETY: As above; readers in many threads may have borrowed pointers, by the safety requirements of
// `RcuPointer`.
unsafe impl<K, P, L> Sync for RcuMap<K, P, L>
where
    K: Key,
    P: RcuPointer<Target = Node<K>> + Send,
{
}

impl<K, P, L> RcuMap<K, P, L>
where
    K: Key,
    P: RcuPointer<Target = Node<K>>,
    L: WriteLock,
{
    /// With more entries than this, the hash table is searched.
    const FEW: usize = 16;

    /// Returns an initializer of an empty map. Does not allocate.
    pub(crate) fn new() -> impl PinInit<Self, Error> {
        // INVARIANT: There are no nodes and no hash table.
        try_pin_init!(Self {
            order <- RcuList::new(),
            searched: Atomic::new(ptr::null_mut()),
            index: UnsafeCell::new(ptr::null_mut()),
            len: UnsafeCell::new(0),
            next_position: UnsafeCell::new(1),
            generation: Atomic::new(1),
            _owned: PhantomData,
        })
    }

    /// A number, never zero, that differs from an earlier one if entries were added or removed in
    /// between. (It wraps after 2^32 changes.)
    ///
    /// A change that a reader has already seen is counted at the latest when the next change
    /// begins.
    pub(crate) fn generation(&self) -> u32 {
        // The caller's reads of entries come before this; pairs with the barrier in `changed`.
        smp_mb(Read);
        self.generation.load(Acquire)
    }

    fn changed(&self) {
        // Relaxed: only writers store to it, and each sees what the one before it has stored.
        let next = self.generation.load(Relaxed).wrapping_add(1).max(1);
        // Release: a reader that sees this number sees the change, too.
        self.generation.store(next, Release);
        // A reader that sees the next change sees this number.
        smp_mb(Write);
    }

    /// The hash table, if there is one.
    ///
    /// # Safety
    ///
    /// The caller must be the only writer.
    unsafe fn index(&self) -> Option<&RHashTable<Node<K>>> {
        // SAFETY: Only writers touch the cell. By the type invariant the pointer is null, or valid for
        // as long as the map is borrowed.
        unsafe { (*self.index.get()).as_ref() }
    }

    /// Makes a hash table of all entries. May sleep.
    ///
    /// # Safety
    ///
    /// The caller must be the only writer, and there must be no hash table.
    unsafe fn make_index(&self, flags: Flags) -> Result<&RHashTable<Node<K>>> {
        let index = KBox::pin_init(RHashTable::new(), flags)?;
        let mut links = ptr::null_mut();
        loop {
            // SAFETY: `links` is null or in the list, and we are the only writer.
            let Some(at) = (unsafe { self.order.next(links, &rcu::read_lock()) }) else {
                break;
            };
            // SAFETY: The node is in no other table, and its key in no other node, by the type
            // invariants. If the table is not kept, nobody has seen it.
            unsafe { index.insert(Self::node(at)) }.map_err(|_| ENOMEM)?;
            links = at;
        }
        // SAFETY: The pointee is not moved: the pointer is only turned back in order to be dropped.
        let index = KBox::into_raw(unsafe { Pin::into_inner_unchecked(index) });
        // INVARIANT: This is a box's pointer, there was none before, and it has all nodes.
        // SAFETY: Just allocated, and valid until the map is dropped. Only writers touch the cell.
        unsafe {
            *self.index.get() = index;
            Ok(&*index)
        }
    }

    /// Updates the number of entries, and has readers search the list or the hash table, whichever
    /// is faster now.
    ///
    /// Until they are switched here from one to the other, readers find in the old one what they
    /// found before. So to a lookup by key, an entry appears and disappears at a single moment. (A
    /// walk over all entries may see it appear, and disappear, a little later.)
    ///
    /// # Safety
    ///
    /// The caller must be the only writer.
    unsafe fn set_len(&self, len: usize) {
        // SAFETY: Only writers touch the cells.
        let index = unsafe {
            *self.len.get() = len;
            *self.index.get()
        };
        let searched = if len > Self::FEW {
            index
        } else {
            ptr::null_mut()
        };
        // Relaxed: only writers store to it.
        if self.searched.load(Relaxed) != searched {
            // Release: a reader that searches the hash table sees all of its entries. (One that is
            // switched back to the list may, for a moment, see an entry that was just removed; so
            // may any reader that began before the removal.)
            self.searched.store(searched, Release);
        }
    }

    fn find(&self, key: &K, guard: &rcu::Guard) -> Option<NonNull<Node<K>>> {
        // SAFETY: Writers store to it atomically, with the release ordering that this load pairs with.
        // By the type invariant the pointer is null or valid for as long as the map is borrowed.
        if let Some(index) = unsafe { dereference(self.searched.as_ptr(), guard).as_ref() } {
            return index.find(key, guard);
        }
        let mut links = ptr::null_mut();
        loop {
            // SAFETY: `links` is null or was reached along the list within this section.
            links = unsafe { self.order.next(links, guard) }?;
            let node = Self::node(links);
            // SAFETY: As above, so the node is still allocated.
            if unsafe { node.as_ref() }.key == *key {
                return Some(node);
            }
        }
    }

    /// Whether there are no entries at this moment.
    pub(crate) fn is_empty(&self, guard: &rcu::Guard) -> bool {
        // SAFETY: Null asks for the first element.
        unsafe { self.order.next(ptr::null_mut(), guard) }.is_none()
    }

    /// Finds an entry by its key.
    pub(crate) fn get<'g>(&'g self, key: &K, guard: &'g rcu::Guard) -> Option<P::Borrowed<'g>> {
        let node = self.find(key, guard)?;
        // SAFETY: Nodes come from `into_raw`, and stay allocated for a grace period after they were
        // removed, that is, longer than the guard is borrowed.
        Some(unsafe { P::borrow(node) })
    }

    /// Removes a node and returns its owner.
    ///
    /// It leaves the hash table first, for the sake of `seek`: a reader that still finds a node
    /// there is in a read-side critical section that began before the node left the list, and so
    /// before any later removal of the nodes that follow it. Their memory outlives that section.
    ///
    /// # Safety
    ///
    /// `node` must be in the map, and the caller must be the only writer.
    unsafe fn remove(&self, node: NonNull<Node<K>>) -> P {
        // SAFETY: By the caller's promise.
        if let Some(index) = unsafe { self.index() } {
            // SAFETY: The node is alive, for it is in the map. It cannot fail for the same reason.
            let _ = unsafe { index.remove(node) };
        }
        // SAFETY: By the caller's promise.
        unsafe {
            self.order.remove(&raw mut (*node.as_ptr()).list);
            self.set_len(*self.len.get() - 1);
        }
        self.changed();
        // SAFETY: The node came from `into_raw` in `insert`, and is no longer in the map.
        unsafe { P::from_raw(node) }
    }

    /// Removes the entry that has been there longest.
    pub(crate) fn remove_first(&self, _lock: &mut L) -> Option<P> {
        // SAFETY: Null asks for the first element.
        let first = unsafe { self.order.next(ptr::null_mut(), &rcu::read_lock()) }?;
        // SAFETY: The node is in the map, and `lock` excludes other writers.
        Some(unsafe { self.remove(Self::node(first)) })
    }

    /// Removes the entries for which `condemned` returns true, and hands them to `removed`.
    pub(crate) fn remove_if(
        &self,
        _lock: &mut L,
        mut condemned: impl FnMut(&P) -> bool,
        mut removed: impl FnMut(P),
    ) {
        let mut links = ptr::null_mut();
        loop {
            // SAFETY: `links` is null or in the list, and we are the only writer.
            let Some(at) = (unsafe { self.order.next(links, &rcu::read_lock()) }) else {
                break;
            };
            let node = Self::node(at);
            // SAFETY: The node is in the map, and `lock` excludes other writers.
            if unsafe { Self::with_owner(node, &mut condemned) } {
                // `links` stays: what follows it is now the next entry.
                // SAFETY: The node is in the map, and `lock` excludes other writers.
                removed(unsafe { self.remove(node) });
            } else {
                links = at;
            }
        }
    }

    /// Calls `f` with the map's own pointer to a node.
    ///
    /// # Safety
    ///
    /// The node must be in the map until `f` has returned.
    unsafe fn with_owner<R>(node: NonNull<Node<K>>, f: impl FnOnce(&P) -> R) -> R {
        // SAFETY: The node came from `into_raw`. It counts as not turned back, for what comes of it is
        // only borrowed, and not dropped.
        f(&ManuallyDrop::new(unsafe { P::from_raw(node) }))
    }

    /// The node whose list links these are.
    fn node(links: *mut rcu_list::Links) -> NonNull<Node<K>> {
        let node = links.wrapping_byte_sub(offset_of!(Node<K>, list));
        // SAFETY: `RcuList::next` returns links of nodes, never null, and all elements of `order`
        // are nodes of this type.
        unsafe { NonNull::new_unchecked(node.cast()) }
    }

    /// Visits the entries in order, from `cursor` on, until `visit` fails or there are no more.
    ///
    /// When `visit` fails, `cursor` names the entry it failed on, and the error is returned. At the
    /// end, `cursor` says so, and a further call visits nothing.
    ///
    /// To resume takes constant time, unless the very entry that the cursor names was removed; then
    /// the list is searched for the place, as it is when there are few entries.
    pub(crate) fn for_each_from(
        &self,
        cursor: &mut Cursor<K>,
        guard: &rcu::Guard,
        mut visit: impl FnMut(P::Borrowed<'_>) -> Result,
    ) -> Result {
        let mut at = match cursor.position {
            Cursor::<K>::END => return Ok(()),
            // SAFETY: Null asks for the first element.
            0 => unsafe { self.order.next(ptr::null_mut(), guard) },
            position => self.seek(&cursor.key, position, guard),
        };
        while let Some(links) = at {
            let node = Self::node(links);
            // SAFETY: Found under `guard`, so it stays allocated while that is borrowed.
            if let Err(err) = visit(unsafe { P::borrow(node) }) {
                // SAFETY: As above.
                let node = unsafe { node.as_ref() };
                *cursor = Cursor {
                    position: node.position(),
                    key: node.key,
                };
                return Err(err);
            }
            // SAFETY: The node was reached along the list within this section, or found in the hash
            // table, where it is only after it was prepared for the list, and which it leaves before
            // the list: see `remove`.
            at = unsafe { self.order.next(links, guard) };
        }
        cursor.finish();
        Ok(())
    }

    /// The first element whose position is not below `position`. The element at `position` itself,
    /// if it is still there, has the key `key`.
    fn seek(&self, key: &K, position: u64, guard: &rcu::Guard) -> Option<*mut rcu_list::Links> {
        if let Some(node) = self.find(key, guard) {
            // SAFETY: Found under `guard`.
            if unsafe { node.as_ref() }.position() == position {
                // SAFETY: The node is alive, so the field is in bounds.
                return Some(unsafe { &raw mut (*node.as_ptr()).list });
            }
        }
        let mut links = ptr::null_mut();
        loop {
            // SAFETY: `links` is null or was reached along the list within this section.
            links = unsafe { self.order.next(links, guard) }?;
            // SAFETY: As above, so the node is still allocated.
            if unsafe { Self::node(links).as_ref() }.position() >= position {
                return Some(links);
            }
        }
    }
}

#[pinned_drop]
impl<K, P, L> PinnedDrop for RcuMap<K, P, L>
where
    K: Key,
    P: RcuPointer<Target = Node<K>>,
{
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: Exclusive access says that there is no writer.
        let index = unsafe { *self.index.get() };
        if !index.is_null() {
            // The hash table goes first: its worker may be moving nodes to other buckets.
            // SAFETY: By the type invariant this is a box's pointer. Exclusive access says that no
            // reader is left.
            drop(unsafe { KBox::from_raw(index) });
        }

        let mut links = ptr::null_mut();
        loop {
            // SAFETY: `links` is null or an element that has not been dropped yet, and there are no
            // other writers.
            let next = unsafe { self.order.next(links, &rcu::read_lock()) };
            if !links.is_null() {
                let node = links.wrapping_byte_sub(offset_of!(Node<K>, list)).cast();
                // SAFETY: All elements are nodes that came from `into_raw`. Their successor is
                // already known, and the list's head is not looked at again.
                drop(unsafe { P::from_raw(NonNull::new_unchecked(node)) });
            }
            match next {
                Some(next) => links = next,
                None => break,
            }
        }
    }
}
