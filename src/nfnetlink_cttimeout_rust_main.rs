// SPDX-License-Identifier: GPL-2.0

//! Connection tracking timeout policies, set by user space through nfnetlink.
//!
//! This file only puts the parts together. The policies are the business of [`cttimeout`]; what it
//! stands on is generic, and knows nothing of them.

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

// Here, because what the macro expands to is not for code without `unsafe`.
netns::declare_pernet!(Policies);

/// What the module has registered. Each registration owns the one that it depends on, so they are
/// made and undone in the only order that is right: the namespaces' data first and last, then the
/// hooks, then the commands.
struct CtTimeoutModule {
    _registration: nfnetlink::Registration<
        CtTimeout,
        hooks::Registration<Rules, netns::Registration<Policies>>,
    >,
}

impl kernel::Module for CtTimeoutModule {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let data = netns::Registration::new()?;
        // SAFETY: It goes when the module does, whose value has it, or below, when that cannot begin: without
        // commands, nobody has made a policy.
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
