// SPDX-License-Identifier: GPL-2.0

//! Connection tracking timeouts: protocol trackers, timeout objects, the table that finds them by
//! name, and the hooks that hand them out.
//!
//! C header:
//! [`include/net/netfilter/nf_conntrack_timeout.h`][header]
//!
//! [header]: srctree/include/net/netfilter/nf_conntrack_timeout.h

pub(crate) mod hooks;
mod index;
pub(crate) mod l4proto;
pub(crate) mod name;
pub(crate) mod table;
#[cfg(CTTIMEOUT_KUNIT)]
mod tests;
pub(crate) mod timeout;
mod untimeout;
