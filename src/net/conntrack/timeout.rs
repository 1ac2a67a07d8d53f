// SPDX-License-Identifier: GPL-2.0

//! Timeout objects: what flows and templates point to in order to have timeouts of their own.
//!
//! # Memory
//!
//! ```text
//! struct nf_ct_timeout          refcnt, l3num, l4proto, rcu
//!   data[obj_size]              the timeouts, in jiffies
//! Tail<T>                       offset, value
//! ```
//!
//! It is all one allocation, because conntrack itself frees the object, with `kfree_rcu()`, when the
//! last flow drops the last reference. That code knows nothing of a tail, so `T` cannot have a
//! destructor. `offset` leads from the tail back to the start.
//!
//! C header:
//! [`include/net/netfilter/nf_conntrack_timeout.h`](srctree/include/net/netfilter/nf_conntrack_timeout.h)

use core::{
    alloc::Layout,
    marker::PhantomData,
    mem::{
        self,
        offset_of, //
    },
    ptr::{
        self,
        NonNull, //
    },
};

use kernel::{
    alloc::{
        allocator::Kmalloc,
        Allocator,
        Flags,
        KVVec,
        NumaNode, //
    },
    ffi::{
        c_int,
        c_void, //
    },
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Refcount, //
    },
};

use super::l4proto::{
    put_timeouts,
    L4Proto,
    Timeouts, //
};

use crate::{
    bindings,
    net::{
        netlink::Message,
        netns::Net, //
    },
    sync::{
        rcu_map::RcuPointer,
        refcount::RefcountExt, //
    },
};

/// What follows the timeouts in an object of ours.
#[repr(C)]
struct Tail<T> {
    /// The distance from the start of the object, in bytes.
    offset: u32,
    value: T,
}

impl<T> Tail<T> {
    /// Where the tail is in an object for this protocol, in bytes.
    fn offset(proto: L4Proto) -> usize {
        (size_of::<bindings::nf_ct_timeout>() + proto.timeouts_size())
            .next_multiple_of(align_of::<Self>())
    }
}

/// Where the value is in an object.
///
/// # Safety
///
/// `timeout` must be an object with a `Tail<T>`.
unsafe fn value_of<T>(timeout: NonNull<bindings::nf_ct_timeout>) -> NonNull<T> {
    // SAFETY: The protocol was set when the object was made, and it determines the place of the
    // tail, which is in the same allocation.
    unsafe {
        let proto = L4Proto::from_raw((*timeout.as_ptr()).l4proto);
        timeout
            .byte_add(Tail::<T>::offset(proto) + offset_of!(Tail<T>, value))
            .cast()
    }
}

/// The object that a value is in.
///
/// # Safety
///
/// `value` must come from [`value_of`].
unsafe fn object_of<T>(value: NonNull<T>) -> NonNull<bindings::nf_ct_timeout> {
    // SAFETY: The value is in a tail, which says how far it is from the start of the same
    // allocation.
    unsafe {
        let tail: NonNull<Tail<T>> = value.byte_sub(offset_of!(Tail<T>, value)).cast();
        tail.byte_sub((*tail.as_ptr()).offset as usize).cast()
    }
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
pub(crate) struct UniqueTimeout<T>(Timeout<T>);

impl<T: Send + Sync> UniqueTimeout<T> {
    /// Allocates an object with these timeouts.
    ///
    /// `l3num` is the address family (`NFPROTO_*`) of the rules that may use it.
    pub(crate) fn new(l3num: u16, timeouts: &Timeouts, value: T, flags: Flags) -> Result<Self> {
        const { assert!(!mem::needs_drop::<T>()) };
        // The allocator aligns to more than that, and `kfree_rcu()` wants the object at the start.
        const { assert!(align_of::<Tail<T>>() <= align_of::<bindings::nf_ct_timeout>()) };

        let proto = timeouts.proto();
        let offset = Tail::<T>::offset(proto);
        let layout = Layout::from_size_align(
            offset + size_of::<Tail<T>>(),
            align_of::<bindings::nf_ct_timeout>(),
        )
        .map_err(|_| ENOMEM)?;
        let object = Kmalloc::alloc(layout, flags | __GFP_ZERO, NumaNode::NO_NODE)?;
        let object: NonNull<bindings::nf_ct_timeout> = object.cast();

        // SAFETY: The allocation is large enough, aligned, zeroed and ours.
        unsafe {
            let this = object.as_ptr();
            (*this).l3num = l3num;
            (*this).l4proto = proto.as_raw();
            refcount(object).set(1);
            let words = timeouts.words();
            let data = (&raw mut (*this).data).cast::<u32>();
            ptr::copy_nonoverlapping(words.as_ptr(), data, words.len());
            object.byte_add(offset).cast().write(Tail {
                offset: offset as u32,
                value,
            });
        }
        // INVARIANT: The object is complete, and this is its first reference.
        Ok(Self(Timeout {
            object,
            _value: PhantomData,
        }))
    }
}

/// A counted reference to an object.
///
/// # Invariants
///
/// `object` was made by [`UniqueTimeout::new`] for the same `T`, and the value stands for one count
/// of its `refcnt`.
#[repr(transparent)]
pub(crate) struct Timeout<T> {
    object: NonNull<bindings::nf_ct_timeout>,
    _value: PhantomData<T>,
}

// SAFETY: The object is reference counted, its header immutable, its timeouts are read and written
// word by word, and the value can be shared.
unsafe impl<T: Send + Sync> Send for Timeout<T> {}

// SAFETY: As above.
unsafe impl<T: Send + Sync> Sync for Timeout<T> {}

impl<T> Timeout<T> {
    /// Borrows the object.
    pub(crate) fn borrow(&self) -> TimeoutRef<'_, T> {
        TimeoutRef {
            object: self.object,
            _value: PhantomData,
        }
    }

    /// The C pointer, with its count.
    pub(super) fn into_c(self) -> *mut bindings::nf_ct_timeout {
        mem::ManuallyDrop::new(self).object.as_ptr()
    }

    /// Takes back a C pointer with its count.
    ///
    /// # Safety
    ///
    /// `object` must come from [`Timeout::into_c`] for the same `T`, with a count that is ours now.
    pub(super) unsafe fn from_c(object: NonNull<bindings::nf_ct_timeout>) -> Self {
        // INVARIANT: By the caller's promise.
        Self {
            object,
            _value: PhantomData,
        }
    }

    /// Drops this reference if it is the last, and returns it if there are others.
    ///
    /// If it is, the object ends here and now: who finds it afterwards, under RCU, cannot get a
    /// reference any more.
    pub(crate) fn try_end(self) -> Result<(), Self> {
        // SAFETY: Our reference keeps the object.
        if !unsafe { refcount(self.object) }.dec_if_one() {
            return Err(self);
        }
        // SAFETY: The count is zero, so it is on us to free the object.
        unsafe { bindings::cttimeout_helper_nf_ct_timeout_kfree_rcu(self.into_c()) };
        Ok(())
    }

    /// Takes the object off all flows in `net`, and drops this reference. Sleeps.
    ///
    /// The flows go on with the default timeouts of the namespace. When there is no other reference,
    /// there is no such flow, and the conntrack table is not walked. Templates keep the object; a
    /// flow that is not in the table yet (its first packet is being processed) may keep it, too.
    pub(crate) fn detach(self, net: &Net) {
        if let Err(this) = self.try_end() {
            // SAFETY: The namespace and the object are valid.
            unsafe { bindings::nf_ct_untimeout(net.as_raw(), this.object.as_ptr()) };
        }
    }
}

impl<T> Drop for Timeout<T> {
    fn drop(&mut self) {
        // SAFETY: Our reference keeps the object.
        if unsafe { refcount(self.object) }.dec_and_test() {
            // SAFETY: The count is zero, so it is on us to free the object. `T` needs no drop.
            unsafe {
                bindings::cttimeout_helper_nf_ct_timeout_kfree_rcu(self.object.as_ptr());
            }
        }
    }
}

// SAFETY: The two conversions are inverse by their contracts, and the object does not move. It is
// freed with `kfree_rcu()`, by us and by conntrack, and its value is never dropped.
unsafe impl<T: Send + Sync + 'static> RcuPointer for Timeout<T> {
    type Target = T;
    type Unique = UniqueTimeout<T>;
    type Borrowed<'a> = TimeoutRef<'a, T>;

    fn publish(unique: Self::Unique) -> Self {
        unique.0
    }

    fn into_raw(self) -> NonNull<T> {
        let this = mem::ManuallyDrop::new(self);
        // SAFETY: By the type invariant the object has a tail of this type.
        unsafe { value_of(this.object) }
    }

    unsafe fn from_raw(ptr: NonNull<T>) -> Self {
        // INVARIANT: The caller hands over the count that `into_raw` leaked.
        Self {
            // SAFETY: `into_raw` used `value_of`.
            object: unsafe { object_of(ptr) },
            _value: PhantomData,
        }
    }

    unsafe fn borrow<'a>(ptr: NonNull<T>) -> TimeoutRef<'a, T> {
        // INVARIANT: The caller promises that the object stays allocated.
        TimeoutRef {
            // SAFETY: `into_raw` used `value_of`.
            object: unsafe { object_of(ptr) },
            _value: PhantomData,
        }
    }
}

/// A borrowed object.
///
/// # Invariants
///
/// `object` was made by [`UniqueTimeout::new`] for the same `T`, and stays allocated during `'a`.
/// Its count may be zero.
pub(crate) struct TimeoutRef<'a, T> {
    object: NonNull<bindings::nf_ct_timeout>,
    _value: PhantomData<&'a T>,
}

impl<T> Clone for TimeoutRef<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for TimeoutRef<'_, T> {}

impl<'a, T> TimeoutRef<'a, T> {
    /// The address family (`NFPROTO_*`) of the rules that may use the object.
    pub(crate) fn l3num(self) -> u16 {
        // SAFETY: By the type invariant; the field does not change.
        unsafe { (*self.object.as_ptr()).l3num }
    }

    /// The protocol it is for.
    pub(crate) fn proto(self) -> L4Proto {
        // SAFETY: By the type invariant; the field does not change.
        unsafe { L4Proto::from_raw((*self.object.as_ptr()).l4proto) }
    }

    /// What the owner keeps with it.
    pub(crate) fn value(self) -> &'a T {
        // SAFETY: By the type invariants; nobody has a mutable reference to the value.
        unsafe { value_of(self.object).as_ref() }
    }

    /// Takes a reference, unless the object has ended.
    pub(crate) fn try_get(self) -> Option<Timeout<T>> {
        // SAFETY: By the type invariant the object is allocated.
        // INVARIANT: The count was just taken.
        unsafe { refcount(self.object) }
            .inc_not_zero()
            .then_some(Timeout {
                object: self.object,
                _value: PhantomData,
            })
    }

    /// Replaces the timeouts, which must be for the same protocol (`EINVAL` otherwise).
    ///
    /// Packets that are being processed see, for each state, the old value or the new one.
    pub(crate) fn replace(self, timeouts: &Timeouts) -> Result {
        if timeouts.proto().number() != self.proto().number() {
            return Err(EINVAL);
        }
        for (i, &word) in timeouts.words().iter().enumerate() {
            // SAFETY: The object has room for as many timeouts as the protocol has; it is accessed
            // by aligned loads and stores of whole words only. Relaxed, that is WRITE_ONCE(), is
            // enough because each word stands for itself.
            unsafe {
                let data = (&raw mut (*self.object.as_ptr()).data).cast::<u32>();
                Atomic::from_ptr(data.add(i)).store(word, Relaxed);
            }
        }
        Ok(())
    }

    /// Appends the timeouts to a message, in seconds.
    pub(crate) fn put_timeouts(self, msg: &mut Message<'_>) -> Result {
        // SAFETY: By the type invariants; the array is as large as the protocol says.
        unsafe {
            let data = (&raw const (*self.object.as_ptr()).data).cast::<c_void>();
            put_timeouts(self.proto(), data, msg)
        }
    }
}

/// A number of objects to be taken off all flows of a namespace, in one walk, when it is dropped.
pub(crate) struct DetachBatch<'a, T> {
    net: &'a Net,
    timeouts: KVVec<Timeout<T>>,
}

impl<'a, T> DetachBatch<'a, T> {
    /// An empty batch.
    pub(crate) fn new(net: &'a Net) -> Self {
        Self {
            net,
            timeouts: KVVec::new(),
        }
    }

    /// Adds an object. One that no flow can have is done with at once; without memory to remember
    /// it, so is any other. Sleeps.
    pub(crate) fn push(&mut self, timeout: Timeout<T>) {
        let Err(timeout) = timeout.try_end() else {
            return;
        };
        // Not charged to the caller: it is given back right away, and a caller at its limit would make
        // us walk the table once for each object.
        if self.timeouts.reserve(1, GFP_KERNEL).is_err() {
            timeout.detach(self.net);
            return;
        }
        // There is room for it, so this does not fail.
        let _ = self.timeouts.push(timeout, GFP_KERNEL);
    }
}

impl<T> Drop for DetachBatch<'_, T> {
    fn drop(&mut self) {
        if self.timeouts.is_empty() {
            return;
        }
        let timeouts = self.timeouts.as_mut_slice();
        // The kernel's sort is a heap sort: it needs no stack to speak of.
        // SAFETY: The arguments describe the slice, and any order of its elements is fine.
        unsafe {
            bindings::sort(
                timeouts.as_mut_ptr().cast(),
                timeouts.len(),
                size_of::<Timeout<T>>(),
                Some(compare_addresses::<T>),
                None,
            );
        }
        let listed: &[Timeout<T>] = timeouts;
        let data = bindings::nf_ct_iter_data {
            net: self.net.as_raw(),
            data: (&raw const listed).cast_mut().cast(),
            ..Default::default()
        };
        // SAFETY: The callback takes `data.data` for what it is, a slice that outlives the call.
        unsafe { bindings::nf_ct_iterate_cleanup_net(Some(detach_if_listed::<T>), &data) };
    }
}

/// # Safety
///
/// To be called by `sort()` only, on a slice of `Timeout<T>`.
unsafe extern "C" fn compare_addresses<T>(a: *const c_void, b: *const c_void) -> c_int {
    // SAFETY: Both point to elements of the slice.
    let (a, b) = unsafe { (&*a.cast::<Timeout<T>>(), &*b.cast::<Timeout<T>>()) };
    a.object.cmp(&b.object) as c_int
}

/// Takes one of the listed objects off a flow; the flow itself stays.
///
/// # Safety
///
/// To be called by `nf_ct_iterate_cleanup_net()` only, which holds the lock of the flow's bucket,
/// with a pointer to a sorted slice of `Timeout<T>`.
unsafe extern "C" fn detach_if_listed<T>(ct: *mut bindings::nf_conn, data: *mut c_void) -> c_int {
    // SAFETY: By this function's contract.
    let listed = unsafe { *data.cast::<&[Timeout<T>]>() };
    // SAFETY: The flow is valid. Its extension is either absent or valid as long as the flow is.
    let slot = unsafe {
        let ext = bindings::cttimeout_helper_nf_ct_timeout_find(ct);
        if ext.is_null() {
            return 0;
        }
        Atomic::from_ptr(&raw mut (*ext).timeout)
    };

    let object = slot.load(Relaxed);
    let is_listed = NonNull::new(object)
        .is_some_and(|object| listed.binary_search_by_key(&object, |t| t.object).is_ok());
    if is_listed {
        // Who frees a flow first takes it out of the table, under the lock that we run under, so it
        // does not give the same reference back a second time.
        slot.store(ptr::null_mut(), Relaxed);
        // SAFETY: The list has a reference of its own, so the object is valid and this is not the
        // last one. It is the flow's that we give back.
        unsafe { refcount(NonNull::new_unchecked(object)) }.dec();
    }
    0
}
