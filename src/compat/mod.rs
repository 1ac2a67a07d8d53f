// SPDX-License-Identifier: GPL-2.0

//! The place for what differs in the kernel crate between supported versions of Linux.
//!
//! Linux 7.3 is the only one. Its kernel crate lacks one allocation flag.
//!
//! C header: [`include/linux/gfp_types.h`](srctree/include/linux/gfp_types.h)

use core::mem;

use kernel::alloc::Flags;

use crate::bindings;

/// Fail, rather than have the OOM killer make room.
///
/// A request that would be charged to a memory cgroup at its limit reclaims, and then fails.
/// Without this flag, a process of the cgroup would be killed.
pub(crate) const __GFP_RETRY_MAYFAIL: Flags = {
    let bits = bindings::CTTIMEOUT_CONST___GFP_RETRY_MAYFAIL;
    // SAFETY: `Flags` is a structure of one field, a `u32`, as its size tells; its operators make
    // all combinations of bits.
    unsafe { mem::transmute::<u32, Flags>(bits) }
};
