// SPDX-License-Identifier: GPL-2.0

//! Networking abstractions that the kernel crate lacks: network namespaces, netlink messages,
//! nfnetlink subsystems and conntrack timeouts.

pub(crate) mod conntrack;
pub(crate) mod netlink;
pub(crate) mod netns;
pub(crate) mod nfnetlink;
