// SPDX-License-Identifier: GPL-2.0

//! What rules do: find a policy by name, hold it, and let go of it.

use kernel::sync::rcu;

use super::{
    policy::{
        Entry,
        Name,
        Policy, //
    },
    table::Policies,
};

use crate::{
    net::conntrack::hooks::TimeoutHooks,
    LocalModule, //
};

/// The hooks of this module.
pub(crate) struct Rules;

impl TimeoutHooks for Rules {
    type Module = LocalModule;
    type Data = Policies;
    type Value = Entry;

    fn find_get(policies: &Policies, name: &Name, rcu: &rcu::Guard) -> Option<Policy> {
        let found = policies.get(name, rcu)?;
        let uses = found.value().value();
        if !uses.hold() {
            return None;
        }
        // Cannot fail unless the policy was removed by force: the table's reference goes after the
        // last use.
        let policy = found.try_get();
        if policy.is_none() {
            uses.release();
        }
        policy
    }

    fn put(policy: Policy) {
        policy.borrow().value().value().release();
    }
}
