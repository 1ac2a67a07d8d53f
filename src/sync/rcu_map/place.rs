// SPDX-License-Identifier: GPL-2.0

//! Places in a map, as a writer finds them by key: occupied or vacant.

use core::ptr::NonNull;

use kernel::{
    alloc::Flags,
    prelude::*,
    sync::rcu, //
};

use super::{
    Key,
    Node,
    RcuMap,
    RcuPointer,
    WriteLock, //
};

/// What a writer finds where a key belongs.
pub(crate) enum Place<'m, K, P, L>
where
    K: Key,
    P: RcuPointer<Target = Node<K>>,
{
    /// An entry with this key.
    Occupied(Entry<'m, K, P, L>),
    /// No entry.
    Vacant(Vacancy<'m, K, P, L>),
}

impl<K, P, L> RcuMap<K, P, L>
where
    K: Key,
    P: RcuPointer<Target = Node<K>>,
    L: WriteLock,
{
    /// Finds the place of a key, for a writer: what is there or not stays so until the writer changes
    /// it.
    pub(crate) fn entry<'m>(&'m self, lock: &'m mut L, key: &K) -> Place<'m, K, P, L> {
        match self.find(key, &rcu::read_lock()) {
            // INVARIANT: The node is in the map, and nobody else can remove it while `lock` is
            // borrowed.
            Some(node) => Place::Occupied(Entry {
                map: self,
                node,
                lock,
            }),
            // INVARIANT: There is no such node, and nobody else can insert one.
            None => Place::Vacant(Vacancy {
                map: self,
                key: *key,
                _lock: lock,
            }),
        }
    }
}

/// An entry of a map, in the hands of the only writer.
///
/// # Invariants
///
/// `node` is in `map`.
pub(crate) struct Entry<'m, K, P, L>
where
    K: Key,
    P: RcuPointer<Target = Node<K>>,
{
    map: &'m RcuMap<K, P, L>,
    node: NonNull<Node<K>>,
    lock: &'m mut L,
}

impl<K, P, L> Entry<'_, K, P, L>
where
    K: Key,
    P: RcuPointer<Target = Node<K>>,
    L: WriteLock,
{
    /// The entry, and evidence of the lock for what only the writer may do with it.
    ///
    /// The reference to the lock is shared, so that it cannot be used to remove entries meanwhile.
    pub(crate) fn get_locked(&self) -> (P::Borrowed<'_>, &L) {
        // SAFETY: By the type invariant the map owns the node. To remove it takes `self`, or the lock
        // exclusively, which `self` borrows.
        (unsafe { P::borrow(self.node) }, self.lock)
    }

    /// Calls `f` with the map's own pointer.
    pub(crate) fn with_owner<R>(&self, f: impl FnOnce(&P) -> R) -> R {
        // SAFETY: By the type invariant the node is in the map, and removing it consumes `self`.
        unsafe { RcuMap::<K, P, L>::with_owner(self.node, f) }
    }

    /// Takes it out of the map.
    pub(crate) fn remove(self) -> P {
        // SAFETY: By the type invariant the node is in the map, and `lock` makes us the only
        // writer.
        unsafe { self.map.remove(self.node) }
    }
}

/// The place of a key that is not in a map, in the hands of the only writer.
///
/// # Invariants
///
/// No node of `map` has the key `key`.
pub(crate) struct Vacancy<'m, K, P, L>
where
    K: Key,
    P: RcuPointer<Target = Node<K>>,
{
    map: &'m RcuMap<K, P, L>,
    key: K,
    _lock: &'m mut L,
}

impl<K, P, L> Vacancy<'_, K, P, L>
where
    K: Key,
    P: RcuPointer<Target = Node<K>>,
    L: WriteLock,
{
    /// Adds an entry after all others. May sleep. If this creates the map's hash table, that is
    /// allocated with `flags`, except for its buckets: rhashtable uses flags of its own for those.
    ///
    /// Fails with `ENOMEM`, and with `EINVAL` if the entry's key is not the one that was looked for;
    /// the entry is dropped then.
    pub(crate) fn insert(self, unique: P::Unique, flags: Flags) -> Result {
        let map = self.map;
        let node = P::publish(unique).into_raw();
        // SAFETY: The node was unique; the map owns it from here on. It came from `into_raw`, so
        // where inserting it has failed, and it is in neither container, it can be turned back.
        unsafe {
            self.link(node, flags)
                .inspect_err(|_| drop(P::from_raw(node)))?;
            map.set_len(*map.len.get() + 1);
        }
        map.changed();
        Ok(())
    }

    /// # Safety
    ///
    /// The node must be initialized and known to nobody else.
    unsafe fn link(self, node: NonNull<Node<K>>, flags: Flags) -> Result {
        let map = self.map;
        let links = node.as_ptr();
        // SAFETY: The node is valid and not shared yet.
        if unsafe { (*links).key } != self.key {
            return Err(EINVAL);
        }
        // SAFETY: By the type invariant `_lock` makes us the only writer.
        let index = match unsafe { map.index() } {
            // SAFETY: As above.
            None if unsafe { *map.len.get() } >= RcuMap::<K, P, L>::FEW => {
                // SAFETY: As above.
                Some(unsafe { map.make_index(flags) }?)
            }
            index => index,
        };
        // SAFETY: Nobody else knows of the node yet, and we are the only one to look at
        // `next_position`.
        // INVARIANT: The new position is above all others.
        unsafe {
            *(*links).position.get() = *map.next_position.get();
            *map.next_position.get() += 1;
        }
        if let Some(index) = index {
            // From here on, readers find the node, though it is not in the list yet. A cursor of this
            // map does not lead to it: it would have to name the position, which is learned by walking
            // along the list. But a cursor of another map may.
            // SAFETY: The node is in no list, and nobody else knows of it yet.
            unsafe { map.order.prepare(&raw mut (*links).list) };
            // SAFETY: The node is in no table, and by the type invariant no other has its key.
            // Nothing can go wrong but that the table cannot grow.
            unsafe { index.insert(node) }.map_err(|_| ENOMEM)?;
        }
        // SAFETY: As for the hash table; we are the only writer.
        unsafe { map.order.push_back(&raw mut (*links).list) };
        Ok(())
    }
}
