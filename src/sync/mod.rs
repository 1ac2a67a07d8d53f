// SPDX-License-Identifier: GPL-2.0

//! Operations of RCU and of `refcount_t` that the kernel crate lacks.

pub(crate) mod rcu;
pub(crate) mod refcount;
