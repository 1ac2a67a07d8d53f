// SPDX-License-Identifier: GPL-2.0

//! Allocation flags that the kernel crate lacks.
//!
//! C header: [`include/linux/gfp_types.h`](srctree/include/linux/gfp_types.h)

use core::mem;

use kernel::alloc::Flags;

use crate::bindings;

/// Fail, rather than have the OOM killer make room.
///
/// If a memory cgroup is at its limit, a request that would be charged to it just fails. Without
/// this flag, a process would be killed, and not necessarily the one that asked.
///
/// This is normally or'd with other flags.
pub(crate) const __GFP_RETRY_MAYFAIL: Flags = {
    let bits = bindings::CTTIMEOUT_CONST___GFP_RETRY_MAYFAIL;
    // SAFETY: `Flags` is a structure of one field, a `u32`, and nothing else, as its size tells; its
    // operators make all combinations of bits.
    unsafe { mem::transmute::<u32, Flags>(bits) }
};
