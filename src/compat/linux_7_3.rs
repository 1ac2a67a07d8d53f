// SPDX-License-Identifier: GPL-2.0

//! Linux 7.3: everything is there.

pub(crate) use kernel::{
    error::code::{
        EOPNOTSUPP,
        EPROTONOSUPPORT, //
    },
    module::this_module,
    prelude::module,
    sync::{
        barrier::{
            smp_mb,
            Read,
            Write, //
        },
        rcu::synchronize_rcu,
    },
};

pub(crate) use pin_init::raw_try_init;

pub(crate) use crate::module_parameters;
