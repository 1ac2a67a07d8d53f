// SPDX-License-Identifier: GPL-2.0

//! The hooks by which conntrack's users find timeout objects by name.
//!
//! The iptables CT target and Open vSwitch call them when a rule that names a timeout policy comes
//! or goes. There is one slot in the kernel for one implementation (`nf_ct_timeout_hook`).
//!
//! # Examples
//!
//! Objects by name, in a map for each namespace:
//!
//! ```ignore
//! # use core::marker::PhantomData;
//! # use kernel::{
//! #     declare_pernet,
//! #     net::{
//! #         conntrack::{
//! #             hooks::{self, TimeoutHooks},
//! #             timeout::{Owner, User},
//! #             TIMEOUT_NAME_MAX,
//! #         },
//! #         netns::{self, PerNet},
//! #     },
//! #     str::padded::PaddedStr,
//! #     sync::{rcu, rcu_map::{Node, RcuMap, WriteLock}},
//! # };
//! type Name = PaddedStr<TIMEOUT_NAME_MAX>;
//! # struct Lock(PhantomData<*mut ()>);
//! # // SAFETY: There is no value of it, so nobody writes.
//! # unsafe impl WriteLock for Lock {}
//! # #[pin_data]
//! # struct Objects {
//! #     #[pin]
//! #     by_name: RcuMap<Name, Owner<Node<Name>, LocalModule>, Lock>,
//! # }
//! # declare_pernet!(Objects);
//! # impl PerNet for Objects {
//! #     fn init() -> impl PinInit<Self, Error> {
//! #         try_pin_init!(Self { by_name <- RcuMap::new() })
//! #     }
//! #     fn pre_exit(&self) {}
//! # }
//!
//! struct Hooks;
//!
//! impl TimeoutHooks for Hooks {
//!     type Module = LocalModule;
//!     type Data = Objects; // a `PerNet` type
//!     type Value = Node<Name>;
//!
//!     fn find_get(
//!         objects: &Objects,
//!         name: &Name,
//!         rcu: &rcu::Guard,
//!     ) -> Option<User<Node<Name>, LocalModule>> {
//!         objects.by_name.get(name, rcu)?.try_use()
//!     }
//! }
//!
//! struct Module {
//!     _hooks: hooks::Registration<Hooks, netns::Registration<Objects>>,
//! }
//!
//! impl Module {
//!     /// `EBUSY` if another module has the hooks.
//!     fn init() -> Result<Self> {
//!         let data = netns::Registration::new()?;
//!         // SAFETY: The module has it, and lives until it ends.
//!         let hooks = unsafe { hooks::Registration::new(data)? };
//!         Ok(Self { _hooks: hooks })
//!     }
//! }
//! ```
//!
//! C header:
//! [`include/net/netfilter/nf_conntrack_timeout.h`][header]
//!
//! [header]: srctree/include/net/netfilter/nf_conntrack_timeout.h

use core::{
    marker::PhantomData,
    ptr::{
        self,
        NonNull, //
    },
};

use kernel::{
    ffi::c_char,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Full, //
        },
        rcu, //
    },
    ModuleMetadata,
};

use super::{
    timeout::User,
    TIMEOUT_NAME_MAX, //
};

use crate::{
    bindings,
    net::netns::{
        self,
        Net,
        PerNet,
        Provides, //
    },
    str::PaddedStr,
    sync::rcu::held, //
};

/// An implementation of the hooks.
pub(crate) trait TimeoutHooks: Send + Sync + 'static {
    /// The module that implements them. It stays as long as an object has a user.
    type Module: ModuleMetadata;
    /// What it keeps for each network namespace.
    type Data: PerNet;
    /// What it keeps with each timeout object.
    type Value: Send + Sync;

    /// Finds an object for a rule. Must not sleep.
    fn find_get(
        data: &Self::Data,
        name: &PaddedStr<TIMEOUT_NAME_MAX>,
        rcu: &rcu::Guard,
    ) -> Option<User<Self::Value, Self::Module>>;

    /// Takes an object back from a rule, which may have outlived the object's name and its namespace.
    /// Must not sleep.
    fn put(user: User<Self::Value, Self::Module>) {
        drop(user);
    }
}

/// Hooks that are installed, together with `P`, which provides their per-namespace data.
///
/// When it is dropped, the slot is cleared, calls through it that are under way are waited for, and
/// then `P` is dropped. By then no rule has an object any more: see [`new`](Self::new).
///
/// # Invariants
///
/// As long as a rule has an object that it got through the hooks, they are in the slot.
pub(crate) struct Registration<H: TimeoutHooks, P: Provides<H::Data>> {
    hooks: &'static bindings::nf_ct_timeout_hooks,
    _below: P,
    _hooks: PhantomData<H>,
}

// SAFETY: It owns a `P`, which stays while this does.
unsafe impl<H: TimeoutHooks, P: Provides<H::Data>> Provides<H::Data> for Registration<H, P> {}

/// The kernel's slot.
fn slot() -> &'static Atomic<*const bindings::nf_ct_timeout_hooks> {
    // SAFETY: The variable is a static of the kernel's, written as a whole only.
    unsafe { Atomic::from_ptr(&raw mut bindings::nf_ct_timeout_hook) }
}

impl<H: TimeoutHooks, P: Provides<H::Data>> Registration<H, P> {
    const HOOKS: bindings::nf_ct_timeout_hooks = bindings::nf_ct_timeout_hooks {
        timeout_find_get: Some(Self::find_get),
        timeout_put: Some(Self::put),
    };

    /// Installs the hooks.
    ///
    /// Fails with `EBUSY` if others are installed; `below` is dropped then.
    ///
    /// # Safety
    ///
    /// The registration must be kept until the module `H::Module` exits, or fails to load before
    /// anybody could find an object. A rule gives its object back through whatever hooks are in the
    /// slot by then; the module reference that comes with the object ensures that it is these.
    pub(crate) unsafe fn new(below: P) -> Result<Self> {
        // Full ordering: whoever finds the hooks in the slot finds what they rely on.
        let hooks: &'static _ = &Self::HOOKS;
        match slot().cmpxchg(ptr::null(), hooks, Full) {
            // INVARIANT: They are there now, and stay as long as the module does, by the caller's promise.
            Ok(_) => Ok(Self {
                hooks,
                _below: below,
                _hooks: PhantomData,
            }),
            Err(_) => Err(EBUSY),
        }
    }

    /// # Safety
    ///
    /// To be called through the slot only, under `rcu_read_lock()`, with a valid namespace and a
    /// string.
    unsafe extern "C" fn find_get(
        net: *mut bindings::net,
        name: *const c_char,
    ) -> *mut bindings::nf_ct_timeout {
        let find = || {
            let mut key = PaddedStr::empty();
            // SAFETY: By this function's contract.
            unsafe { key.copy_from(name) }.ok()?;
            // SAFETY: By this function's contract.
            let net = unsafe { Net::from_raw(net) };
            // SAFETY: `drop` waits for the caller's read-side section before it drops `below`.
            let data = unsafe { netns::data::<H::Data>(net) };

            // SAFETY: By this function's contract.
            H::find_get(data, &key, unsafe { held() }).map(User::into_c)
        };
        find().unwrap_or(ptr::null_mut())
    }

    /// # Safety
    ///
    /// To be called through the slot only, under `rcu_read_lock()`, once for each object that
    /// `find_get` returned.
    unsafe extern "C" fn put(timeout: *mut bindings::nf_ct_timeout) {
        if let Some(timeout) = NonNull::new(timeout) {
            // Once the user is given back, no reference of ours keeps the module loaded, but the
            // caller's read-side critical section does: see `drop`.
            // SAFETY: It comes from `into_c` in `find_get`, of these hooks, by the type invariant. It is given
            // back here.
            H::put(unsafe { User::from_c(timeout) });
        }
    }
}

impl<H: TimeoutHooks, P: Provides<H::Data>> Drop for Registration<H, P> {
    fn drop(&mut self) {
        // The C module stores to the slot unconditionally, after it has registered with nfnetlink.
        // If it was loaded at the same moment, its hooks are there, and must stay.
        let _ = slot().cmpxchg(self.hooks, ptr::null(), Full);
        // SAFETY: There are no requirements; module exit may sleep.
        unsafe { bindings::synchronize_net() };
    }
}
