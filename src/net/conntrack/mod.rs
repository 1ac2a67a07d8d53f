// SPDX-License-Identifier: GPL-2.0

//! Connection tracking timeouts: protocols, timeout objects and the hooks that hand them out.
//!
//! C header:
//! [`include/net/netfilter/nf_conntrack_timeout.h`][header]
//!
//! [header]: srctree/include/net/netfilter/nf_conntrack_timeout.h

pub(crate) mod detach;
pub(crate) mod hooks;
pub(crate) mod l4proto;
pub(crate) mod timeout;

use crate::bindings;

/// The largest timeout, in seconds, that conntrack can work with.
///
/// It compares points in time as signed 32-bit numbers of jiffies; a flow with a longer timeout
/// would count as expired at once.
pub(crate) const MAX_TIMEOUT_SECS: u32 = i32::MAX as u32 / bindings::CONFIG_HZ;

/// The size of a timeout policy's name in bytes, its NUL included.
pub(crate) const TIMEOUT_NAME_MAX: usize = bindings::CTNL_TIMEOUT_NAME_MAX as usize;
