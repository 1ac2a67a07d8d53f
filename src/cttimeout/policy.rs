// SPDX-License-Identifier: GPL-2.0

//! One timeout policy: its name, what uses it, and how it is shared and released.
//!
//! Two counts decide a policy's life:
//!
//! - the reference count of the timeout object, which conntrack knows: one for the table's entry,
//!   one for each rule, template and flow that has the object. It decides when memory is freed.
//! - [`Uses`], which only this module knows: one for the table's entry and one for each rule. It
//!   decides whether the policy may be deleted, and is what user space sees as `use`.

use kernel::{
    prelude::*,
    sync::Refcount, //
};

use super::error::Reason;

use crate::{
    net::conntrack::{
        timeout::{
            Timeout,
            TimeoutRef, //
        },
        TIMEOUT_NAME_MAX,
    },
    str::PaddedStr,
    sync::{
        rcu_map::Node,
        refcount::RefcountExt, //
    },
};

/// A policy's name: up to 31 bytes, any but NUL.
pub(crate) type Name = PaddedStr<TIMEOUT_NAME_MAX>;

/// What a policy consists of besides its timeouts.
pub(crate) type Entry = Node<Name, Uses>;

/// A reference to a policy.
pub(crate) type Policy = Timeout<Entry>;

/// A policy, borrowed.
pub(crate) type PolicyRef<'a> = TimeoutRef<'a, Entry>;

/// How many there are who want the policy to stay: the table, and each rule that names it.
///
/// Once it is zero, it stays zero: the policy is dead, and no rule can get it.
pub(crate) struct Uses(Refcount);

impl Uses {
    /// A policy that only the table knows.
    pub(crate) fn new() -> Self {
        Self(Refcount::new(1))
    }

    /// Counts a rule, unless the policy is dead.
    pub(crate) fn hold(&self) -> bool {
        self.0.inc_not_zero()
    }

    /// Discounts a rule.
    pub(crate) fn release(&self) {
        // The last one is not the table if the policy was removed from it by force, or with its
        // namespace. Nothing depends on it: the object has a count of its own.
        let _ = self.0.dec_and_test();
    }

    /// Declares the policy dead, unless a rule uses it. In the race with a rule that is just being
    /// added, exactly one of the two succeeds.
    pub(crate) fn retire(&self) -> Result<(), Reason> {
        while !self.0.dec_if_one() {
            match self.count() {
                0 => break,
                // The last rule has gone in between: nothing to complain about.
                1 => continue,
                count => return Err(Reason::InUse { rules: count - 1 }),
            }
        }
        Ok(())
    }

    /// The number for user space: 1, and 1 for each rule.
    pub(crate) fn count(&self) -> u32 {
        self.0.read()
    }
}
