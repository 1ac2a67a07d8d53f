// SPDX-License-Identifier: GPL-2.0

//! The five commands, each of which parses its request, decides, and answers.
//!
//! C header: [`include/uapi/linux/netfilter/nfnetlink_cttimeout.h`][header]
//!
//! [header]: srctree/include/uapi/linux/netfilter/nfnetlink_cttimeout.h

use kernel::{
    prelude::*,
    sync::rcu, //
};

use super::{
    attrs::{
        self,
        RequestAttrs, //
    },
    error::{
        Outcome,
        Reason,
        Refusal, //
    },
};

use crate::{
    bindings,
    compat::__GFP_RETRY_MAYFAIL,
    conntrack::{
        l4proto::TimeoutAttrTable,
        table::{
            Cursor,
            Entry,
            OccupiedEntry,
            Table,
            VacantEntry, //
        },
    },
    module_parameters,
    net::{
        netlink::{
            Attr,
            AttrPolicy,
            ExtAck, //
        },
        nfnetlink::{
            dump::{
                Dump,
                DumpBuffer, //
            },
            Callback,
            Command,
            Request,
            Subsystem, //
        },
    },
    trace,
};

/// The subsystem `NFNL_SUBSYS_CTNETLINK_TIMEOUT`.
pub(crate) struct CtTimeout;

type Req<'a> = Request<'a, CtTimeout>;

const NEW: u8 = bindings::ctnl_timeout_msg_types_IPCTNL_MSG_TIMEOUT_NEW as u8;
const DEFAULT_SET: u8 = bindings::ctnl_timeout_msg_types_IPCTNL_MSG_TIMEOUT_DEFAULT_SET as u8;

#[vtable]
impl Subsystem for CtTimeout {
    type Data = Table;
    type Refusal<'a> = Refusal<'a>;
    const NAME: &'static CStr = c"conntrack_timeout";
    const ID: u8 = bindings::NFNL_SUBSYS_CTNETLINK_TIMEOUT as u8;
    const POLICY: &'static [AttrPolicy] = &attrs::POLICY;
    // In the order of `enum ctnl_timeout_msg_types`.
    const CALLBACKS: &'static [Callback<Self>] = &[
        Callback::new::<New>(),
        Callback::new::<Get>(),
        Callback::new::<Delete>(),
        Callback::new::<DefaultSet>(),
        Callback::new::<DefaultGet>(),
    ];
}

/// `IPCTNL_MSG_TIMEOUT_NEW`: creates a policy, or changes the timeouts of one.
struct New;

impl Command<CtTimeout> for New {
    fn call<'a>(req: &Req<'a>, ack: &mut ExtAck<'_>) -> Outcome<'a> {
        let attrs = RequestAttrs(req.attrs());
        let name_attr = attrs.require(attrs::NAME)?;
        let name = attrs::name(name_attr)?;
        let l3num = attrs.require(attrs::L3PROTO)?.get_be16()?;
        // A request without these is refused before its name is looked up.
        attrs.require(attrs::L4PROTO)?;
        attrs.require(attrs::DATA)?;

        match req.data().lock().entry(name) {
            Entry::Vacant(place) => create(req, ack, place, attrs, l3num),
            Entry::Occupied(_) if req.has_flags(bindings::NLM_F_EXCL) => {
                Err(Refusal::at(name_attr, Reason::Exists))
            }
            Entry::Occupied(policy) if req.has_flags(bindings::NLM_F_REPLACE) => {
                replace(req, ack, policy, attrs, l3num)
            }
            Entry::Occupied(_) => Err(Refusal::at(name_attr, Reason::NotReplaced)),
        }
    }
}

fn replace<'a>(
    req: &Req<'a>,
    ack: &mut ExtAck<'_>,
    mut policy: OccupiedEntry<'_, '_>,
    attrs: RequestAttrs<'a>,
    l3num: u16,
) -> Outcome<'a> {
    if policy.l3num() != l3num {
        let reason = Reason::OtherL3 {
            old: policy.l3num(),
            new: l3num,
        };
        return Err(Refusal::at(attrs.require(attrs::L3PROTO)?, reason));
    }
    let l4_attr = attrs.require(attrs::L4PROTO)?;
    let (old, new) = (policy.l4proto().number(), l4_attr.get_u8()?);
    if old != new {
        return Err(Refusal::at(l4_attr, Reason::OtherL4 { old, new }));
    }
    let mut table = TimeoutAttrTable::new();
    let data = attrs.require(attrs::DATA)?;
    policy.replace(policy.l4proto().parse(data, &mut table, ack)?)?;
    trace::replace(req.net(), &policy);
    Ok(())
}

fn create<'a>(
    req: &Req<'a>,
    ack: &mut ExtAck<'_>,
    place: VacantEntry<'_, '_>,
    attrs: RequestAttrs<'a>,
    l3num: u16,
) -> Outcome<'a> {
    let mut table = TimeoutAttrTable::new();
    let data = attrs.require(attrs::DATA)?;
    let timeouts = attrs.l4proto()?.parse(data, &mut table, ack)?;
    // Charged to the caller's memory cgroup; at its limit, this command fails, and no process is
    // killed.
    let policy = place.insert(l3num, timeouts, GFP_KERNEL_ACCOUNT | __GFP_RETRY_MAYFAIL)?;
    trace::create(req.net(), policy);
    Ok(())
}

/// `IPCTNL_MSG_TIMEOUT_GET`: answers with one policy or, in a dump, with all.
struct Get;

impl Command<CtTimeout> for Get {
    fn call<'a>(req: &Req<'a>, _ack: &mut ExtAck<'_>) -> Outcome<'a> {
        if req.is_dump() {
            return Ok(req.start_dump::<Get>()?);
        }
        let name_attr = RequestAttrs(req.attrs()).require(attrs::NAME)?;
        let name = attrs::name(name_attr)?;
        req.reply(NEW, |msg| {
            let rcu = rcu::read_lock();
            let policy = req.data().get(&name, &rcu);
            let policy = policy.ok_or(Refusal::at(name_attr, Reason::NotFound))?;
            Ok(attrs::put_policy(msg, policy)?)
        })
    }
}

impl Dump<CtTimeout> for Get {
    type Cursor = Cursor;

    fn fill(
        table: &Table,
        out: &mut DumpBuffer<'_, CtTimeout>,
        cursor: &mut Cursor,
        rcu: &rcu::Guard,
    ) -> Result {
        table.for_each_from(cursor, rcu, |policy| {
            out.message(NEW, |msg| attrs::put_policy(msg, policy))
        })
    }
}

/// `IPCTNL_MSG_TIMEOUT_DELETE`: deletes one policy or, without a name, all that no rule uses.
struct Delete;

impl Command<CtTimeout> for Delete {
    fn call<'a>(req: &Req<'a>, ack: &mut ExtAck<'_>) -> Outcome<'a> {
        match req.attrs().get(attrs::NAME) {
            Some(attr) => delete(req, attr),
            None => {
                flush(req, ack);
                Ok(())
            }
        }
    }
}

fn delete<'a>(req: &Req<'a>, name_attr: Attr<'a>) -> Outcome<'a> {
    let name = attrs::name(name_attr)?;
    let mut table = req.data().lock();
    let Entry::Occupied(policy) = table.entry(name) else {
        return Err(Refusal::at(name_attr, Reason::NotFound));
    };
    may_delete(&policy).map_err(|rules| Refusal::at(name_attr, Reason::InUse { rules }))?;
    trace::delete(req.net(), &policy);
    policy.remove();
    Ok(())
}

fn flush(req: &Req<'_>, ack: &mut ExtAck<'_>) {
    let mut kept: u32 = 0;
    req.data().lock().for_each(|policy| {
        if may_delete(&policy).is_ok() {
            trace::delete(req.net(), &policy);
            policy.remove();
        } else {
            kept += 1;
        }
    });
    match kept {
        0 => (),
        1 => ack.set_msg("1 policy is used by rules and was kept"),
        _ => ack.set_msg(fmt!("{kept} policies are used by rules and were kept")),
    }
}

/// Checks whether a policy may be deleted; the error is the number of rules that use it.
///
/// By default, no rule can get the policy from here on.
fn may_delete(policy: &OccupiedEntry<'_, '_>) -> Result<(), u32> {
    match policy.retire() {
        // The rules keep the object, and go on applying it until they are removed.
        Err(rules) if !module_parameters::detach_in_use.value() => Err(rules),
        _ => Ok(()),
    }
}

/// `IPCTNL_MSG_TIMEOUT_DEFAULT_SET`: sets the default timeouts of a protocol in the namespace.
struct DefaultSet;

impl Command<CtTimeout> for DefaultSet {
    fn call<'a>(req: &Req<'a>, ack: &mut ExtAck<'_>) -> Outcome<'a> {
        let attrs = RequestAttrs(req.attrs());
        attrs.require(attrs::L4PROTO)?;
        let data = attrs.require(attrs::DATA)?;
        let mut table = TimeoutAttrTable::new();
        let timeouts = attrs.l4proto()?.parse(data, &mut table, ack)?;
        Ok(req.data().lock().set_defaults(timeouts)?)
    }
}

/// `IPCTNL_MSG_TIMEOUT_DEFAULT_GET`: answers with the default timeouts of a protocol.
struct DefaultGet;

impl Command<CtTimeout> for DefaultGet {
    fn call<'a>(req: &Req<'a>, _ack: &mut ExtAck<'_>) -> Outcome<'a> {
        let attrs = RequestAttrs(req.attrs());
        let l3num = attrs.require(attrs::L3PROTO)?.get_be16()?;
        let timeouts = attrs.l4proto()?.defaults(req.net())?;
        // The answer has the type of the command that takes the same attributes.
        req.reply(DEFAULT_SET, |msg| {
            Ok(attrs::put_defaults(msg, l3num, &timeouts)?)
        })
    }
}
