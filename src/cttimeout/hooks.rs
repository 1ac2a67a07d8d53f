// SPDX-License-Identifier: GPL-2.0

//! What rules do: find a policy by name, hold it, and let go of it.

use kernel::sync::rcu;

use super::{
    policy::{
        Entry,
        Name,
        RulePolicy, //
    },
    table::Policies,
};

use crate::{
    net::conntrack::hooks::TimeoutHooks,
    trace,
    LocalModule, //
};

/// The hooks of this module.
pub(crate) struct Rules;

impl TimeoutHooks for Rules {
    type Module = LocalModule;
    type Data = Policies;
    type Value = Entry;

    #[inline]
    fn find_get(policies: &Policies, name: &Name, rcu: &rcu::Guard) -> Option<RulePolicy> {
        let policy = policies.get(name, rcu)?;
        let user = policy.try_use()?;
        trace::hold(policy);
        Some(user)
    }

    #[inline]
    fn put(policy: RulePolicy) {
        trace::release(policy.borrow());
    }
}
