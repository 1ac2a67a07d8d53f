// SPDX-License-Identifier: GPL-2.0

//! Conntrack timeout policies: the logic of the module, free of `unsafe`.
//!
//! Requests arrive in [`commands`], which looks policies up in the namespace's [`table`], and reads
//! and writes messages with [`attrs`]. Rules arrive in [`hooks`]. Both lead to a [`policy`]. Why a
//! request is refused is in [`error`].

pub(crate) mod attrs;
pub(crate) mod commands;
pub(crate) mod error;
pub(crate) mod hooks;
pub(crate) mod policy;
pub(crate) mod table;
