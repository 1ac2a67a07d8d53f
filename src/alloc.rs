// SPDX-License-Identifier: GPL-2.0

//! Allocation flags that the kernel crate lacks.
//!
//! C header: [`include/linux/gfp_types.h`](srctree/include/linux/gfp_types.h)

use core::mem;

use kernel::alloc::Flags;

use crate::bindings;

/// Rather fail than end processes to make room.
///
/// Where a memory cgroup is at its limit, that is all that happens to a request that would be charged to
/// it. The process that is ended otherwise might not be the one that asks.
///
/// This is normally or'd with other flags.
pub(crate) const __GFP_RETRY_MAYFAIL: Flags = {
    let bits = bindings::CTTIMEOUT_CONST___GFP_RETRY_MAYFAIL;
    // SAFETY: `Flags` is a structure of one field, a `u32`, and nothing else, as its size tells; its
    // operators make all combinations of bits.
    unsafe { mem::transmute::<u32, Flags>(bits) }
};
