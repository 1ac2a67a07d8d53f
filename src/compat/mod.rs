// SPDX-License-Identifier: GPL-2.0

//! What the kernel crate has in each version of Linux that the module is for.
//!
//! The names are those of the newest version. For an older one, its file makes what that lacks; Kbuild
//! chooses the file. Nothing else in the module depends on the version.

#[cfg_attr(CTTIMEOUT_LINUX_7_2, path = "linux_7_2.rs")]
#[cfg_attr(not(CTTIMEOUT_LINUX_7_2), path = "linux_7_3.rs")]
mod linux;

pub(crate) use linux::*;
