// SPDX-License-Identifier: GPL-2.0

//! The timeout policies of one network namespace, in the order of their creation ([`Table`]).
//!
//! Readers hold the RCU read lock. What a reader finds stays allocated until the lock is released,
//! but may leave the table at any time. A [`Writer`] holds the mutex of the table, and finds an
//! [`Entry`] for a name. A dump remembers its place in a [`Cursor`].
//!
//! C headers: [`include/linux/rculist.h`](srctree/include/linux/rculist.h),
//! [`include/linux/mutex.h`](srctree/include/linux/mutex.h)

use core::{
    ops::Deref,
    ptr::{
        self,
        NonNull, //
    },
};

use kernel::{
    alloc::Flags,
    container_of,
    interop::list::CListHead,
    new_mutex,
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Relaxed,
            Release, //
        },
        rcu,
        Mutex,
        MutexGuard, //
    },
    types::Opaque,
};

use super::{
    index::Index,
    l4proto::TimeoutAttrs,
    name::Name,
    timeout::Timeout,
    untimeout::Untimeout, //
};

use crate::{
    bindings,
    net::netns::{
        self,
        Net,
        PerNet, //
    },
    sync::{
        rcu::dereference,
        refcount::RefcountExt, //
    },
};

/// The policies of a namespace.
///
/// # Invariants
///
/// - `order` holds objects. The table owns a user of each or, once it is retired, the references
///   that its users had. An object stays allocated for a grace period after it was removed. No two
///   have the same name, and positions ascend.
/// - `index` is null or from [`KBox::into_raw`], and once set, it stays. It holds objects that are
///   in `order`, and all of them while no writer is at work.
#[pin_data(PinnedDrop)]
pub(crate) struct Table {
    net: NonNull<bindings::net>,
    /// `list::List` has no RCU readers, who go on from an element that was removed meanwhile.
    #[pin]
    order: CListHead,
    index: Atomic<*mut Index>,
    /// The position of the newest policy.
    last: Atomic<u64>,
    #[pin]
    state: Mutex<State>,
}

/// What only the writer of a table needs.
struct State {
    /// The number of policies.
    len: usize,
    /// The number of the latest walk over the flow table.
    walk: usize,
}

// SAFETY: The table owns users of objects that belong to no thread, and so do its other fields.
unsafe impl Send for Table {}

// SAFETY: Readers are under RCU; writers hold the mutex.
unsafe impl Sync for Table {}

netns::declare_pernet!(Table);

impl PerNet for Table {
    unsafe fn init(net: &Net) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            net: NonNull::from(net).cast(),
            order <- CListHead::new(),
            index: Atomic::new(ptr::null_mut()),
            last: Atomic::new(0),
            state <- new_mutex!(State { len: 0, walk: 0 }, "cttimeout"),
        })
    }
}

impl Table {
    /// With more policies than this, there is an index: to compare so many names takes about as
    /// long as to hash one.
    const FEW: usize = 16;

    fn net(&self) -> &Net {
        // SAFETY: By the safety requirements of `init`, the table is dropped before `net` is freed.
        unsafe { Net::from_raw(self.net.as_ptr()) }
    }

    /// All policies, in the order of their creation.
    fn iter<'g>(&'g self, guard: &'g rcu::Guard) -> Iter<'g> {
        // INVARIANT: The head belongs to the list.
        Iter {
            order: &self.order,
            at: self.order.as_raw(),
            guard,
        }
    }

    /// The policy behind `at`, or the first one.
    ///
    /// # Safety
    ///
    /// `at` must be in the table, and there must be no other writer.
    unsafe fn next(&self, at: Option<NonNull<Timeout>>) -> Option<NonNull<Timeout>> {
        let guard = rcu::read_lock();
        let mut rest = self.iter(&guard);
        if let Some(at) = at {
            // INVARIANT: `at` is in the list.
            // SAFETY: By the safety requirements of this function, the table keeps `at`.
            rest.at = unsafe { at.as_ref() }.list.get();
        }
        rest.next().map(NonNull::from)
    }

    fn index(&self, guard: &rcu::Guard) -> Option<&Index> {
        // Litmus: index
        // SAFETY: By the type invariant the pointer is null or valid while the table is borrowed.
        // It was published with release ordering.
        unsafe { dereference(&self.index, guard).as_ref() }
    }

    /// Finds a policy by its name.
    #[inline]
    pub(crate) fn get<'g>(&'g self, name: &Name, guard: &'g rcu::Guard) -> Option<&'g Timeout> {
        match self.index(guard) {
            Some(index) => index.find(name, guard),
            None => self.iter(guard).find(|policy| policy.name() == name),
        }
    }

    /// Visits the policies that `cursor` has not shown yet, until `visit` fails.
    ///
    /// In all, a dump visits each policy once that exists from its beginning to its end, and none
    /// that is created meanwhile. Takes constant time to resume, unless the policy that was shown
    /// last has been removed.
    pub(crate) fn for_each_from(
        &self,
        cursor: &mut Cursor,
        guard: &rcu::Guard,
        mut visit: impl FnMut(&Timeout) -> Result,
    ) -> Result {
        if cursor.shown == 0 {
            // Litmus: dump-begin
            cursor.end = self.last.load(Acquire);
        }
        let mut rest = self.iter(guard);
        let shown = (cursor.shown != 0).then(|| self.get(&cursor.name, guard));
        if let Some(policy) = shown.flatten() {
            if policy.position == cursor.shown {
                // Litmus: publish-hash, remove
                // INVARIANT: The policy was found in this read-side section, in this table. A
                // policy leaves the index before it leaves the list.
                rest.at = policy.list.get();
            }
        }
        for policy in rest {
            if policy.position > cursor.end {
                break;
            }
            if policy.position > cursor.shown {
                visit(policy)?;
                (cursor.shown, cursor.name) = (policy.position, policy.name);
            }
        }
        Ok(())
    }

    /// Takes the mutex. Sleeps.
    #[doc(alias = "mutex_lock")]
    pub(crate) fn lock(&self) -> Writer<'_> {
        let mut state = self.state.lock();
        state.walk = state.walk.wrapping_add(1).max(1);
        // INVARIANT: `state` is the guard of this table's mutex.
        Writer {
            untimeout: Untimeout::new(self.net(), state.walk),
            state,
            table: self,
        }
    }
}

#[pinned_drop]
impl PinnedDrop for Table {
    /// Flows have a reference of their own, and rules are users: both keep the object.
    fn drop(self: Pin<&mut Self>) {
        let index = self.index.load(Relaxed);
        if !index.is_null() {
            // The worker of the hash table may be moving objects to other buckets, so it goes
            // first.
            // SAFETY: By the type invariant `index` comes from a box. No reader is left.
            drop(unsafe { KBox::from_raw(index) });
        }
        // SAFETY: The beginning is asked for, and exclusive access says that there is no writer.
        let mut next = unsafe { self.next(None) };
        while let Some(at) = next {
            // SAFETY: `at` is in the table, and there is no writer.
            next = unsafe { self.next(Some(at)) };
            // SAFETY: The table keeps `at` until here.
            let policy = unsafe { at.as_ref() };
            if policy.users() == 0 || policy.users.dec_and_test() {
                // SAFETY: `at` has no users any more, and the table owns their references. By the
                // safety requirements of `init`, the module's exit waits.
                unsafe { Timeout::release(at) };
            }
        }
    }
}

/// Policies in the order of their creation.
///
/// # Invariants
///
/// `at` is the head of `order`, or part of an object that is in the list, or was at some time since
/// the read-side section of `guard` began.
struct Iter<'g> {
    order: &'g CListHead,
    at: *mut bindings::list_head,
    guard: &'g rcu::Guard,
}

impl<'g> Iterator for Iter<'g> {
    type Item = &'g Timeout;

    #[inline]
    fn next(&mut self) -> Option<&'g Timeout> {
        // SAFETY: By the type invariant `at` is allocated. Writers store `next` as a whole.
        let next = unsafe { Atomic::from_ptr(&raw mut (*self.at).next) };
        // Litmus: publish-list
        // INVARIANT: Reached along the list within the section.
        self.at = dereference(next, self.guard);
        if self.at == self.order.as_raw() {
            return None;
        }
        let list: *mut Opaque<bindings::list_head> = self.at.cast();
        // SAFETY: All elements of the list are `list` fields of objects, which stay during `'g`.
        Some(unsafe { &*container_of!(list, Timeout, list) })
    }
}

/// The place of a dump. All zeros is the beginning.
///
/// The cursor names the policy that was shown last, and keeps nothing alive.
#[derive(Clone, Copy)]
pub(crate) struct Cursor {
    shown: u64,
    /// The last position that is to be shown.
    end: u64,
    name: Name,
}

// SAFETY: All zeros are valid numbers, and an empty name.
unsafe impl Zeroable for Cursor {}

/// The only writer of a table. When it is dropped, the objects of removed policies are taken off
/// the flows; then the mutex is released.
///
/// # Invariants
///
/// `state` is the guard of `table`'s mutex.
pub(crate) struct Writer<'t> {
    // In the order in which they are dropped. A namespace walks for one writer at a time.
    untimeout: Untimeout<'t>,
    state: MutexGuard<'t, State>,
    table: &'t Table,
}

/// The place of a name in a table.
pub(crate) enum Entry<'w, 't> {
    /// A policy has this name.
    Occupied(OccupiedEntry<'w, 't>),
    /// No policy has this name.
    Vacant(VacantEntry<'w, 't>),
}

impl<'t> Writer<'t> {
    /// Finds the place of a name.
    pub(crate) fn entry(&mut self, name: Name) -> Entry<'_, 't> {
        let found = self.table.get(&name, &rcu::read_lock()).map(NonNull::from);
        match found {
            // INVARIANT: The policy is in the table, and nobody else can remove it.
            Some(policy) => Entry::Occupied(OccupiedEntry {
                writer: self,
                policy,
            }),
            // INVARIANT: No policy has the name, and nobody else can insert one.
            None => Entry::Vacant(VacantEntry { writer: self, name }),
        }
    }

    /// Visits all policies, each of which may be removed.
    pub(crate) fn for_each(&mut self, mut visit: impl FnMut(OccupiedEntry<'_, 't>)) {
        // SAFETY: The beginning is asked for, and this is the only writer.
        let mut next = unsafe { self.table.next(None) };
        while let Some(policy) = next {
            // SAFETY: `policy` is in the table, and this is the only writer.
            next = unsafe { self.table.next(Some(policy)) };
            // INVARIANT: The policy is in the table, and nobody else can remove it.
            visit(OccupiedEntry {
                writer: self,
                policy,
            });
        }
    }

    /// Sets the default timeouts of the namespace; those that are absent stay as they are.
    ///
    /// Packets see each new value at once.
    pub(crate) fn set_defaults(&mut self, attrs: TimeoutAttrs<'_, '_>) -> Result {
        // SAFETY: Null asks the tracker to write to its own data in the namespace.
        unsafe { attrs.convert(self.table.net(), ptr::null_mut()) }
    }

    /// Makes an index of all policies, for readers to search. May sleep.
    fn make_index(&mut self, flags: Flags) -> Result {
        let index = KBox::pin_init(Index::new(), flags)?;
        for policy in self.table.iter(&rcu::read_lock()) {
            // SAFETY: The policy is in the table of this writer and, until this index is published,
            // in no other. No other has its name.
            unsafe { index.insert(policy) }?;
        }
        // SAFETY: The index is not moved: the pointer is only turned back in order to be dropped.
        let index = KBox::into_raw(unsafe { Pin::into_inner_unchecked(index) });
        // Litmus: index
        // INVARIANT: The index has all policies, and there was none before.
        // Release: a reader that finds the index finds its contents.
        self.table.index.store(index, Release);
        Ok(())
    }
}

/// A policy in the hands of the writer.
///
/// # Invariants
///
/// `policy` is in the table of `writer`.
pub(crate) struct OccupiedEntry<'w, 't> {
    writer: &'w mut Writer<'t>,
    policy: NonNull<Timeout>,
}

impl Deref for OccupiedEntry<'_, '_> {
    type Target = Timeout;

    fn deref(&self) -> &Timeout {
        // SAFETY: By the type invariant `policy` is in the table, which keeps it. Removing it
        // consumes `self`.
        unsafe { self.policy.as_ref() }
    }
}

impl OccupiedEntry<'_, '_> {
    /// Replaces the timeouts; those that are absent take the default of the namespace.
    pub(crate) fn replace(&mut self, attrs: TimeoutAttrs<'_, '_>) -> Result {
        self.store(attrs, self.writer.table.net())
    }

    /// Ends the use of the policy, unless rules use it: from here on, no rule can become a user.
    /// The error is the number of rules.
    ///
    /// In a race with a rule, one atomic operation decides which of the two succeeds.
    pub(crate) fn retire(&self) -> Result<(), u32> {
        // Litmus: retire
        while !self.users.dec_if_one() {
            match self.users() {
                0 => break,
                // The last rule has gone in between.
                1 => continue,
                users => return Err(users - 1),
            }
        }
        Ok(())
    }

    /// Removes the policy. Rules that use it keep the object.
    pub(crate) fn remove(self) {
        let Self { writer, policy } = self;
        // SAFETY: By the type invariant `policy` is in the table, which keeps it until the end of
        // this function.
        let object = unsafe { policy.as_ref() };
        if let Some(index) = writer.table.index(&rcu::read_lock()) {
            index.remove(object);
        }
        // Litmus: remove
        // SAFETY: By the type invariant `object` is in the list, and `writer` is the only writer.
        unsafe { bindings::cttimeout_helper_list_del_rcu(object.list.get()) };
        writer.state.len -= 1;
        // SAFETY: `policy` was just removed. By the safety requirements of `init`, the module's
        // exit waits.
        unsafe { writer.untimeout.add(policy) };
    }
}

/// The place of a name that no policy has, in the hands of the writer.
///
/// # Invariants
///
/// No policy in the table of `writer` has this name.
pub(crate) struct VacantEntry<'w, 't> {
    writer: &'w mut Writer<'t>,
    name: Name,
}

impl<'w> VacantEntry<'w, '_> {
    /// Creates a policy, behind all others. May sleep, as `flags` allow.
    ///
    /// `l3num` is the address family (`NFPROTO_*`) of the rules that may use it. Timeouts that are
    /// absent take the default of the namespace. Fails with `ENOMEM`, and with the errors of the
    /// tracker; nothing is left behind then.
    pub(crate) fn insert(
        self,
        l3num: u16,
        attrs: TimeoutAttrs<'_, '_>,
        flags: Flags,
    ) -> Result<&'w Timeout> {
        let Self { writer, name } = self;
        let table = writer.table;
        let position = table.last.load(Relaxed) + 1;
        // SAFETY: By the safety requirements of `init`, the module's exit waits.
        let policy = unsafe { Timeout::alloc(name, position, l3num, attrs, table.net(), flags) }?;
        // SAFETY: The object is complete, in no list, and its memory outlives its removal by a
        // grace period. `writer` is the only writer of the list.
        unsafe {
            // Litmus: publish-list, publish-hash
            bindings::cttimeout_helper_list_add_tail_rcu(policy.list.get(), table.order.as_raw());
        }
        if let Some(index) = table.index(&rcu::read_lock()) {
            // SAFETY: The object is in no hash table. By the type invariant, no other has its name.
            unsafe { index.insert(&policy) }.inspect_err(|_| {
                // SAFETY: The object was just added. No dump has shown it, because of its position.
                unsafe { bindings::cttimeout_helper_list_del_rcu(policy.list.get()) };
            })?;
        }
        // Litmus: dump-begin
        // Release: a dump that begins at this position finds all policies up to it.
        table.last.store(position, Release);
        writer.state.len += 1;
        if writer.state.len > Table::FEW && table.index(&rcu::read_lock()).is_none() {
            // Without memory for it, readers go on searching the list.
            let _ = writer.make_index(flags);
        }
        // SAFETY: The table keeps the object, and `writer` is borrowed as long as the reference.
        Ok(unsafe { policy.into_raw().as_ref() })
    }
}
