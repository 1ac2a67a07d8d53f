// SPDX-License-Identifier: GPL-2.0

//! What differs in the kernel crate between the supported versions of Linux.
//!
//! The names are those of the newest version. The file for an older version provides what that
//! lacks; Kbuild selects the file. Nothing else in the module depends on the version.

#[cfg_attr(CTTIMEOUT_LINUX_7_2, path = "linux_7_2.rs")]
#[cfg_attr(not(CTTIMEOUT_LINUX_7_2), path = "linux_7_3.rs")]
mod linux;

pub(crate) use linux::*;
