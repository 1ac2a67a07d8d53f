// SPDX-License-Identifier: GPL-2.0

//! One timeout policy: its name, what uses it, and how it is shared and released.
//!
//! Two counts decide a policy's life:
//!
//! - the reference count of the timeout object, which conntrack knows: one for each template and flow
//!   that has the object, and one for all its users. It decides when memory is freed.
//! - the number of users: one for the table's entry and one for each rule. It decides whether the
//!   policy may be deleted, and is what user space sees as `use`. As long as there is one, the module
//!   stays.

use super::error::Reason;

use crate::{
    compat::module_parameters,
    net::conntrack::{
        timeout::{
            Owner,
            TimeoutRef,
            User, //
        },
        TIMEOUT_NAME_MAX,
    },
    str::PaddedStr,
    sync::rcu_map::Node,
    LocalModule, //
};

/// A policy's name: up to 31 bytes, any but NUL.
pub(crate) type Name = PaddedStr<TIMEOUT_NAME_MAX>;

/// What a policy consists of besides its timeouts and counts: its name, and its place in the table.
pub(crate) type Entry = Node<Name>;

/// A policy, owned by the table.
pub(crate) type Policy = Owner<Entry, LocalModule>;

/// A policy, used by a rule.
pub(crate) type RulePolicy = User<Entry, LocalModule>;

/// A policy, borrowed.
pub(crate) type PolicyRef<'a> = TimeoutRef<'a, Entry, LocalModule>;

/// Checks whether a policy may be deleted. By default, if it may, this also retires it: no rule can
/// get it from here on.
pub(crate) fn retire(policy: &Policy) -> Result<(), Reason> {
    match policy.retire() {
        // The rules keep the object, and go on applying it until they go themselves.
        Err(rules) if !module_parameters::detach_in_use.value() => Err(Reason::InUse { rules }),
        _ => Ok(()),
    }
}
