// SPDX-License-Identifier: GPL-2.0

//! A second nfnetlink subsystem, for tests: one total for each network namespace.
//!
//! It is written with nothing but the abstractions that the timeout policies stand on, and so shows
//! that they are not made for those alone. It takes the number of `nfnetlink_cttimeout_rust`, but not
//! its hooks: what that module does when it is loaded second, one step into its registrations, is
//! what `cttimeout_module.sh` tests with it.

#[path = "../../src/bindings.rs"]
mod bindings;
#[path = "../../src/compat/mod.rs"]
#[allow(dead_code, unused_imports, unused_macros)]
mod compat;
#[path = "../../src/module.rs"]
#[allow(dead_code)]
mod module;
#[path = "../../src/net/mod.rs"]
#[allow(dead_code, unused_imports, unused_macros)]
mod net;
#[path = "../../src/str.rs"]
#[allow(dead_code)]
mod str;
#[path = "../../src/sync/mod.rs"]
#[allow(dead_code, unused_imports)]
mod sync;

use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        rcu, //
    },
};

use crate::net::{
    netlink::{
        AttrPolicy,
        ExtAck,
        Message, //
    },
    netns::{
        self,
        PerNet, //
    },
    nfnetlink::{
        self,
        dump::{
            Dump,
            DumpBuffer, //
        },
        Callback,
        Locked,
        MutexCommand,
        RcuCommand,
        ReadSection,
        Request,
        Subsystem, //
    },
};

module! {
    type: TotalsModule,
    name: "cttimeout_test_subsystem",
    authors: ["The nfnetlink_cttimeout_rust developers"],
    description: "A small nfnetlink subsystem for tests",
    license: "GPL",
}

/// The total of a namespace.
struct Total(Atomic<u32>);

netns::declare_pernet!(Total);

impl PerNet for Total {
    fn init() -> impl PinInit<Self, Error> {
        Ok::<_, Error>(Self(Atomic::new(0)))
    }

    fn pre_exit(&self) {}
}

/// The subsystem.
struct Totals;

/// A number to add, or the total: 32 bits.
const NUMBER: u16 = 1;

impl Subsystem for Totals {
    type Module = LocalModule;
    type Data = Total;
    const NAME: &'static CStr = c"totals";
    const ID: u8 = bindings::NFNL_SUBSYS_CTNETLINK_TIMEOUT as u8;
    const POLICY: &'static [AttrPolicy] = &[AttrPolicy::unspecified(), AttrPolicy::u32()];
    const CALLBACKS: &'static [Callback<Self>] =
        &[Callback::mutex::<Add>(), Callback::rcu::<Get>()];
}

/// Adds a number to the total.
struct Add;

impl MutexCommand<Totals> for Add {
    fn call(req: &Request<'_, Totals>, ack: &mut ExtAck<'_>, _lock: &mut Locked<Totals>) -> Result {
        let attr = req.attrs().get(NUMBER).ok_or_else(|| {
            ack.set_missing(NUMBER);
            EINVAL
        })?;
        let total = &req.data().0;
        let Some(sum) = total.load(Relaxed).checked_add(attr.be32()?) else {
            ack.set_message("the total would be too large");
            ack.set_bad_attr(attr);
            return Err(ERANGE);
        };
        // No other command writes: this one runs under the mutex.
        total.store(sum, Relaxed);
        Ok(())
    }
}

/// Answers with the total, or with all that there are, which is one.
struct Get;

impl RcuCommand<Totals> for Get {
    fn call(req: Request<'_, Totals>, _ack: &mut ExtAck<'_>, rcu: ReadSection) -> Result {
        if req.is_dump() {
            return req.start_dump::<Get>(rcu);
        }
        req.reply(1, |msg| put(msg, req.data()))
    }
}

impl Dump<Totals> for Get {
    /// How many were sent.
    type Cursor = u32;

    /// None comes or goes.
    fn generation(_total: &Total) -> u32 {
        1
    }

    fn fill(
        total: &Total,
        out: &mut DumpBuffer<'_, Totals>,
        sent: &mut u32,
        _rcu: &rcu::Guard,
    ) -> Result {
        if *sent == 0 {
            out.message(1, |msg| put(msg, total))?;
            *sent += 1;
        }
        Ok(())
    }
}

fn put(msg: &mut Message<'_>, total: &Total) -> Result {
    msg.put_be32(NUMBER, total.0.load(Relaxed))
}

struct TotalsModule {
    _registration: nfnetlink::Registration<Totals, netns::Registration<Total>>,
}

impl kernel::Module for TotalsModule {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        Ok(Self {
            _registration: nfnetlink::Registration::new(netns::Registration::new()?)?,
        })
    }
}
