// SPDX-License-Identifier: GPL-2.0

//! The policies of one network namespace.

use core::ops::Deref;

use kernel::{
    prelude::*,
    sync::rcu, //
};

use super::{
    commands::CtTimeout,
    policy::{
        Name,
        Policy, //
    },
};

use crate::{
    net::{
        netns::PerNet,
        nfnetlink::{
            self,
            Locked, //
        },
    },
    sync::rcu_map::{
        self,
        RcuMap, //
    }, //
};

type Map = RcuMap<Name, Policy, Locked<CtTimeout>>;

/// All policies of a namespace, in the order of their creation, to be found by name.
#[pin_data]
pub(crate) struct Policies {
    #[pin]
    map: Map,
}

impl Deref for Policies {
    type Target = Map;

    fn deref(&self) -> &Map {
        &self.map
    }
}

/// A policy in the hands of a command that holds the mutex.
pub(crate) type Found<'m> = rcu_map::Entry<'m, Name, Policy, Locked<CtTimeout>>;

/// Room for a policy, in the hands of a command that holds the mutex.
pub(crate) type Vacancy<'m> = rcu_map::Vacancy<'m, Name, Policy, Locked<CtTimeout>>;

/// A place in a dump.
pub(crate) type Cursor = rcu_map::Cursor<Name>;

impl Policies {
    /// Drops one batch of policies; returns whether there may be more.
    fn drop_some(&self, lock: &mut Locked<CtTimeout>) -> bool {
        (0..1024).all(|_| self.remove_first(lock).is_some())
    }
}

impl PerNet for Policies {
    fn init() -> impl PinInit<Self, Error> {
        try_pin_init!(Self { map <- Map::new() })
    }

    /// Drops all policies.
    ///
    /// The flows are left alone: each has a reference of its own, and the namespace's flows are
    /// about to be destroyed anyway. Rules drop theirs when they are removed, which may be later
    /// than this: all they touch then is the object itself.
    fn pre_exit(&self) {
        // Most namespaces never have a policy; no need to queue for the mutex.
        if self.is_empty(&rcu::read_lock()) {
            return;
        }
        // In batches: this namespace may have millions, and all namespaces share the mutex.
        while self.drop_some(&mut nfnetlink::lock::<CtTimeout>()) {}
    }
}
