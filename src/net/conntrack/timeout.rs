// SPDX-License-Identifier: GPL-2.0

//! Timeout objects: what flows and templates point to in order to have timeouts of their own.
//!
//! # Counts
//!
//! Conntrack counts references: each flow and each template holds one, and the object is freed when
//! the last one is dropped. In addition, an object of ours has users: its [`Owner`], which makes it
//! known by a name, and the rules that got it by that name, each a [`User`]. All users together
//! hold one reference to the object, and one to the module, whose code they run when they go. So
//! adding or removing a rule costs one atomic operation, on a counter in the object itself, and the
//! owner can ask whether there are rules.
//!
//! # Memory
//!
//! ```text
//! struct nf_ct_timeout          refcnt, l3num, l4proto, rcu
//!   data[obj_size]              the timeouts, in jiffies
//! Tail<T>                       offset, value, users
//! ```
//!
//! It is all one allocation, because conntrack itself frees the object, with `kfree_rcu()`, when the
//! last flow drops the last reference. That code knows nothing of a tail, so `T` cannot have a
//! destructor. `offset` leads from the tail back to the start.
//!
//! # Examples
//!
//! ```ignore
//! # use kernel::{
//! #     bindings,
//! #     module_ref::ModuleRef,
//! #     net::{conntrack::{l4proto::L4Proto, timeout::{Owner, UniqueTimeout}}, netns::Net},
//! #     sync::rcu_map::RcuPointer,
//! # };
//! // SAFETY: The initial namespace does not go away.
//! let net = unsafe { Net::from_raw(&raw const bindings::init_net) };
//! let udp = L4Proto::find(bindings::IPPROTO_UDP as u8).ok_or(ENOENT)?;
//! let family = bindings::NFPROTO_IPV4 as u16;
//! // With the namespace's timeouts, and with a value.
//! let module = ModuleRef::<LocalModule>::try_get().ok_or(ENODEV)?;
//! let unique = UniqueTimeout::new(family, udp.no_attrs()?, net, 7u64, module, GFP_KERNEL)?;
//!
//! let owner = Owner::publish(unique);
//! assert_eq!(*owner.borrow().value(), 7);
//! // A rule comes. As long as it is there, the object is not retired.
//! let rule = owner.borrow().try_use().ok_or(ENOENT)?;
//! assert_eq!(owner.retire(), Err(1));
//! drop(rule);
//! assert_eq!(owner.retire(), Ok(()));
//! // The next one is too late.
//! assert!(owner.borrow().try_use().is_none());
//! # Ok::<(), Error>(())
//! ```
//!
//! C header:
//! [`include/net/netfilter/nf_conntrack_timeout.h`][header]
//!
//! [header]: srctree/include/net/netfilter/nf_conntrack_timeout.h

use core::{
    alloc::Layout,
    marker::PhantomData,
    mem::{
        self,
        offset_of,
        ManuallyDrop, //
    },
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
    prelude::*,
    sync::Refcount,
    ModuleMetadata, //
};

use super::l4proto::{
    put_timeouts,
    L4Proto,
    TimeoutAttrs,
    Timeouts, //
};

use crate::{
    bindings,
    module::ModuleRef,
    net::{
        netlink::Message,
        netns::Net, //
    },
    sync::{
        rcu_map::{
            RcuPointer,
            WriteLock, //
        },
        refcount::RefcountExt, //
    },
};

/// What follows the timeouts in an object of ours.
#[repr(C)]
struct Tail<T> {
    /// The distance from the start of the object, in bytes.
    offset: u32,
    value: T,
    /// The owner, and the rules.
    users: Refcount,
}

impl<T> Tail<T> {
    /// Where the tail is in an object for this protocol, in bytes.
    fn offset(proto: L4Proto) -> usize {
        (size_of::<bindings::nf_ct_timeout>() + proto.timeouts_size())
            .next_multiple_of(align_of::<Self>())
    }
}

/// Where the tail of an object is.
///
/// # Safety
///
/// `timeout` must be an object with a `Tail<T>`.
unsafe fn tail_of<T>(timeout: NonNull<bindings::nf_ct_timeout>) -> NonNull<Tail<T>> {
    // SAFETY: The protocol was set when the object was made, and it determines the place of the
    // tail, which is in the same allocation.
    unsafe {
        let proto = L4Proto::from_raw((*timeout.as_ptr()).l4proto);
        timeout.byte_add(Tail::<T>::offset(proto)).cast()
    }
}

/// The object that a tail is part of.
///
/// # Safety
///
/// `tail` must come from [`tail_of`], and the object must be allocated.
unsafe fn object_of<T>(tail: NonNull<Tail<T>>) -> NonNull<bindings::nf_ct_timeout> {
    // SAFETY: The tail says how far it is from the start of the same allocation.
    unsafe { tail.byte_sub((*tail.as_ptr()).offset as usize).cast() }
}

/// The tail that a value is part of.
///
/// # Safety
///
/// `value` must be that of a tail.
unsafe fn tail_around<T>(value: NonNull<T>) -> NonNull<Tail<T>> {
    // SAFETY: By the caller's promise, both are in the same allocation.
    unsafe { value.byte_sub(offset_of!(Tail<T>, value)).cast() }
}

/// The reference counter of an object.
///
/// # Safety
///
/// `timeout` must be allocated during `'a`.
unsafe fn refcount<'a>(timeout: NonNull<bindings::nf_ct_timeout>) -> &'a Refcount {
    // SAFETY: By the caller's promise; `Refcount` is a transparent wrapper of `refcount_t`.
    unsafe { &*(&raw mut (*timeout.as_ptr()).refcnt).cast() }
}

/// An object that nobody else knows of yet.
pub(crate) struct UniqueTimeout<T, M: ModuleMetadata>(Owner<T, M>);

impl<T: Send + Sync, M: ModuleMetadata> UniqueTimeout<T, M> {
    /// Allocates an object with the timeouts that `attrs` stand for in `net`. May sleep, as `flags`
    /// allow.
    ///
    /// `l3num` is the address family (`NFPROTO_*`) of the rules that may use it; the module stays as
    /// long as the object has a user. Fails with `ENOMEM`, and with what the protocol's tracker fails
    /// with.
    pub(crate) fn new(
        l3num: u16,
        attrs: TimeoutAttrs<'_, '_>,
        net: &Net,
        value: T,
        module: ModuleRef<M>,
        flags: Flags,
    ) -> Result<Self> {
        const { assert!(!mem::needs_drop::<T>()) };

        let proto = attrs.proto();
        let offset = Tail::<T>::offset(proto);
        let layout = Layout::from_size_align(
            offset + size_of::<Tail<T>>(),
            align_of::<bindings::nf_ct_timeout>().max(align_of::<Tail<T>>()),
        )
        .map_err(|_| ENOMEM)?;
        // A task whose memory cgroup is over `memory.high` is throttled, for seconds, where it
        // allocates and may sleep, and all that want the mutex would wait with it. So the first
        // attempt does not sleep: the throttling is then put off until the end of the request.
        let hasty = (flags & !GFP_KERNEL) | GFP_NOWAIT | __GFP_NOWARN;
        let alloc = |flags| Kmalloc::alloc(layout, flags | __GFP_ZERO, NumaNode::NO_NODE);
        let object = alloc(hasty).or_else(|_| alloc(flags))?;
        let object: NonNull<bindings::nf_ct_timeout> = object.cast();

        // SAFETY: The allocation is large enough, aligned, zeroed and ours.
        unsafe {
            let this = object.as_ptr();
            (*this).l3num = l3num;
            (*this).l4proto = proto.as_raw();
            refcount(object).set(1);
            object.byte_add(offset).cast().write(Tail {
                offset: offset as u32,
                value,
                users: Refcount::new(1),
            });
        }
        // INVARIANT: The object is complete. Its first user has its first reference, and the module's.
        module.leak();
        let this = Self(Owner(Object::new(object)));
        // SAFETY: There are as many bytes behind the header as the protocol's timeouts take.
        unsafe { attrs.convert(net, (&raw mut (*object.as_ptr()).data).cast()) }?;
        Ok(this)
    }
}

/// The address of an object.
///
/// # Invariants
///
/// `object` was made by [`UniqueTimeout::new`] for the same types. As long as it has users, they have
/// together a count of its `refcnt`, and one of the module's, which `new` leaked.
#[repr(transparent)]
struct Object<T, M> {
    object: NonNull<bindings::nf_ct_timeout>,
    _types: PhantomData<(T, fn() -> M)>,
}

// SAFETY: The object is reference counted, its header immutable, its timeouts are read and written
// word by word, and the value can be shared. The module's count belongs to no thread.
unsafe impl<T: Send + Sync, M> Send for Object<T, M> {}

// SAFETY: As above.
unsafe impl<T: Send + Sync, M> Sync for Object<T, M> {}

impl<T, M: ModuleMetadata> Object<T, M> {
    /// To be called for an object that meets the type invariant.
    fn new(object: NonNull<bindings::nf_ct_timeout>) -> Self {
        Self {
            object,
            _types: PhantomData,
        }
    }

    /// # Safety
    ///
    /// The object must stay allocated during `'a`.
    unsafe fn users<'a>(&self) -> &'a Refcount
    where
        T: 'a,
    {
        // SAFETY: By the type invariant there is a tail; it is shared, except for being made.
        unsafe { &tail_of::<T>(self.object).as_ref().users }
    }

    /// Takes what the users held together: a reference to the object, and one to the module.
    ///
    /// # Safety
    ///
    /// The object must have no users any more, and this must be called once.
    unsafe fn end_of_use(&self) -> (Timeout, ModuleRef<M>) {
        // INVARIANT: Without users, their reference is ours.
        // SAFETY: So is the module's.
        unsafe { (Timeout(self.object), ModuleRef::reclaim()) }
    }
}

/// The owner of an object, through which others find it: the first of its users.
///
/// # Invariants
///
/// It stands for one user of the object; or the object is retired, has no users, and never will, and
/// this owns what was theirs.
#[repr(transparent)]
pub(crate) struct Owner<T, M: ModuleMetadata>(Object<T, M>);

impl<T, M: ModuleMetadata> Owner<T, M> {
    /// Borrows the object.
    pub(crate) fn borrow(&self) -> TimeoutRef<'_, T, M> {
        // SAFETY: By the type invariant of `Object`.
        TimeoutRef::new(unsafe { tail_of(self.0.object) })
    }

    /// Retires the object, unless there are other users: from then on, nobody can become one. In a
    /// race with a new user, exactly one of the two succeeds.
    ///
    /// If there are other users, the error is their number.
    ///
    /// The atomic operation itself decides. No ordering with other memory is needed: what a user
    /// reads does not change, or is read word by word, and was there before the object could be
    /// found.
    pub(crate) fn retire(&self) -> Result<(), u32> {
        // SAFETY: The users' reference keeps the object.
        let users = unsafe { self.0.users() };
        // INVARIANT: When the count was one, that was ours.
        while !users.dec_if_one() {
            match users.read() {
                0 => break,
                // The last of the others has gone in between: nothing to complain about.
                1 => continue,
                count => return Err(count - 1),
            }
        }
        Ok(())
    }

    /// Stops being a user, and returns a reference to the object.
    ///
    /// If other users remain, they keep the reference that all users share, and the one returned is
    /// new. The last user drops the module reference, too, and the returned reference does not keep
    /// the module loaded: the caller must be something that the module's exit waits for.
    pub(crate) fn into_timeout(self) -> Timeout {
        let this = ManuallyDrop::new(self);
        let object = this.0.object;
        // SAFETY: Our part in the users' reference keeps the object.
        let (users, refcount) = unsafe { (this.0.users(), refcount(object)) };
        if users.read() == 0 {
            // SAFETY: By the type invariant it is retired, and we own what the users had.
            return unsafe { this.0.end_of_use() }.0;
        }
        refcount.inc();
        drop(ManuallyDrop::into_inner(this));
        // INVARIANT: The count was just taken.
        Timeout(object)
    }
}

impl<T, M: ModuleMetadata> Drop for Owner<T, M> {
    fn drop(&mut self) {
        // SAFETY: Our part in the users' reference keeps the object.
        let users = unsafe { self.0.users() };
        if users.read() == 0 || users.dec_and_test() {
            // SAFETY: By the type invariant or as it was just seen, there are no users, and it was we who
            // made that so.
            drop(unsafe { self.0.end_of_use() });
        }
    }
}

// SAFETY: The two conversions are inverse by their contracts, and the object does not move. It is
// freed with `kfree_rcu()`, by us and by conntrack, and its value is never dropped. Many threads can
// borrow it: its header does not change, its counts are atomic, its timeouts are accessed by the word,
// and its value is `Sync`.
unsafe impl<T: Send + Sync + 'static, M: ModuleMetadata + 'static> RcuPointer for Owner<T, M> {
    type Target = T;
    type Unique = UniqueTimeout<T, M>;
    type Borrowed<'a> = TimeoutRef<'a, T, M>;

    fn publish(unique: Self::Unique) -> Self {
        unique.0
    }

    fn into_raw(self) -> NonNull<T> {
        let tail = ManuallyDrop::new(self).borrow().tail;
        // SAFETY: The tail is part of the object, and so is its field.
        unsafe { NonNull::new_unchecked(&raw mut (*tail.as_ptr()).value) }
    }

    unsafe fn from_raw(ptr: NonNull<T>) -> Self {
        // INVARIANT: The caller hands over what `into_raw` gave up.
        // SAFETY: It is the value of an object that is allocated.
        Self(Object::new(unsafe { object_of(tail_around(ptr)) }))
    }

    unsafe fn borrow<'a>(ptr: NonNull<T>) -> TimeoutRef<'a, T, M> {
        // INVARIANT: The caller promises that the object stays allocated.
        // SAFETY: `ptr` is the value of an object.
        TimeoutRef::new(unsafe { tail_around(ptr) })
    }
}

/// A user of an object besides its owner: a rule.
///
/// # Invariants
///
/// It stands for one user of the object.
#[repr(transparent)]
pub(crate) struct User<T, M: ModuleMetadata>(Object<T, M>);

impl<T, M: ModuleMetadata> User<T, M> {
    /// Borrows the object.
    pub(crate) fn borrow(&self) -> TimeoutRef<'_, T, M> {
        // SAFETY: By the type invariant of `Object`.
        TimeoutRef::new(unsafe { tail_of(self.0.object) })
    }

    /// Turns the user into the C pointer. It remains counted.
    pub(super) fn into_c(self) -> *mut bindings::nf_ct_timeout {
        ManuallyDrop::new(self).0.object.as_ptr()
    }

    /// Takes a user back.
    ///
    /// # Safety
    ///
    /// `object` must come from [`User::into_c`] for the same types, and must not be taken back twice.
    pub(super) unsafe fn from_c(object: NonNull<bindings::nf_ct_timeout>) -> Self {
        // INVARIANT: By the caller's promise.
        Self(Object::new(object))
    }
}

impl<T, M: ModuleMetadata> Drop for User<T, M> {
    fn drop(&mut self) {
        // SAFETY: Our part in the users' reference keeps the object.
        if unsafe { self.0.users() }.dec_and_test() {
            // SAFETY: There are no users any more, and we were the last.
            drop(unsafe { self.0.end_of_use() });
        }
    }
}

/// A counted reference to an object.
///
/// # Invariants
///
/// It stands for one count of the `refcnt` of an object that was made by [`UniqueTimeout::new`].
#[repr(transparent)]
pub(crate) struct Timeout(NonNull<bindings::nf_ct_timeout>);

// SAFETY: The object is reference counted. Its value, which may be of any type that can be sent and
// shared, is not touched, and needs no drop.
unsafe impl Send for Timeout {}

// SAFETY: As above.
unsafe impl Sync for Timeout {}

impl Timeout {
    /// Drops this reference if it is the last, and returns it if there are others.
    ///
    /// If it is the last, the count is zero from here on: a reader that still finds the object,
    /// under RCU, cannot get a reference any more.
    pub(crate) fn try_end(self) -> Result<(), Self> {
        // SAFETY: Our reference keeps the object.
        if !unsafe { refcount(self.0) }.dec_if_one() {
            return Err(self);
        }
        let this = ManuallyDrop::new(self);
        // SAFETY: The count is zero, so it is on us to free the object.
        unsafe { bindings::cttimeout_helper_nf_ct_timeout_kfree_rcu(this.0.as_ptr()) };
        Ok(())
    }

    /// Gives back references that others have had.
    ///
    /// # Safety
    ///
    /// There must be `count` of them, and nobody may use them or give them back any more.
    pub(super) unsafe fn put_others(&self, count: i32) {
        // SAFETY: Our reference keeps the object.
        let none_left = unsafe { refcount(self.0) }.sub_and_test(count);
        debug_assert!(!none_left);
    }

    /// The address of the object.
    pub(super) fn as_raw(&self) -> NonNull<bindings::nf_ct_timeout> {
        self.0
    }
}

impl Drop for Timeout {
    fn drop(&mut self) {
        // SAFETY: Our reference keeps the object.
        if unsafe { refcount(self.0) }.dec_and_test() {
            // SAFETY: The count is zero, so it is on us to free the object, whose value needs no drop.
            unsafe { bindings::cttimeout_helper_nf_ct_timeout_kfree_rcu(self.0.as_ptr()) };
        }
    }
}

/// A borrowed object.
///
/// # Invariants
///
/// `tail` is that of an object made by [`UniqueTimeout::new`] for the same types, which stays allocated
/// during `'a`. Its counts may be zero.
pub(crate) struct TimeoutRef<'a, T, M> {
    tail: NonNull<Tail<T>>,
    _value: PhantomData<&'a T>,
    _module: PhantomData<fn() -> M>,
}

impl<T, M> Clone for TimeoutRef<'_, T, M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T, M> Copy for TimeoutRef<'_, T, M> {}

impl<'a, T, M: ModuleMetadata> TimeoutRef<'a, T, M> {
    /// To be called for a tail that meets the type invariants.
    fn new(tail: NonNull<Tail<T>>) -> Self {
        Self {
            tail,
            _value: PhantomData,
            _module: PhantomData,
        }
    }

    fn tail(self) -> &'a Tail<T> {
        // SAFETY: By the type invariants; nobody has a mutable reference to a tail.
        unsafe { self.tail.as_ref() }
    }

    fn object(self) -> NonNull<bindings::nf_ct_timeout> {
        // SAFETY: By the type invariants.
        unsafe { object_of(self.tail) }
    }

    /// The address family (`NFPROTO_*`) of the rules that may use the object.
    pub(crate) fn l3num(self) -> u16 {
        // SAFETY: By the type invariant; the field does not change.
        unsafe { (*self.object().as_ptr()).l3num }
    }

    /// The protocol it is for.
    pub(crate) fn proto(self) -> L4Proto {
        // SAFETY: By the type invariant; the field does not change.
        unsafe { L4Proto::from_raw((*self.object().as_ptr()).l4proto) }
    }

    /// What the owner keeps with it.
    pub(crate) fn value(self) -> &'a T {
        &self.tail().value
    }

    /// How many use the object at this moment, the owner included.
    pub(crate) fn users(self) -> u32 {
        self.tail().users.read()
    }

    /// Becomes a user, unless the object has none any more.
    pub(crate) fn try_use(self) -> Option<User<T, M>> {
        // INVARIANT: Just counted.
        self.tail()
            .users
            .inc_not_zero()
            .then(|| User(Object::new(self.object())))
    }

    /// Replaces the timeouts, which must be for the same protocol (`EINVAL` otherwise).
    ///
    /// Packets that are being processed see, for each state, the old value or the new one. `_lock`
    /// keeps two replacements from mixing.
    pub(crate) fn replace(self, timeouts: &Timeouts, _lock: &impl WriteLock) -> Result {
        if timeouts.proto().number() != self.proto().number() {
            return Err(EINVAL);
        }
        for (i, &word) in timeouts.words().iter().enumerate() {
            // SAFETY: The object has room for as many timeouts as the protocol has; packets read them
            // by aligned loads of whole words. A volatile store, that is WRITE_ONCE(), is enough
            // because each word stands for itself.
            unsafe {
                let data = (&raw mut (*self.object().as_ptr()).data).cast::<u32>();
                data.add(i).write_volatile(word);
            }
        }
        Ok(())
    }

    /// Appends the timeouts to a message, in seconds.
    pub(crate) fn put_timeouts(self, msg: &mut Message<'_>) -> Result {
        // SAFETY: By the type invariants; the array is as large as the protocol says. If it is being
        // replaced, the tracker reads for each state what was there before or what is there now: a
        // whole word, which stands for itself.
        unsafe {
            let data = (&raw const (*self.object().as_ptr()).data).cast::<c_void>();
            put_timeouts(self.proto(), data, msg)
        }
    }
}
