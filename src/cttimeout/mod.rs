// SPDX-License-Identifier: GPL-2.0

//! Conntrack timeout policies: the logic of the module, free of `unsafe`.
//!
//! Requests arrive in [`commands`], which finds policies in the namespace's table, and reads and
//! writes messages with [`attrs`]. The reasons to refuse a request are in [`error`].

pub(crate) mod attrs;
pub(crate) mod commands;
pub(crate) mod error;
