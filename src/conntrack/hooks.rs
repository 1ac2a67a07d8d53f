// SPDX-License-Identifier: GPL-2.0

//! The hooks by which rules find timeout objects by name ([`HookRegistration`]).
//!
//! The iptables CT target and Open vSwitch call them when a rule that names a timeout policy comes
//! or goes. The kernel has one slot for one implementation, `nf_ct_timeout_hook`.
//!
//! C header:
//! [`include/net/netfilter/nf_conntrack_timeout.h`][header]
//!
//! [header]: srctree/include/net/netfilter/nf_conntrack_timeout.h

use core::ptr::{
    self,
    NonNull, //
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
};

use super::{
    name::Name,
    table::Table,
    timeout::{
        Timeout,
        User, //
    },
};

use crate::{
    bindings,
    net::netns::{
        self,
        Net,
        Provides, //
    },
    sync::rcu::held,
    trace,
};

/// Hooks that are installed, together with `P`, which provides the tables.
///
/// When the value is dropped, the slot is cleared, calls through it are waited for, and then `P` is
/// dropped. No rule has an object by then: see [`new`](Self::new).
///
/// # Invariants
///
/// As long as a rule has an object that it got through the hooks, they are in the slot.
pub(crate) struct HookRegistration<P: Provides<Table>> {
    _below: P,
}

// SAFETY: The value owns a `P`, which stays as long.
unsafe impl<P: Provides<Table>> Provides<Table> for HookRegistration<P> {}

static HOOKS: bindings::nf_ct_timeout_hooks = bindings::nf_ct_timeout_hooks {
    timeout_find_get: Some(find_get),
    timeout_put: Some(put),
};

fn slot() -> &'static Atomic<*const bindings::nf_ct_timeout_hooks> {
    // SAFETY: `nf_ct_timeout_hook` is a static of the kernel's, read and written as a whole only.
    unsafe { Atomic::from_ptr(&raw mut bindings::nf_ct_timeout_hook) }
}

impl<P: Provides<Table>> HookRegistration<P> {
    /// Installs the hooks.
    ///
    /// Fails with `EBUSY` if others are installed; `below` is dropped then.
    ///
    /// # Safety
    ///
    /// The registration must be kept until the module exits, or fails to load before there was a
    /// policy. A rule gives its object back through the hooks that are in the slot by then; the
    /// module reference that comes with the object ensures that they are these.
    pub(crate) unsafe fn new(below: P) -> Result<Self> {
        // Litmus: find-get
        // A read-side section that finds the hooks in the slot has not begun before this grace
        // period, and so finds the tables.
        rcu::synchronize_rcu();
        match slot().cmpxchg(ptr::null(), &raw const HOOKS, Full) {
            // INVARIANT: `HOOKS` stays in the slot until the value is dropped. By the safety
            // requirements of this function, no rule has an object by then.
            Ok(_) => Ok(Self { _below: below }),
            Err(_) => Err(EBUSY),
        }
    }
}

impl<P: Provides<Table>> Drop for HookRegistration<P> {
    fn drop(&mut self) {
        // The C module stores to the slot unconditionally, after it has registered with nfnetlink.
        // If it was loaded at the same moment, its hooks are there, and must stay.
        let _ = slot().cmpxchg(&raw const HOOKS, ptr::null(), Full);
        // Litmus: find-get, put-exit
        // SAFETY: The function has no requirements but that the caller may sleep, as those who load
        // and unload modules may.
        unsafe { bindings::synchronize_net() };
    }
}

/// # Safety
///
/// For calls through the slot only, under `rcu_read_lock()`, with a valid namespace and a string.
unsafe extern "C" fn find_get(
    net: *mut bindings::net,
    name: *const c_char,
) -> *mut bindings::nf_ct_timeout {
    // Litmus: find-get
    // SAFETY: By the safety requirements of this function, the RCU read lock is held, `net` is
    // valid, and `name` is a string. The registration waits for this call before it drops the
    // tables.
    let (rcu, table, name) = unsafe {
        (
            held(),
            netns::data::<Table>(Net::from_raw(net)),
            Name::from_char_ptr(name),
        )
    };
    let Some(user) = name.and_then(|name| table.get(&name, rcu)?.try_use(rcu)) else {
        return ptr::null_mut();
    };
    trace::hold(&user);
    let object = user.as_raw().as_ptr();
    user.into_raw();
    object
}

/// # Safety
///
/// For calls through the slot only, under `rcu_read_lock()`, once for each time that `find_get` has
/// returned `object`.
unsafe extern "C" fn put(object: *mut bindings::nf_ct_timeout) {
    let Some(object) = NonNull::new(object) else {
        return;
    };
    // Litmus: put-exit
    // SAFETY: `object` comes from `find_get` of these hooks, by the type invariant of the
    // registration, and is given back here. The registration waits for the read-side section of
    // this call, and with it the module's exit.
    let user = unsafe { User::from_raw(Timeout::from_raw(object)) };
    trace::release(&user);
}
