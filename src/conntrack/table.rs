// SPDX-License-Identifier: GPL-2.0

//! The timeout policies of one network namespace, in the order of their creation ([`Table`]).
//!
//! Readers hold the RCU read lock. A policy that a reader finds stays allocated until the lock is
//! released, but may leave the table at any time. A [`Writer`] holds the mutex of the table, and
//! finds an [`Entry`] for a name. A dump remembers its place in a [`Cursor`].
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
        HasPernet,
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
/// - `net` is valid until the table is dropped.
/// - `order` holds objects. The table owns a user of each or, once an object is retired, the
///   references that its users had. An object stays allocated for a grace period after it was
///   removed. No two have the same name, and positions ascend.
/// - `index` is null or from [`KBox::into_raw`], and once set, it stays. It holds objects that are
///   in `order`, and all of them while no writer is at work.
#[pin_data(PinnedDrop)]
pub(crate) struct Table {
    net: NonNull<bindings::net>,
    /// `list::List` is not for RCU readers, which may go on from an element that was removed.
    #[pin]
    order: CListHead,
    index: Atomic<*mut Index>,
    /// The position of the newest policy.
    last: Atomic<u64>,
    #[pin]
    state: Mutex<State>,
}

/// State that only the writer of a table needs.
struct State {
    /// The number of policies.
    len: usize,
    /// The number of the latest writer, and of the walk over the flow table that may be due then.
    walk: usize,
}

// SAFETY: No field belongs to a thread, and neither do the objects in `order`, or `index`.
unsafe impl Send for Table {}

// SAFETY: `order` and `index` are read under RCU, and written by whoever holds the mutex `state`;
// `last` is atomic, and `net` constant.
unsafe impl Sync for Table {}

netns::declare_pernet!(Table);

impl PerNet for Table {
    unsafe fn init(net: &Net) -> impl PinInit<Self, Error> {
        // INVARIANT: The list is empty, and there is no index. By the safety requirements of this
        // function, the table is dropped before `net` is freed.
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
    /// The number of policies beyond which an index is made: to compare so many names takes about
    /// as long as to hash one.
    const FEW: usize = 16;

    fn net(&self) -> &Net {
        // SAFETY: By the type invariant `net` is valid while the table is borrowed.
        unsafe { Net::from_raw(self.net.as_ptr()) }
    }

    /// All policies, in the order of their creation.
    fn iter<'g>(&'g self, guard: &'g rcu::Guard) -> Iter<'g> {
        // INVARIANT: `at` is the head of `order`.
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
        // SAFETY: By the type invariant `index` is null or valid while the table is borrowed. It
        // was stored with release ordering.
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
        let shown = self.get(&cursor.name, guard);
        if let Some(policy) = shown.filter(|policy| policy.position == cursor.shown) {
            // Litmus: publish-hash, remove
            // INVARIANT: `policy` was found in this table, in the read-side section of `guard`, and
            // a policy leaves the index before the list: `policy` was in the list then.
            rest.at = policy.list.get();
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

    /// Takes the mutex; may sleep.
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
            // The index goes before the objects: its worker may be moving them to other buckets.
            // SAFETY: By the type invariant `index` comes from a box. No reader is left.
            drop(unsafe { KBox::from_raw(index) });
        }
        let head = self.order.as_raw();
        // INVARIANT: The policies of the table are those of the value.
        let orphans = Orphans {
            // SAFETY: `head` is the initialized head of the list, to which nobody adds any more.
            next: unsafe { (*head).next },
            head,
        };
        if orphans.next != head {
            // SAFETY: By the safety requirements of `init`, the module's exit waits.
            unsafe { Self::pernet().drop_later(orphans) };
        }
    }
}

/// The policies of a table that was dropped.
///
/// # Invariants
///
/// `next` is `list` of a policy, and so is the `next` of each, but for the last: that is `head`,
/// whose memory may be gone. The value owns what the table owned of the policies.
struct Orphans {
    next: *mut bindings::list_head,
    head: *const bindings::list_head,
}

// SAFETY: No field belongs to a thread, and neither do the policies.
unsafe impl Send for Orphans {}

impl Drop for Orphans {
    fn drop(&mut self) {
        while !ptr::eq(self.next, self.head) {
            let list: *mut Opaque<bindings::list_head> = self.next.cast();
            // SAFETY: By the type invariant `next` is `list` of a policy, which stays until the
            // value gives up its user. Nobody finds the policy any more. The value is dropped in
            // the module's exit at the latest.
            unsafe {
                self.next = (*self.next).next;
                Timeout::drop_table_user(NonNull::new_unchecked(container_of!(
                    list, Timeout, list
                )));
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
        // INVARIANT: `at` was reached along the list within the read-side section of `guard`.
        self.at = dereference(next, self.guard);
        if self.at == self.order.as_raw() {
            return None;
        }
        let list: *mut Opaque<bindings::list_head> = self.at.cast();
        // SAFETY: `list` is not the head, so it is the `list` field of an object, which by the type
        // invariant stays during `'g`.
        Some(unsafe { &*container_of!(list, Timeout, list) })
    }
}

/// The place of a dump.
///
/// All zeros is the beginning. The cursor names the policy that was shown last, and keeps nothing
/// alive.
#[derive(Clone, Copy)]
pub(crate) struct Cursor {
    /// The position of the policy that was shown last.
    shown: u64,
    /// The last position that is to be shown.
    end: u64,
    name: Name,
}

// SAFETY: All zeros are valid numbers, and an empty name.
unsafe impl Zeroable for Cursor {}

/// The only writer of a table.
///
/// When the value is dropped, the objects of removed policies are taken off the flows; then the
/// mutex is released.
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
            // INVARIANT: `policy` is in the table, and nobody else can remove it.
            Some(policy) => Entry::Occupied(OccupiedEntry {
                writer: self,
                policy,
            }),
            // INVARIANT: No policy has this name, and nobody else can insert one.
            None => Entry::Vacant(VacantEntry { writer: self, name }),
        }
    }

    /// Visits all policies, each of which may be removed.
    pub(crate) fn for_each(&mut self, mut visit: impl FnMut(OccupiedEntry<'_, 't>)) {
        // SAFETY: There is no `at`. `self` is the only writer.
        let mut next = unsafe { self.table.next(None) };
        while let Some(policy) = next {
            // SAFETY: `policy` is in the table, and `self` is the only writer.
            next = unsafe { self.table.next(Some(policy)) };
            // INVARIANT: `policy` is in the table: only the one before it could have been removed.
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
        // SAFETY: `data` is null: the tracker writes to its own data in the namespace.
        unsafe { attrs.convert(self.table.net(), ptr::null_mut()) }
    }

    /// Makes an index of all policies, for readers to search; may sleep, as `flags` allow.
    fn make_index(&mut self, flags: Flags) -> Result {
        let index = KBox::pin_init(Index::new(), flags)?;
        for policy in self.table.iter(&rcu::read_lock()) {
            // SAFETY: `policy` is in no hash table, because the table has no index yet. By the
            // type invariant of the table, `policy` stays for a grace period after its removal, and
            // no other has its name.
            unsafe { index.insert(policy) }?;
        }
        // SAFETY: `index` is not moved: the pointer is only turned back in order to be dropped.
        let index = KBox::into_raw(unsafe { Pin::into_inner_unchecked(index) });
        // Litmus: index
        // INVARIANT: `index` comes from `KBox::into_raw`, has all policies, and replaces null.
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
        // SAFETY: `self` is in the table of `writer`, its only writer.
        unsafe { self.store(attrs, self.writer.table.net()) }
    }

    /// Ends the use of the policy, unless rules use it: from here on, no rule can become a user.
    ///
    /// The error is the number of rules. In a race with a rule, one atomic operation decides which
    /// of the two succeeds.
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

    /// Removes the policy; rules that use it keep the object.
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
        // SAFETY: `policy` was just removed, and what the table owned of it passes on. By the
        // safety requirements of `init`, the module's exit waits.
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
    /// Creates a policy, behind all others.
    ///
    /// `l3num` is the address family (`NFPROTO_*`) of the rules that may use the policy. Timeouts
    /// that are absent take the default of the namespace. May sleep, as `flags` allow. Fails with
    /// `ENOMEM`, and with the errors of [`Timeout::alloc`]; nothing is left behind then.
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
        // SAFETY: `policy` is complete, in no list, and outlives its removal by a grace period.
        // `writer` is the only writer of `order`.
        unsafe {
            // Litmus: publish-list, publish-hash
            bindings::cttimeout_helper_list_add_tail_rcu(policy.list.get(), table.order.as_raw());
        }
        if let Some(index) = table.index(&rcu::read_lock()) {
            // SAFETY: `policy` is in no hash table, and outlives its removal by a grace period. By
            // the type invariant, no other has its name.
            unsafe { index.insert(&policy) }.inspect_err(|_| {
                // No dump has shown the policy, because of its position.
                // SAFETY: `policy` was just added to the list, whose only writer `writer` is.
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
        // INVARIANT: The user passes to the table.
        // SAFETY: The table keeps `policy`, and `writer` is borrowed as long as the reference.
        Ok(unsafe { policy.into_raw().as_ref() })
    }
}
