// SPDX-License-Identifier: GPL-2.0

//! Network namespaces, and data that a module keeps in each of them.
//!
//! # Examples
//!
//! ```ignore
//! # use kernel::{declare_pernet, net::netns::{self, PerNet}, sync::atomic::Atomic};
//! struct Totals(Atomic<u32>);
//!
//! declare_pernet!(Totals);
//!
//! impl PerNet for Totals {
//!     fn init() -> impl PinInit<Self, Error> {
//!         Ok::<_, Error>(Self(Atomic::new(0)))
//!     }
//!
//!     fn pre_exit(&self) {}
//! }
//!
//! // Each namespace has a total from here on.
//! let registration = netns::Registration::<Totals>::new()?;
//! // There is one at a time.
//! assert!(netns::Registration::<Totals>::new().is_err());
//! // And from here on, none has.
//! drop(registration);
//! # Ok::<(), Error>(())
//! ```
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
            Full,
            Release, //
        },
        rcu, //
    },
    types::Opaque,
};

use crate::{
    bindings,
    compat::{
        raw_try_init,
        synchronize_rcu, //
    },
};

/// A network namespace (`struct net`).
///
/// # Invariants
///
/// References point to a namespace that is set up, and whose exit handlers have not begun to run or
/// are waiting for who holds the reference.
#[repr(transparent)]
pub(crate) struct Net(Opaque<bindings::net>);

impl Net {
    /// Borrows a namespace.
    ///
    /// # Safety
    ///
    /// `ptr` must point to a namespace that does not go away during `'a`.
    pub(crate) unsafe fn from_raw<'a>(ptr: *const bindings::net) -> &'a Self {
        // SAFETY: By the caller's promise; `Net` is a transparent wrapper.
        unsafe { &*ptr.cast() }
    }

    /// The C structure.
    pub(crate) fn as_raw(&self) -> *mut bindings::net {
        self.0.get()
    }
}

/// Types with a [`Subsys`] of their own. To be implemented by [`declare_pernet!`].
///
/// # Safety
///
/// `subsys` must always return the same static.
pub(crate) unsafe trait HasSubsys: Sized + 'static {
    /// The static that the C side knows this type by.
    fn subsys() -> &'static Subsys<Self>;
}

/// Makes the [`Subsys`] of a [`PerNet`] type.
macro_rules! declare_pernet {
    ($type:ty) => {
        const _: () = {
            static SUBSYS: $crate::net::netns::Subsys<$type> = $crate::net::netns::Subsys::new();

            // SAFETY: It is always this static.
            unsafe impl $crate::net::netns::HasSubsys for $type {
                fn subsys() -> &'static $crate::net::netns::Subsys<Self> {
                    &SUBSYS
                }
            }
        };
    };
}
pub(crate) use declare_pernet;

/// Data that exists once for each network namespace.
pub(crate) trait PerNet: HasSubsys + Send + Sync {
    /// Returns an initializer of the data for one namespace. It may sleep.
    fn init() -> impl PinInit<Self, Error>;

    /// The namespace is about to end: nothing may be found in it from now on.
    ///
    /// The data is dropped a grace period later. May sleep.
    fn pre_exit(&self);
}

/// The C side of a [`PerNet`] type: `struct pernet_operations` and the index of its data.
///
/// # Invariants
///
/// While `registered` is true, and a grace period longer, `id` does not change and is the index of
/// an initialized `T` in each namespace that is alive.
pub(crate) struct Subsys<T> {
    ops: UnsafeCell<bindings::pernet_operations>,
    id: UnsafeCell<c_uint>,
    claimed: Atomic<bool>,
    registered: Atomic<bool>,
    _data: PhantomData<fn() -> T>,
}

// SAFETY: The cells are written by the C core and by `Registration`, which `claimed` makes the only
// one.
unsafe impl<T> Sync for Subsys<T> {}

impl<T: PerNet> Subsys<T> {
    /// A subsystem that is not registered.
    pub(crate) const fn new() -> Self {
        Self {
            ops: UnsafeCell::new(bindings::pernet_operations {
                init: Some(Self::init),
                pre_exit: Some(Self::pre_exit),
                exit: Some(Self::exit),
                size: size_of::<T>(),
                ..pin_init::zeroed()
            }),
            id: UnsafeCell::new(0),
            claimed: Atomic::new(false),
            registered: Atomic::new(false),
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
        // SAFETY: By the caller's promise.
        unsafe { bindings::cttimeout_helper_net_generic(net, *self.id.get()).cast() }
    }

    /// The data in `net`, or [`None`] if the type is not registered (any more).
    pub(crate) fn get<'g>(&self, net: &'g Net, _guard: &'g rcu::Guard) -> Option<&'g T> {
        // Acquire: a reader that sees the release store in `Registration::new` sees the index and
        // the values.
        if !self.registered.load(Acquire) {
            return None;
        }
        // SAFETY: Who makes `registered` false waits for a grace period before it does more. By the
        // type invariants the slot holds a value, which namespace exit drops a grace period after
        // nobody can hold a `Net` any more.
        Some(unsafe { &*self.slot(net.as_raw()) })
    }

    /// # Safety
    ///
    /// To be called by the C core only, for a namespace that is being set up.
    unsafe extern "C" fn init(net: *mut bindings::net) -> c_int {
        // SAFETY: The index is assigned before this is called.
        let slot = unsafe { T::subsys().slot(net) };
        // SAFETY: The slot is zeroed memory of the size that was asked for, it is never moved, and
        // it is left alone if an error is returned.
        match unsafe { raw_try_init(slot, T::init()) } {
            Ok(()) => 0,
            Err(err) => err.to_errno(),
        }
    }

    /// # Safety
    ///
    /// To be called by the C core only, after `init` succeeded.
    unsafe extern "C" fn pre_exit(net: *mut bindings::net) {
        // SAFETY: The slot holds a value since `init`, and `exit` comes later.
        unsafe { &*T::subsys().slot(net) }.pre_exit();
    }

    /// # Safety
    ///
    /// To be called by the C core only, a grace period after `pre_exit`.
    unsafe extern "C" fn exit(net: *mut bindings::net) {
        // SAFETY: The slot holds a value since `init`, and it is not used after this.
        unsafe { ptr::drop_in_place(T::subsys().slot(net)) };
    }
}

impl<T: PerNet> Default for Subsys<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// A registered [`PerNet`] type: the data exists in every namespace, including new ones.
///
/// # Invariants
///
/// `T::subsys()` is registered with the C core.
pub(crate) struct Registration<T: PerNet>(PhantomData<T>);

impl<T: PerNet> Registration<T> {
    /// Sets up the data in all namespaces. May sleep.
    ///
    /// Fails with `EBUSY` if the type is registered already, with `ENOMEM`, and with what
    /// [`PerNet::init`] fails with. Nothing is left behind then.
    pub(crate) fn new() -> Result<Self> {
        let subsys = T::subsys();

        // Full ordering, though acquire would do: whoever claims it after somebody else sees that
        // all is undone.
        if subsys.claimed.xchg(true, Full) {
            return Err(EBUSY);
        }
        // SAFETY: We hold the claim, and the C core does not know of the structure yet.
        unsafe { (*subsys.ops.get()).id = subsys.id.get() };

        // SAFETY: The structure is static, and its callbacks are ours.
        to_result(unsafe { bindings::register_pernet_subsys(subsys.ops.get()) })
            .inspect_err(|_| subsys.claimed.store(false, Release))?;

        // INVARIANT: Every namespace has a value, and every new one gets it before it can be used.
        subsys.registered.store(true, Release);
        Ok(Self(PhantomData))
    }
}

impl<T: PerNet> Drop for Registration<T> {
    fn drop(&mut self) {
        // Readers that begin after the grace period see this; those that began before are waited
        // for.
        T::subsys().registered.store(false, Release);
        synchronize_rcu();
        // SAFETY: Registered by the type invariant. No reader is left: those that came through
        // `Subsys::get` have just been waited for, and a `Provides` is gone before what it stands
        // on.
        unsafe { bindings::unregister_pernet_subsys(T::subsys().ops.get()) };
        T::subsys().claimed.store(false, Release);
    }
}

/// Evidence that the data `T` is registered.
///
/// What hands out `&T` to callbacks owns such a value, so that the data outlives the callbacks.
///
/// # Safety
///
/// As long as a value exists, so does a [`Registration<T>`].
pub(crate) unsafe trait Provides<T: PerNet> {}

// SAFETY: It is one itself.
unsafe impl<T: PerNet> Provides<T> for Registration<T> {}

/// The data in `net`.
///
/// # Safety
///
/// A value that [`Provides`] `T` must exist during `'a`.
pub(super) unsafe fn data<'a, T: PerNet>(net: &'a Net) -> &'a T {
    // SAFETY: By the caller's promise the type is registered, so the slot holds a value.
    unsafe { &*T::subsys().slot(net.as_raw()) }
}
