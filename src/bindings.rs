// SPDX-License-Identifier: GPL-2.0

//! Raw bindings to nfnetlink and to conntrack timeouts.
//!
//! Generated from `include/bindings_helper.h`. Everything that the kernel crate's own bindings
//! have is re-exported, so that the rest of the module sees one `bindings`.

#![allow(
    clippy::all,
    clippy::ptr_as_ptr,
    clippy::ref_as_ptr,
    clippy::undocumented_unsafe_blocks,
    dead_code,
    improper_ctypes,
    missing_docs,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    unreachable_pub,
    unsafe_op_in_unsafe_fn
)]

use kernel::ffi;
use pin_init::MaybeZeroable;

#[doc(no_inline)]
pub(crate) use kernel::bindings::*;

include!(env!("CTTIMEOUT_BINDINGS"));
