// SPDX-License-Identifier: GPL-2.0

//! Connection tracking timeout policies, set by user space through nfnetlink.
//!
//! This file only puts the parts together. [`cttimeout`] handles the policies; the code that it
//! builds on is generic, and knows nothing about them.

mod alloc;
mod bindings;
mod compat;
#[forbid(unsafe_code)]
mod cttimeout;
mod module;
mod net;
mod str;
mod sync;
#[cfg(CTTIMEOUT_KUNIT)]
mod tests;
mod trace;

use kernel::prelude::*;

use crate::{
    cttimeout::{
        commands::CtTimeout,
        hooks::Rules,
        table::Policies, //
    },
    net::{
        conntrack::hooks,
        netns,
        nfnetlink, //
    },
};

compat::module! {
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

// Here, because the macro expands to `unsafe` code, which `cttimeout` must not contain.
netns::declare_pernet!(Policies);

/// What the module has registered. Each registration owns the one that it depends on, so they are
/// made in the only order that is right: the per-namespace data, then the hooks, then the commands.
/// They are undone in the opposite order.
struct CtTimeoutModule {
    _registration: nfnetlink::Registration<
        CtTimeout,
        hooks::Registration<Rules, netns::Registration<Policies>>,
    >,
}

impl kernel::Module for CtTimeoutModule {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let data = netns::Registration::new()?;
        // SAFETY: The module's value owns it until the module exits; or it is dropped below, if the
        // module fails to load: there were no commands then, so nobody has made a policy.
        let hooks = unsafe { hooks::Registration::new(data) }.inspect_err(|_| {
            pr_err!("the conntrack timeout hook is taken; is nfnetlink_cttimeout loaded?\n");
        })?;
        let commands = nfnetlink::Registration::new(hooks).inspect_err(|_| {
            pr_err!("the nfnetlink subsystem is taken; is nfnetlink_cttimeout loaded?\n");
        })?;
        Ok(Self {
            _registration: commands,
        })
    }
}
