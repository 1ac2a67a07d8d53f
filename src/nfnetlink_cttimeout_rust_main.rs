// SPDX-License-Identifier: GPL-2.0

//! Connection tracking timeout policies, set by user space through nfnetlink.
//!
//! This file puts the parts together. The logic is in [`cttimeout`]; objects, their table and the
//! hooks for rules are in [`conntrack`]; [`net`] is generic, and knows nothing of timeouts.

mod bindings;
mod compat;
mod conntrack;
#[forbid(unsafe_code)]
mod cttimeout;
mod net;
mod sync;
mod trace;

use kernel::prelude::*;

use crate::{
    conntrack::{
        hooks::HookRegistration,
        table::Table, //
    },
    cttimeout::commands::CtTimeout,
    net::{
        netns::PernetRegistration,
        nfnetlink::SubsystemRegistration, //
    },
};

module! {
    type: CtTimeoutModule,
    name: "nfnetlink_cttimeout_rust",
    authors: ["The nfnetlink_cttimeout_rust developers"],
    description: "Netfilter connection tracking timeout policies",
    license: "GPL",
    alias: ["nfnetlink-subsys-8"],
    params: {
        detach_in_use: bool {
            default: false,
            description: "delete policies even if rules use them (default: refuse)",
        },
    },
}

/// The registrations of the module, each of which owns the one that it depends on.
///
/// They are the per-namespace data, then the hooks, then the commands, and are undone in the
/// opposite order.
struct CtTimeoutModule {
    _registration: SubsystemRegistration<CtTimeout, HookRegistration<PernetRegistration<Table>>>,
}

impl kernel::Module for CtTimeoutModule {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let tables = PernetRegistration::new()?;
        // SAFETY: The module's value owns the registration until the module exits. If the module
        // fails to load, it is dropped below: there were no commands then, so there is no policy.
        let hooks = unsafe { HookRegistration::new(tables) }.inspect_err(|_| {
            pr_err!("the conntrack timeout hook is taken; is nfnetlink_cttimeout loaded?\n");
        })?;
        let commands = SubsystemRegistration::new(hooks).inspect_err(|_| {
            pr_err!("the nfnetlink subsystem is taken; is nfnetlink_cttimeout loaded?\n");
        })?;
        Ok(Self {
            _registration: commands,
        })
    }
}
