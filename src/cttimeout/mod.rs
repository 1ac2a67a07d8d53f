// SPDX-License-Identifier: GPL-2.0

//! Conntrack timeout policies: the logic of the module, free of `unsafe`.
//!
//! A request comes in at [`commands`], which asks the namespace's [`table`] and reads and writes
//! messages by means of [`attrs`]. Rules come in at [`hooks`]. Both end at a [`policy`]. What is
//! refused is refused with an [`error`].

pub(crate) mod attrs;
pub(crate) mod commands;
pub(crate) mod error;
pub(crate) mod hooks;
pub(crate) mod policy;
pub(crate) mod table;
