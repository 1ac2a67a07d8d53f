// SPDX-License-Identifier: GPL-2.0

//! A second nfnetlink subsystem, for tests: one total for each network namespace.
//!
//! It is written with nothing but the abstractions that the timeout policies stand on, and so shows
//! that they are not made for those alone. It takes the number of `nfnetlink_cttimeout_rust`, but
//! not its hooks: what that module does when it is loaded second, one step into its registrations,
//! is what `cttimeout_module.sh` tests with it.

#[path = "../../src/bindings.rs"]
mod bindings;
#[path = "../../src/net/mod.rs"]
#[allow(dead_code, unused_macros)]
mod net;

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
        Net,
        PerNet,
        PernetRegistration, //
    },
    nfnetlink::{
        dump::{
            Dump,
            DumpBuffer, //
        },
        Callback,
        Command,
        Request,
        Subsystem,
        SubsystemRegistration, //
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
    unsafe fn init(_net: &Net) -> impl PinInit<Self, Error> {
        Ok::<_, Error>(Self(Atomic::new(0)))
    }
}

/// The subsystem.
struct Totals;

/// A number to add, or the total: 32 bits.
const NUMBER: u16 = 1;

#[vtable]
impl Subsystem for Totals {
    type Data = Total;
    type Refusal<'a> = Error;
    const NAME: &'static CStr = c"totals";
    const ID: u8 = bindings::NFNL_SUBSYS_CTNETLINK_TIMEOUT as u8;
    const POLICY: &'static [AttrPolicy] = &[AttrPolicy::unspecified(), AttrPolicy::u32()];
    const CALLBACKS: &'static [Callback<Self>] = &[Callback::new::<Add>(), Callback::new::<Get>()];
}

/// Adds a number to the total.
struct Add;

impl Command<Totals> for Add {
    fn call<'a>(req: &Request<'a, Totals>, ack: &mut ExtAck<'_>) -> Result {
        let attr = req.attrs().get(NUMBER).ok_or_else(|| {
            ack.set_missing(NUMBER);
            EINVAL
        })?;
        let number = attr.get_be32()?;
        let total = &req.data().0;
        let mut old = total.load(Relaxed);
        loop {
            let Some(sum) = old.checked_add(number) else {
                ack.set_msg("the total would be too large");
                ack.set_bad_attr(attr);
                return Err(ERANGE);
            };
            // Commands of a namespace run side by side.
            match total.cmpxchg(old, sum, Relaxed) {
                Ok(_) => return Ok(()),
                Err(now) => old = now,
            }
        }
    }
}

/// Answers with the total, or with all that there are, which is one.
struct Get;

impl Command<Totals> for Get {
    fn call<'a>(req: &Request<'a, Totals>, _ack: &mut ExtAck<'_>) -> Result {
        if req.is_dump() {
            return req.start_dump::<Get>();
        }
        req.reply(1, |msg| put(msg, req.data()))
    }
}

impl Dump<Totals> for Get {
    /// How many were sent.
    type Cursor = u32;

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
    _registration: SubsystemRegistration<Totals, PernetRegistration<Total>>,
}

impl kernel::Module for TotalsModule {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        Ok(Self {
            _registration: SubsystemRegistration::new(PernetRegistration::new()?)?,
        })
    }
}
