// SPDX-License-Identifier: GPL-2.0

//! Timeout objects ([`Timeout`]), which flows and templates point to, and their users ([`User`]).
//!
//! C header: [`include/net/netfilter/nf_conntrack_timeout.h`][header]
//!
//! [header]: srctree/include/net/netfilter/nf_conntrack_timeout.h

use core::{
    alloc::Layout,
    marker::PhantomData,
    mem::ManuallyDrop,
    ops::Deref,
    ptr::NonNull, //
};

use kernel::{
    alloc::{
        allocator::Kmalloc,
        Allocator,
        Flags,
        NumaNode, //
    },
    ffi::c_void,
    module::this_module,
    prelude::*,
    sync::{
        atomic::Atomic,
        rcu,
        Refcount, //
    },
    types::{
        NotThreadSafe,
        Opaque, //
    },
};

use super::{
    l4proto::{
        put_timeouts,
        L4Proto,
        TimeoutAttrs,
        MAX_WORDS, //
    },
    name::Name,
};

use crate::{
    bindings,
    net::{
        netlink::Message,
        netns::Net, //
    },
    sync::{
        rcu::write_once,
        refcount::RefcountExt, //
    },
    LocalModule,
};

/// A timeout object: the part of it that this module adds to `struct nf_ct_timeout`.
///
/// ```text
///   table: 1 user        rules: 1 user each     templates, flows: 1 reference each
///         |                     |                       |
///   +-----v---------------------v--- one allocation ----v----------------------------+
///   | struct nf_ct_timeout   refcnt, l3num, l4proto, rcu                             |
///   | data[obj_size]         the timeouts, in jiffies: packets read them by the word |
///   | struct Timeout         users, name, places in the table                        |
///   +--------------------------------------------------------------------------------+
///   users   table + rules. From 0 on, there are none any more.
///   refcnt  1 for all users together + templates + flows. At 0, kfree_rcu().
/// ```
///
/// Conntrack frees the allocation when the last flow drops the last reference, and knows nothing of
/// this part, which therefore must not need a destructor.
///
/// # Invariants
///
/// `object` is the start of the allocation, with its tracker's timeouts and this value behind it.
/// The users together own one count of its `refcnt`, and one module reference.
#[repr(C)]
pub(crate) struct Timeout {
    object: NonNull<bindings::nf_ct_timeout>,
    pub(super) users: Refcount,
    pub(super) position: u64,
    pub(super) list: Opaque<bindings::list_head>,
    // The hash table expects `hash` right behind `name`.
    pub(super) name: Name,
    pub(super) hash: Opaque<bindings::rhash_head>,
}

// SAFETY: Neither `object` nor the other fields belong to a thread.
unsafe impl Send for Timeout {}

// SAFETY: `users` and `refcnt` are atomic. The timeouts are stored word by word, by the writer of
// the table only; `list` and `hash` belong to the table. All else is immutable.
unsafe impl Sync for Timeout {}

impl Timeout {
    /// Allocates an object with the timeouts that `attrs` stand for in `net`.
    ///
    /// `position` is the place of the object in the order of the table, and `l3num` the address
    /// family (`NFPROTO_*`) of the rules that may use it. May sleep, as `flags` allow. Fails with
    /// `ENOMEM`, `ENODEV` if the module is being unloaded, and with the errors of the protocol's
    /// tracker.
    ///
    /// # Safety
    ///
    /// The module's exit must wait for the end of `'a`.
    pub(super) unsafe fn alloc<'a>(
        name: Name,
        position: u64,
        l3num: u16,
        attrs: TimeoutAttrs<'_, '_>,
        net: &Net,
        flags: Flags,
    ) -> Result<User<'a>> {
        let l4proto = attrs.l4proto();
        let offset = Self::offset(l4proto);
        let align = align_of::<Self>().max(align_of::<bindings::nf_ct_timeout>());
        let layout =
            Layout::from_size_align(offset + size_of::<Self>(), align).map_err(|_| ENOMEM)?;
        let object: NonNull<bindings::nf_ct_timeout> =
            Kmalloc::alloc(layout, flags | __GFP_ZERO, NumaNode::NO_NODE)?.cast();

        // SAFETY: `object` was just allocated, large enough and aligned, and nobody else has it.
        // All zeros are valid for the fields that are not written.
        let timeout = unsafe {
            (*object.as_ptr()).l3num = l3num;
            (*object.as_ptr()).l4proto = l4proto.as_raw();
            refcnt(object).set(1);
            let timeout = object.byte_add(offset).cast::<Self>();
            (*timeout.as_ptr()).object = object;
            (*timeout.as_ptr()).users.set(1);
            (*timeout.as_ptr()).position = position;
            (*timeout.as_ptr()).name = name;
            timeout
        };
        let module = this_module::<LocalModule>().as_ptr();
        // SAFETY: `module` is valid, because its code runs, or null if the module is built in.
        if !unsafe { bindings::cttimeout_helper_try_module_get(module) } {
            // SAFETY: `object` is a slab allocation that was made here, and nobody else has it.
            unsafe { free(object) };
            return Err(ENODEV);
        }
        // INVARIANT: The first user has the first count of `refcnt`, and the module reference.
        let user = User::new(timeout);
        // SAFETY: `layout` has room for the tracker's timeouts at `data`, aligned as pointers are.
        unsafe { attrs.convert(net, (&raw mut (*object.as_ptr()).data).cast()) }?;
        Ok(user)
    }

    /// The distance of this part from the start of an object, in bytes.
    fn offset(l4proto: L4Proto) -> usize {
        (size_of::<bindings::nf_ct_timeout>() + l4proto.obj_size())
            .next_multiple_of(align_of::<Self>())
    }

    /// The C structure.
    pub(super) fn as_raw(&self) -> NonNull<bindings::nf_ct_timeout> {
        self.object
    }

    /// Finds this part of an object.
    ///
    /// # Safety
    ///
    /// `object` must come from [`Timeout::as_raw`], and be allocated.
    pub(super) unsafe fn from_raw(object: NonNull<bindings::nf_ct_timeout>) -> NonNull<Self> {
        // SAFETY: By the safety requirements of this function, `object` is the start of an
        // allocation made by `alloc`, where the protocol determines the offset.
        unsafe {
            let l4proto = L4Proto::from_raw((*object.as_ptr()).l4proto);
            object.byte_add(Self::offset(l4proto)).cast()
        }
    }

    /// The name of the policy.
    pub(crate) fn name(&self) -> &Name {
        &self.name
    }

    /// The address family (`NFPROTO_*`) of the rules that may use the object.
    pub(crate) fn l3num(&self) -> u16 {
        // SAFETY: By the type invariant, `object` is valid as long as this is; the field is
        // constant.
        unsafe { (*self.object.as_ptr()).l3num }
    }

    /// The protocol of the flows that may have the object.
    pub(crate) fn l4proto(&self) -> L4Proto {
        // SAFETY: By the type invariant, `object` is valid as long as this is; the field is
        // constant.
        unsafe { L4Proto::from_raw((*self.object.as_ptr()).l4proto) }
    }

    /// The number of users at this moment: the table and the rules.
    pub(crate) fn users(&self) -> u32 {
        self.users.read()
    }

    /// Becomes a user, unless there are none any more.
    #[inline]
    pub(crate) fn try_use<'g>(&self, _guard: &'g rcu::Guard) -> Option<User<'g>> {
        // INVARIANT: The user of `self` was just counted. The module's exit takes the hooks and the
        // commands away and then waits for RCU readers, and so for the end of `'g`.
        self.users
            // Litmus: retire
            .inc_not_zero()
            .then(|| User::new(NonNull::from(self)))
    }

    /// Appends the timeouts to a message, in seconds; `EMSGSIZE` if there is no room.
    pub(crate) fn put_timeouts(&self, msg: &mut Message<'_>) -> Result {
        // SAFETY: By the type invariant, the tracker's timeouts are at `data`. They are read by the
        // word, each of which is old or new if they are being replaced.
        unsafe {
            let data = (&raw const (*self.object.as_ptr()).data).cast::<c_void>();
            // Litmus: replace
            put_timeouts(self.l4proto(), data, msg)
        }
    }

    /// Stores the timeouts that `attrs` stand for in `net`, word by word: a packet sees, for each
    /// state, the old value or the new one.
    ///
    /// Fails with `EINVAL` if `attrs` are for another protocol.
    ///
    /// # Safety
    ///
    /// `self` must be in a table, and the caller must be its only writer.
    pub(super) unsafe fn store(&self, attrs: TimeoutAttrs<'_, '_>, net: &Net) -> Result {
        if attrs.l4proto().number() != self.l4proto().number() {
            return Err(EINVAL);
        }
        let mut words = [0; MAX_WORDS];
        let len = attrs.to_words(net, &mut words)?;
        // SAFETY: By the type invariant, `object` is valid.
        let data: *mut u32 = unsafe { (&raw mut (*self.object.as_ptr()).data).cast() };
        for (i, &word) in words.iter().enumerate().take(len) {
            // SAFETY: By the type invariant, `data` has room for the tracker's `len` words. Packets
            // read them as whole words; by the safety requirements of this function, nobody else
            // writes to them.
            // Litmus: replace
            write_once(unsafe { Atomic::from_ptr(data.add(i)) }, word);
        }
        Ok(())
    }

    /// Drops the table's user, unless the object was retired.
    ///
    /// Returns true if no rule and no flow has the object, which is then freed after a grace
    /// period.
    ///
    /// # Safety
    ///
    /// Nobody may find `timeout` in its table any more, and this must be called once. The module's
    /// exit must wait for the caller.
    pub(super) unsafe fn drop_table_user(timeout: NonNull<Self>) -> bool {
        // SAFETY: By the safety requirements of this function, the users' count of `refcnt` keeps
        // `timeout`: of the table's user or, if it was retired, of users that nobody has released.
        let users = unsafe { &timeout.as_ref().users };
        // Litmus: retire
        let unused = users.read() == 0 || users.dec_and_test();
        // SAFETY: `timeout` has no users any more. The table's was the last, here or when it was
        // retired, so nobody else releases it. The module's exit waits for the caller.
        unused && unsafe { Self::release(timeout) }
    }

    /// Drops the references that the users had: one to the object, and one to the module.
    ///
    /// Returns whether the object had no other reference: it is then freed after a grace period.
    ///
    /// # Safety
    ///
    /// `timeout` must have no users any more, and this must be called once. The module's exit must
    /// wait for the caller.
    unsafe fn release(timeout: NonNull<Self>) -> bool {
        // SAFETY: By the type invariant, the users of `timeout` had a count of `refcnt`, which
        // keeps the object until here, and a module reference.
        unsafe {
            let freed = put(timeout.as_ref().object);
            // Litmus: put-exit
            bindings::cttimeout_helper_module_put(this_module::<LocalModule>().as_ptr());
            freed
        }
    }
}

/// The reference counter of an object.
///
/// # Safety
///
/// `object` must be allocated during `'a`.
unsafe fn refcnt<'a>(object: NonNull<bindings::nf_ct_timeout>) -> &'a Refcount {
    // SAFETY: By the safety requirements of this function, `object` is valid. `Refcount` is a
    // transparent wrapper of `refcount_t`.
    unsafe { &*(&raw mut (*object.as_ptr()).refcnt).cast() }
}

/// Drops a reference to an object of any creator.
///
/// Returns whether the object had no other reference: it is then freed after a grace period.
///
/// # Safety
///
/// `object` must be a slab allocation, and the caller must own a count of its `refcnt`, which
/// passes to this function.
#[doc(alias = "nf_ct_timeout_put")]
pub(super) unsafe fn put(object: NonNull<bindings::nf_ct_timeout>) -> bool {
    // Litmus: last-user
    // SAFETY: The caller's reference keeps `object` until here.
    let last = unsafe { refcnt(object) }.dec_and_test();
    if last {
        // SAFETY: `refcnt` is zero, so nobody but RCU readers has `object`, which by the safety
        // requirements of this function is a slab allocation.
        unsafe { free(object) };
    }
    last
}

/// Frees an object after a grace period.
///
/// # Safety
///
/// `object` must be a slab allocation that nobody but RCU readers has any more.
#[doc(alias = "kfree_rcu")]
unsafe fn free(object: NonNull<bindings::nf_ct_timeout>) {
    // SAFETY: By the safety requirements of this function, `object` can be freed after a grace
    // period. Its `rcu` is free for that: what `mark` reads there is of no use any more.
    unsafe {
        let rcu = &raw mut (*object.as_ptr()).rcu;
        // Litmus: remove, untimeout
        bindings::kvfree_call_rcu(rcu.cast(), object.as_ptr().cast());
    }
}

/// A user of an object: the table, or a rule.
///
/// The last user drops the module reference that the users share, so the value must not leave the
/// section `'a`, for whose end the module's exit waits.
///
/// # Invariants
///
/// The value stands for one of the users of `timeout`.
pub(crate) struct User<'a> {
    timeout: NonNull<Timeout>,
    _section: PhantomData<&'a ()>,
    _not_send: NotThreadSafe,
}

impl User<'_> {
    /// For a user that is counted, in a section that the module's exit waits for.
    fn new(timeout: NonNull<Timeout>) -> Self {
        // INVARIANT: The user of `timeout` was counted.
        Self {
            timeout,
            _section: PhantomData,
            _not_send: NotThreadSafe,
        }
    }

    /// Turns the user, which stays counted, into a pointer.
    pub(super) fn into_raw(self) -> NonNull<Timeout> {
        ManuallyDrop::new(self).timeout
    }

    /// Turns a pointer back into the user.
    ///
    /// # Safety
    ///
    /// `timeout` must come from [`User::into_raw`], and must not be turned back twice. The module's
    /// exit must wait for the end of the value's lifetime.
    pub(super) unsafe fn from_raw(timeout: NonNull<Timeout>) -> Self {
        // INVARIANT: The user of `timeout` that `into_raw` left counted.
        Self::new(timeout)
    }
}

impl Deref for User<'_> {
    type Target = Timeout;

    fn deref(&self) -> &Timeout {
        // SAFETY: By the type invariant, `timeout` has a user, which keeps it.
        unsafe { self.timeout.as_ref() }
    }
}

impl Drop for User<'_> {
    fn drop(&mut self) {
        // Litmus: last-user
        if self.users.dec_and_test() {
            // SAFETY: By the type invariant, this was the last user of `timeout`. It is dropped in
            // a section that the module's exit waits for.
            unsafe { Timeout::release(self.timeout) };
        }
    }
}
