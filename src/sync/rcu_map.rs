// SPDX-License-Identifier: GPL-2.0

//! A map that remembers the order of insertion and is read under RCU.
//!
//! An [`RcuList`] keeps the order, an [`RHashTable`] finds by key; both are intrusive, so an entry
//! costs no allocation of its own. The hash table is set up with the first entry: an empty map is a
//! few words.
//!
//! Writers show a lock (`L`) that excludes all others. Readers show an [`rcu::Guard`]; what they find
//! stays allocated until they drop it, but may be removed from the map at any time.
//!
//! # Examples
//!
//! ```ignore
//! // `unique` is a `UniqueTimeout<Node<Name, Uses>>`; `lock` is the writers' lock.
//! map.insert(lock, unique)?;
//!
//! let guard = rcu::read_lock();
//! if let Some(found) = map.get(&name, &guard) {
//!     pr_info!("{} uses\n", found.value().value().count());
//! }
//! drop(guard);
//!
//! // What is removed is handed out; readers that have found it keep the memory.
//! if let Some(entry) = map.entry(lock, &name) {
//!     drop(entry.remove());
//! }
//! ```

use core::{
    cell::UnsafeCell,
    marker::PhantomData,
    mem::offset_of,
    ptr::{
        self,
        NonNull, //
    },
};

use kernel::{
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

use super::{
    rcu_list::{
        self,
        RcuList, //
    },
    rhashtable::{
        self,
        RHashTable, //
    },
};

/// Owning pointers whose referent can be shared with RCU readers.
///
/// # Safety
///
/// - `into_raw` and `from_raw` must be inverse to each other, and the address must not change while
///   the object lives.
/// - From `publish` until a grace period after the last owner is dropped, the object must stay
///   allocated and its value must not be dropped.
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

/// Evidence that no other writer runs.
///
/// # Safety
///
/// At any time there must be at most one value of the type in use, over all threads, and what was
/// written while one existed must be visible to whoever has the next.
pub(crate) unsafe trait WriteLock {}

/// An element of an [`RcuMap`]: a key, a value, and its places in the list and the hash table.
#[repr(C)]
pub(crate) struct Node<K, V> {
    hash: rhashtable::Links,
    list: rcu_list::Links,
    position: UnsafeCell<u64>,
    key: K,
    value: V,
}

// SAFETY: The links are only touched by the map; `position` is written before the node is shared.
unsafe impl<K: Send, V: Send> Send for Node<K, V> {}

// SAFETY: As above.
unsafe impl<K: Sync, V: Sync> Sync for Node<K, V> {}

impl<K, V> Node<K, V> {
    /// A node to be inserted.
    pub(crate) const fn new(key: K, value: V) -> Self {
        Self {
            hash: rhashtable::Links::new(),
            list: rcu_list::Links::new(),
            position: UnsafeCell::new(0),
            key,
            value,
        }
    }

    /// What the node is found by.
    pub(crate) fn key(&self) -> &K {
        &self.key
    }

    /// What it holds.
    pub(crate) fn value(&self) -> &V {
        &self.value
    }

    fn position(&self) -> u64 {
        // SAFETY: Written once, before the node was linked.
        unsafe { *self.position.get() }
    }
}

// SAFETY: The offsets are the compiler's, and the key is never given out mutably.
unsafe impl<K: AsBytes, V> rhashtable::Element for Node<K, V> {
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
/// - Every node in `order` is in the hash table, and the other way round, except while a writer is
///   at work. The map owns one `P` for each.
/// - Positions ascend strictly along `order`, and none is used twice.
/// - `index` is null or the result of [`KBox::into_raw`]; once set, it stays until the map is
///   dropped.
#[pin_data(PinnedDrop)]
pub(crate) struct RcuMap<K, V, P, L>
where
    K: AsBytes,
    P: RcuPointer<Target = Node<K, V>>,
{
    #[pin]
    order: RcuList,
    index: Atomic<*mut RHashTable<Node<K, V>>>,
    next_position: UnsafeCell<u64>,
    generation: Atomic<u32>,
    _owned: PhantomData<(P, fn(L))>,
}

// SAFETY: The map owns values of `P`, and shares their nodes, which are `Send` and `Sync` by the
// bound on `RcuPointer::Target`. The rest is accessed under RCU or the lock `L`.
unsafe impl<K, V, P, L> Send for RcuMap<K, V, P, L>
where
    K: AsBytes,
    P: RcuPointer<Target = Node<K, V>> + Send,
{
}

// SAFETY: As above.
unsafe impl<K, V, P, L> Sync for RcuMap<K, V, P, L>
where
    K: AsBytes,
    P: RcuPointer<Target = Node<K, V>> + Send,
{
}

impl<K, V, P, L> RcuMap<K, V, P, L>
where
    K: AsBytes + Copy,
    P: RcuPointer<Target = Node<K, V>>,
    L: WriteLock,
{
    /// Returns an initializer of an empty map. Does not allocate.
    pub(crate) fn new() -> impl PinInit<Self, Error> {
        // INVARIANT: There are no nodes and no hash table.
        try_pin_init!(Self {
            order <- RcuList::new(),
            index: Atomic::new(ptr::null_mut()),
            next_position: UnsafeCell::new(1),
            generation: Atomic::new(1),
            _owned: PhantomData,
        })
    }

    /// A number, never zero, that differs from an earlier one if entries came or went in between.
    ///
    /// (It wraps after 2^32 changes.) A change that a reader saw is counted at the latest when the
    /// next change begins.
    pub(crate) fn generation(&self) -> u32 {
        self.generation.load(Acquire)
    }

    fn changed(&self) {
        let next = self.generation.load(Relaxed).wrapping_add(1).max(1);
        // Release: who sees this number sees the change, too.
        self.generation.store(next, Release);
    }

    fn index(&self) -> Option<&RHashTable<Node<K, V>>> {
        // SAFETY: By the type invariant the pointer is null or valid for as long as the map is
        // borrowed. Acquire pairs with the release in `index_or_new`.
        unsafe { self.index.load(Acquire).as_ref() }
    }

    /// The hash table, which is made if there is none yet. Only for writers; may sleep.
    fn index_or_new(&self) -> Result<&RHashTable<Node<K, V>>> {
        if let Some(index) = self.index() {
            return Ok(index);
        }
        let index = KBox::pin_init(RHashTable::new(), GFP_KERNEL_ACCOUNT)?;
        // SAFETY: The pointee is not moved: the pointer is only turned back in order to be dropped.
        let index = KBox::into_raw(unsafe { Pin::into_inner_unchecked(index) });
        // INVARIANT: This is a box's pointer, and there was none before: we are the only writer.
        self.index.store(index, Release);
        // SAFETY: Just allocated, and valid until the map is dropped.
        Ok(unsafe { &*index })
    }

    fn find(&self, key: &K, guard: &rcu::Guard) -> Option<NonNull<Node<K, V>>> {
        self.index()?.find(key, guard)
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

    /// Finds an entry by its key, for a writer: it stays in the map until the writer removes it.
    pub(crate) fn entry<'m>(&'m self, lock: &'m mut L, key: &K) -> Option<Entry<'m, K, V, P, L>> {
        let node = self.find(key, &rcu::read_lock())?;
        // INVARIANT: The node is in the map, and nobody else can remove it while `lock` is borrowed.
        Some(Entry {
            map: self,
            node,
            _lock: lock,
        })
    }

    /// Adds an entry behind all others. May sleep.
    ///
    /// Fails with `EEXIST` if the key is taken, and with `ENOMEM`; the entry is dropped then.
    pub(crate) fn insert(&self, _lock: &mut L, unique: P::Unique) -> Result {
        let index = self.index_or_new()?;
        let node = P::publish(unique).into_raw();
        let links = node.as_ptr();

        // SAFETY: Nobody else knows of the node yet, and `lock` makes us the only one to look at
        // `next_position`.
        // INVARIANT: The new position is above all others.
        unsafe {
            *(*links).position.get() = *self.next_position.get();
            *self.next_position.get() += 1;
        }

        // SAFETY: The node was unique, so it is in no table; the map owns it from here on.
        if let Err(err) = unsafe { index.insert(node) } {
            // SAFETY: The node is in neither container, and was just made by `into_raw`.
            drop(unsafe { P::from_raw(node) });
            // Beyond a duplicate, all that can go wrong is that the table cannot grow.
            return Err(if err == EEXIST { EEXIST } else { ENOMEM });
        }
        // SAFETY: As for the hash table; `lock` makes us the only writer.
        unsafe { self.order.push_back(&raw mut (*links).list) };
        self.changed();
        Ok(())
    }

    /// Removes a node and returns its owner.
    ///
    /// The hash table comes first, for the sake of `seek`: who still finds a node there is in a
    /// read-side section that began before the node left the list, and so before any later removal
    /// of the nodes that follow it; their memory outlives that section.
    ///
    /// # Safety
    ///
    /// `node` must be in the map, and the caller must be the only writer.
    unsafe fn remove(&self, node: NonNull<Node<K, V>>) -> P {
        if let Some(index) = self.index() {
            // SAFETY: The node is alive, for it is in the map. It cannot fail for the same reason.
            let _ = unsafe { index.remove(node) };
        }
        // SAFETY: By the caller's promise.
        unsafe { self.order.remove(&raw mut (*node.as_ptr()).list) };
        self.changed();
        // SAFETY: The node came from `into_raw` in `insert`, and is no longer in the map.
        unsafe { P::from_raw(node) }
    }

    /// Removes the entries for which `condemned` returns true, and hands them to `removed`.
    pub(crate) fn remove_if(
        &self,
        _lock: &mut L,
        mut condemned: impl FnMut(P::Borrowed<'_>) -> bool,
        mut removed: impl FnMut(P),
    ) {
        let mut links = ptr::null_mut();
        loop {
            // SAFETY: `links` is null or in the list, and we are the only writer.
            let Some(at) = (unsafe { self.order.next(links, &rcu::read_lock()) }) else {
                break;
            };
            let node = Self::node(at);
            // SAFETY: The node is in the map, which owns it, and we do not remove it before the
            // closure has returned.
            if condemned(unsafe { P::borrow(node) }) {
                // `links` stays: what follows it is now the next entry.
                // SAFETY: The node is in the map, and `lock` excludes other writers.
                removed(unsafe { self.remove(node) });
            } else {
                links = at;
            }
        }
    }

    /// The node whose list links these are.
    fn node(links: *mut rcu_list::Links) -> NonNull<Node<K, V>> {
        let node = links.wrapping_byte_sub(offset_of!(Node<K, V>, list));
        // SAFETY: `RcuList::next` returns links of nodes, never null, and all elements of `order`
        // are nodes of this type.
        unsafe { NonNull::new_unchecked(node.cast()) }
    }

    /// Visits the entries in order, from `cursor` on, until `visit` fails or there are no more.
    ///
    /// When `visit` fails, `cursor` names the entry it failed on, and the error is returned. At the
    /// end, `cursor` says so, and a further call visits nothing.
    ///
    /// Going on takes constant time, unless the very entry that the cursor names was removed; then
    /// the place is searched for along the list.
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
            // table, which it leaves before the list: see `remove`.
            at = unsafe { self.order.next(links, guard) };
        }
        cursor.finish();
        Ok(())
    }

    /// The first element whose position is not below `position`; that one has `key`, if it is still
    /// there.
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
impl<K, V, P, L> PinnedDrop for RcuMap<K, V, P, L>
where
    K: AsBytes,
    P: RcuPointer<Target = Node<K, V>>,
{
    fn drop(self: Pin<&mut Self>) {
        let index = self.index.load(Relaxed);
        if index.is_null() {
            return;
        }
        // The hash table goes first: its worker may be moving nodes to other buckets.
        // SAFETY: By the type invariant this is a box's pointer. Exclusive access says that no
        // reader is left.
        drop(unsafe { KBox::from_raw(index) });

        let mut links = ptr::null_mut();
        loop {
            // SAFETY: `links` is null or an element that has not been dropped yet, and there are no
            // other writers.
            let next = unsafe { self.order.next(links, &rcu::read_lock()) };
            if !links.is_null() {
                let node = links.wrapping_byte_sub(offset_of!(Node<K, V>, list)).cast();
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

/// An entry of a map, in the hands of the only writer.
///
/// # Invariants
///
/// `node` is in `map`.
pub(crate) struct Entry<'m, K, V, P, L>
where
    K: AsBytes,
    P: RcuPointer<Target = Node<K, V>>,
{
    map: &'m RcuMap<K, V, P, L>,
    node: NonNull<Node<K, V>>,
    _lock: &'m mut L,
}

impl<K, V, P, L> Entry<'_, K, V, P, L>
where
    K: AsBytes + Copy,
    P: RcuPointer<Target = Node<K, V>>,
    L: WriteLock,
{
    /// The entry itself.
    pub(crate) fn get(&self) -> P::Borrowed<'_> {
        // SAFETY: By the type invariant the map owns the node, and removing it consumes `self`.
        unsafe { P::borrow(self.node) }
    }

    /// Takes it out of the map.
    pub(crate) fn remove(self) -> P {
        // SAFETY: By the type invariant the node is in the map, and `_lock` makes us the only
        // writer.
        unsafe { self.map.remove(self.node) }
    }
}
