// SPDX-License-Identifier: GPL-2.0

//! Networking abstractions that the kernel crate lacks, none of which knows of timeouts.

pub(crate) mod netlink;
pub(crate) mod netns;
pub(crate) mod nfnetlink;
