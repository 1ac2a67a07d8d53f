// SPDX-License-Identifier: GPL-2.0

//! Synchronization and RCU-protected containers that the kernel crate lacks.
//!
//! [`RcuMap`](rcu_map::RcuMap) is what users want; the list and the hash table are its parts.

pub(crate) mod rcu;
pub(crate) mod rcu_list;
pub(crate) mod rcu_map;
pub(crate) mod refcount;
pub(crate) mod rhashtable;
