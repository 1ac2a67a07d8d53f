// SPDX-License-Identifier: GPL-2.0

//! Network namespaces ([`Net`]), and data that a module keeps in each of them ([`PerNet`], made
//! known by [`declare_pernet!`] and [`PernetRegistration`]).
//!
//! C headers: [`include/net/net_namespace.h`](srctree/include/net/net_namespace.h),
//! [`include/net/netns/generic.h`](srctree/include/net/netns/generic.h)

use core::{
    cell::UnsafeCell,
    marker::PhantomData,
    ptr, //
};

use kernel::{
    error::to_result,
    ffi::{
        c_int,
        c_uint, //
    },
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            AtomicFlag,
            Full,
            Relaxed,
            Release, //
        },
        rcu, //
    },
    types::Opaque,
    workqueue::Queue, //
};

use pin_init::raw_try_init;

use crate::bindings;

/// Data that exists once for each network namespace.
pub(crate) trait PerNet: HasPernet + Send + Sync {
    /// Returns an initializer of the data for one namespace, which may sleep.
    ///
    /// When the namespace ends, the data is dropped, a grace period after nobody can find it.
    /// Namespaces end one after the other, so dropping it should neither wait for anybody nor take
    /// long; see [`Pernet::drop_later`].
    ///
    /// # Safety
    ///
    /// The data must be dropped before `net` is freed, in a place that the module's exit waits for.
    unsafe fn init(net: &Net) -> impl PinInit<Self, Error>;
}

/// A network namespace (`struct net`).
///
/// No code here keeps a namespace longer than a call, so there is no need of `ARef`.
///
/// # Invariants
///
/// References point to a namespace that is set up or, in [`PerNet::init`], being set up. Its data
/// is not dropped as long as the reference lives.
#[repr(transparent)]
pub(crate) struct Net(Opaque<bindings::net>);

impl Net {
    /// Borrows a namespace.
    ///
    /// # Safety
    ///
    /// `net` must point to a namespace as the type invariant says, during `'a`.
    pub(crate) unsafe fn from_raw<'a>(net: *const bindings::net) -> &'a Self {
        // SAFETY: By the safety requirements of this function, `net` is valid during `'a`; `Net` is
        // a transparent wrapper.
        unsafe { &*net.cast() }
    }

    /// The C structure.
    pub(crate) fn as_raw(&self) -> *mut bindings::net {
        self.0.get()
    }
}

/// Types with a [`Pernet`] of their own, for [`declare_pernet!`] to implement.
///
/// # Safety
///
/// `pernet` must always return the same static.
pub(crate) unsafe trait HasPernet: Sized + 'static {
    /// The static by which the C side knows this type.
    fn pernet() -> &'static Pernet<Self>;
}

/// Makes the [`Pernet`] of a [`PerNet`] type.
macro_rules! declare_pernet {
    ($type:ty) => {
        const _: () = {
            static PERNET: $crate::net::netns::Pernet<$type> = $crate::net::netns::Pernet::new();

            // SAFETY: `pernet` always returns `PERNET`.
            unsafe impl $crate::net::netns::HasPernet for $type {
                fn pernet() -> &'static $crate::net::netns::Pernet<Self> {
                    &PERNET
                }
            }
        };
    };
}
pub(crate) use declare_pernet;

/// The C side of a [`PerNet`] type: `struct pernet_operations` and the index of its data.
///
/// # Invariants
///
/// - While `registered` is true, and a grace period longer, `id` does not change and is the index
///   of an initialized `T` in each namespace that is alive.
/// - `queue` is null or a workqueue, which the end of the registration destroys, after all `T` in
///   namespaces are dropped.
pub(crate) struct Pernet<T> {
    ops: UnsafeCell<bindings::pernet_operations>,
    id: UnsafeCell<c_uint>,
    /// A workqueue of its own, whose end can be waited for.
    queue: Atomic<*mut bindings::workqueue_struct>,
    claimed: AtomicFlag,
    registered: AtomicFlag,
    _data: PhantomData<fn() -> T>,
}

// SAFETY: The cells are written by the C core and by `PernetRegistration`, which `claimed` makes
// the only one.
unsafe impl<T> Sync for Pernet<T> {}

impl<T: PerNet> Pernet<T> {
    /// Operations that are not registered.
    pub(crate) const fn new() -> Self {
        Self {
            ops: UnsafeCell::new(bindings::pernet_operations {
                init: Some(Self::init),
                exit: Some(Self::exit),
                size: size_of::<T>(),
                ..pin_init::zeroed()
            }),
            id: UnsafeCell::new(0),
            queue: Atomic::new(ptr::null_mut()),
            claimed: AtomicFlag::new(false),
            registered: AtomicFlag::new(false),
            _data: PhantomData,
        }
    }

    /// The memory of the data in `net`.
    ///
    /// # Safety
    ///
    /// The C core must have assigned the index, and must not have taken it back.
    unsafe fn slot(&self, net: *const bindings::net) -> *mut T {
        // The core allocates with kzalloc(), and takes a size of zero for no data.
        const { assert!(size_of::<T>() > 0 && align_of::<T>() <= align_of::<u64>()) };
        // SAFETY: By the safety requirements of this function, nobody writes to `id`.
        unsafe { bindings::cttimeout_helper_net_generic(net, *self.id.get()).cast() }
    }

    /// The data in `net`, or [`None`] if the type is not registered (any more).
    pub(crate) fn get<'g>(&self, net: &'g Net, _guard: &'g rcu::Guard) -> Option<&'g T> {
        // Litmus: registered
        // Acquire: a reader that sees the release store in `PernetRegistration::new` sees the index
        // and the values.
        if !self.registered.load(Acquire) {
            return None;
        }
        // SAFETY: By the type invariants `slot` holds a value during the read-side section of
        // `_guard`: `PernetRegistration` waits for a grace period after it has cleared the flag.
        Some(unsafe { &*self.slot(net.as_raw()) })
    }

    /// Drops `value` in a worker thread, or at once without memory for that; may sleep.
    ///
    /// The end of the registration waits for it.
    ///
    /// # Safety
    ///
    /// The module's exit must wait for the caller.
    pub(crate) unsafe fn drop_later(&self, value: impl Send + 'static) {
        let queue = self.queue.load(Relaxed);
        if !queue.is_null() {
            // SAFETY: By the type invariant `queue` is a workqueue until the end of the
            // registration, which by the safety requirements of this function waits.
            let queue = unsafe { Queue::from_raw(queue) };
            let _ = queue.try_spawn(GFP_KERNEL, move || drop(value));
        }
    }

    /// Waits for what is still to be dropped, and lets others register the type.
    fn unclaim(&self) {
        let queue = self.queue.xchg(ptr::null_mut(), Relaxed);
        if !queue.is_null() {
            // SAFETY: By the type invariant `queue` is a workqueue. No `T` is left in a namespace.
            unsafe { bindings::destroy_workqueue(queue) };
        }
        self.claimed.store(false, Release);
    }

    /// # Safety
    ///
    /// For the C core only, with a namespace that is being set up.
    unsafe extern "C" fn init(net: *mut bindings::net) -> c_int {
        // SAFETY: The core assigns the index before it calls this function. `net` is being set up.
        let (slot, net) = unsafe { (T::pernet().slot(net), Net::from_raw(net)) };
        // SAFETY: `slot` is zeroed memory of the size that was asked for, it is never moved, and it
        // is left alone if an error is returned. `exit` drops the value; unregistering the
        // operations, which is part of the module's exit, waits for that.
        match unsafe { raw_try_init(slot, T::init(net)) } {
            Ok(()) => 0,
            Err(err) => err.to_errno(),
        }
    }

    /// # Safety
    ///
    /// For the C core only, after `init` succeeded and a grace period after `net` was last found.
    unsafe extern "C" fn exit(net: *mut bindings::net) {
        // SAFETY: The slot holds a value since `init`, and is not used after this function.
        unsafe { ptr::drop_in_place(T::pernet().slot(net)) };
    }
}

/// A registered [`PerNet`] type: the data exists in every namespace, including new ones.
///
/// # Invariants
///
/// `T::pernet()` is registered with the C core.
#[doc(alias = "register_pernet_subsys")]
pub(crate) struct PernetRegistration<T: PerNet>(PhantomData<T>);

impl<T: PerNet> PernetRegistration<T> {
    /// Sets up the data in all namespaces; may sleep.
    ///
    /// Fails with `EBUSY` if the type is registered already, with `ENOMEM`, and with the errors of
    /// [`PerNet::init`]. Nothing is left behind then.
    pub(crate) fn new() -> Result<Self> {
        let pernet = T::pernet();

        // Full ordering, though acquire would do: the next claimant sees that all is undone.
        if pernet.claimed.xchg(true, Full) {
            return Err(EBUSY);
        }
        let unbound = bindings::wq_flags_WQ_UNBOUND;
        // SAFETY: The name has no conversions, so there are no more arguments.
        let queue =
            unsafe { bindings::alloc_workqueue_noprof(c"pernet".as_char_ptr(), unbound, 1) };
        // INVARIANT: `queue` is null, for want of memory, or a workqueue.
        pernet.queue.store(queue, Relaxed);
        // SAFETY: The claim excludes other registrations, and the C core does not know `ops` yet.
        unsafe { (*pernet.ops.get()).id = pernet.id.get() };

        // SAFETY: `ops` is static, and so are its callbacks.
        to_result(unsafe { bindings::register_pernet_subsys(pernet.ops.get()) })
            .inspect_err(|_| pernet.unclaim())?;

        // Litmus: registered
        // INVARIANT: Every namespace has a value, and every new one gets it before it can be used.
        pernet.registered.store(true, Release);
        Ok(Self(PhantomData))
    }
}

impl<T: PerNet> Drop for PernetRegistration<T> {
    fn drop(&mut self) {
        let pernet = T::pernet();
        // Litmus: registered
        pernet.registered.store(false, Release);
        rcu::synchronize_rcu();
        // SAFETY: `ops` is registered by the type invariant. No reader is left: those that came
        // through `Pernet::get` have just been waited for, and a `Provides` is gone before its
        // registration.
        unsafe { bindings::unregister_pernet_subsys(pernet.ops.get()) };
        pernet.unclaim();
    }
}

/// Evidence that the data `T` is registered.
///
/// A registration whose callbacks get `&T` owns such a value, so that the data outlives the
/// callbacks.
///
/// # Safety
///
/// As long as a value exists, there must be a [`PernetRegistration<T>`].
pub(crate) unsafe trait Provides<T: PerNet> {}

// SAFETY: A `PernetRegistration` proves its own existence.
unsafe impl<T: PerNet> Provides<T> for PernetRegistration<T> {}

/// The data in `net`.
///
/// # Safety
///
/// A value that [`Provides`] `T` must exist during `'a`.
pub(crate) unsafe fn data<'a, T: PerNet>(net: &'a Net) -> &'a T {
    // SAFETY: By the safety requirements of this function, `T` is registered, so the slot holds a
    // value.
    unsafe { &*T::pernet().slot(net.as_raw()) }
}
