// SPDX-License-Identifier: GPL-2.0

//! The five commands. Each parses its request, decides, and answers.
//!
//! Those that change something run under the subsystem's mutex; those that only read run under RCU.

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
    policy::{
        retire,
        Entry,
        Name, //
    },
    table::{
        Cursor,
        Found,
        Policies,
        Vacancy, //
    },
};

use crate::{
    alloc::__GFP_RETRY_MAYFAIL,
    bindings,
    module::ModuleRef,
    net::{
        conntrack::{
            detach::{
                detach,
                DetachBatch, //
            },
            l4proto::TimeoutAttrTable,
            timeout::UniqueTimeout, //
        },
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
            Locked,
            MutexCommand,
            RcuCommand,
            ReadSection,
            Request,
            Subsystem, //
        },
    },
    sync::rcu_map::Place,
    trace,
    LocalModule, //
};

/// The subsystem `NFNL_SUBSYS_CTNETLINK_TIMEOUT`.
pub(crate) struct CtTimeout;

type Req<'a> = Request<'a, CtTimeout>;

const NEW: u8 = bindings::ctnl_timeout_msg_types_IPCTNL_MSG_TIMEOUT_NEW as u8;
const DEFAULT_SET: u8 = bindings::ctnl_timeout_msg_types_IPCTNL_MSG_TIMEOUT_DEFAULT_SET as u8;

impl Subsystem for CtTimeout {
    type Module = LocalModule;
    type Data = Policies;
    const NAME: &'static CStr = c"conntrack_timeout";
    const ID: u8 = bindings::NFNL_SUBSYS_CTNETLINK_TIMEOUT as u8;
    const POLICY: &'static [AttrPolicy] = &attrs::POLICY;
    // In the order of `enum ctnl_timeout_msg_types`.
    const CALLBACKS: &'static [Callback<Self>] = &[
        Callback::mutex::<New>(),
        Callback::rcu::<Get>(),
        Callback::mutex::<Delete>(),
        Callback::mutex::<DefaultSet>(),
        Callback::rcu::<DefaultGet>(),
    ];
}

/// `IPCTNL_MSG_TIMEOUT_NEW`: creates a policy, or changes the timeouts of one.
struct New;

impl MutexCommand<CtTimeout> for New {
    fn call(req: &Req<'_>, ack: &mut ExtAck<'_>, lock: &mut Locked<CtTimeout>) -> Result {
        new(req, ack, lock).map_err(|refusal| refusal.report(ack))
    }
}

fn new<'a>(req: &Req<'a>, ack: &mut ExtAck<'_>, lock: &mut Locked<CtTimeout>) -> Outcome<'a> {
    let attrs = RequestAttrs(req.attrs());
    attrs.require(attrs::NAME)?;
    let l3num = attrs.require(attrs::L3PROTO)?.be16()?;
    attrs.require(attrs::L4PROTO)?;
    attrs.require(attrs::DATA)?;

    let Some((name_attr, name)) = attrs.name()? else {
        return Err(Reason::Missing(attrs::NAME).into());
    };
    match req.data().entry(lock, &name) {
        Place::Vacant(place) => create(req, ack, place, attrs, l3num, name),
        Place::Occupied(_) if req.has_flags(bindings::NLM_F_EXCL) => {
            Err(Refusal::at(name_attr, Reason::Exists))
        }
        Place::Occupied(found) if req.has_flags(bindings::NLM_F_REPLACE) => {
            replace(req, ack, attrs, l3num, found)
        }
        Place::Occupied(_) => Err(Refusal::at(name_attr, Reason::NotReplaced)),
    }
}

fn replace<'a>(
    req: &Req<'a>,
    ack: &mut ExtAck<'_>,
    attrs: RequestAttrs<'a>,
    l3num: u16,
    found: Found<'_>,
) -> Outcome<'a> {
    let (policy, lock) = found.get_locked();
    if policy.l3num() != l3num {
        let reason = Reason::OtherL3 {
            old: policy.l3num(),
            new: l3num,
        };
        return Err(Refusal::at(attrs.require(attrs::L3PROTO)?, reason));
    }
    let l4_attr = attrs.require(attrs::L4PROTO)?;
    let (old, new) = (policy.proto().number(), l4_attr.u8()?);
    if old != new {
        return Err(Refusal::at(l4_attr, Reason::OtherL4 { old, new }));
    }
    let mut table = TimeoutAttrTable::new();
    let timeouts = attrs
        .timeouts(policy.proto(), &mut table, ack)?
        .to_timeouts(req.net())?;
    policy.replace(&timeouts, lock)?;
    trace::replace(req.net(), policy);
    Ok(())
}

fn create<'a>(
    req: &Req<'a>,
    ack: &mut ExtAck<'_>,
    place: Vacancy<'_>,
    attrs: RequestAttrs<'a>,
    l3num: u16,
    name: Name,
) -> Outcome<'a> {
    let mut table = TimeoutAttrTable::new();
    let proto = attrs.l4proto()?;
    let timeouts = attrs.timeouts(proto, &mut table, ack)?;
    let entry = Entry::new(name);
    let module = ModuleRef::try_get().ok_or(Reason::GoingAway)?;
    // Charged to the caller's memory cgroup; at its limit, this command fails, and no process is
    // killed.
    let flags = GFP_KERNEL_ACCOUNT | __GFP_RETRY_MAYFAIL;
    let policy = UniqueTimeout::new(l3num, timeouts, req.net(), entry, module, flags)?;
    place.insert(policy, flags)?;
    trace::create(req.net(), &name, l3num, proto);
    Ok(())
}

/// `IPCTNL_MSG_TIMEOUT_GET`: answers with one policy or, in a dump, with all.
struct Get;

impl RcuCommand<CtTimeout> for Get {
    fn call(req: Req<'_>, ack: &mut ExtAck<'_>, rcu: ReadSection) -> Result {
        if req.is_dump() {
            return req.start_dump::<Get>(rcu);
        }
        get(&req, &rcu).map_err(|refusal| refusal.report(ack))
    }
}

fn get<'a>(req: &Req<'a>, rcu: &rcu::Guard) -> Outcome<'a> {
    let (name_attr, name) = RequestAttrs(req.attrs())
        .name()?
        .ok_or(Reason::Missing(attrs::NAME))?;
    let policy = req
        .data()
        .get(&name, rcu)
        .ok_or(Refusal::at(name_attr, Reason::NotFound))?;
    Ok(req.reply(NEW, |msg| attrs::put_policy(msg, policy))?)
}

impl Dump<CtTimeout> for Get {
    type Cursor = Cursor;

    fn generation(policies: &Policies) -> u32 {
        policies.generation()
    }

    fn fill(
        policies: &Policies,
        out: &mut DumpBuffer<'_, CtTimeout>,
        cursor: &mut Cursor,
        rcu: &rcu::Guard,
    ) -> Result {
        policies.for_each_from(cursor, rcu, |policy| {
            out.message(NEW, |msg| attrs::put_policy(msg, policy))
        })
    }
}

/// `IPCTNL_MSG_TIMEOUT_DELETE`: deletes one policy or, without a name, all that no rule uses.
struct Delete;

impl MutexCommand<CtTimeout> for Delete {
    fn call(req: &Req<'_>, ack: &mut ExtAck<'_>, lock: &mut Locked<CtTimeout>) -> Result {
        match RequestAttrs(req.attrs()).name() {
            Ok(Some((attr, name))) => delete(req, lock, attr, &name),
            Ok(None) => {
                flush(req, ack, lock);
                Ok(())
            }
            Err(refusal) => Err(refusal),
        }
        .map_err(|refusal| refusal.report(ack))
    }
}

fn delete<'a>(
    req: &Req<'a>,
    lock: &mut Locked<CtTimeout>,
    name_attr: Attr<'a>,
    name: &Name,
) -> Outcome<'a> {
    let Place::Occupied(found) = req.data().entry(lock, name) else {
        return Err(Refusal::at(name_attr, Reason::NotFound));
    };
    found
        .with_owner(retire)
        .map_err(|reason| Refusal::at(name_attr, reason))?;
    let policy = found.remove();
    trace::delete(req.net(), policy.borrow());
    detach(policy, req.net());
    Ok(())
}

fn flush(req: &Req<'_>, ack: &mut ExtAck<'_>, lock: &mut Locked<CtTimeout>) {
    let mut kept = 0u32;
    let mut batch = DetachBatch::new(req.net());
    req.data().remove_if(
        lock,
        |policy| {
            let retired = retire(policy).is_ok();
            kept += u32::from(!retired);
            retired
        },
        |policy| {
            trace::delete(req.net(), policy.borrow());
            batch.push(policy);
        },
    );
    drop(batch);

    match kept {
        0 => (),
        1 => ack.set_message("1 policy is used by rules and was kept"),
        _ => ack.set_message(fmt!("{kept} policies are used by rules and were kept")),
    }
}

/// `IPCTNL_MSG_TIMEOUT_DEFAULT_SET`: sets the default timeouts of a protocol in the namespace.
struct DefaultSet;

impl MutexCommand<CtTimeout> for DefaultSet {
    fn call(req: &Req<'_>, ack: &mut ExtAck<'_>, lock: &mut Locked<CtTimeout>) -> Result {
        default_set(req, ack, lock).map_err(|refusal| refusal.report(ack))
    }
}

fn default_set<'a>(
    req: &Req<'a>,
    ack: &mut ExtAck<'_>,
    lock: &mut Locked<CtTimeout>,
) -> Outcome<'a> {
    let attrs = RequestAttrs(req.attrs());
    attrs.require(attrs::L4PROTO)?;
    attrs.require(attrs::DATA)?;
    let mut table = TimeoutAttrTable::new();
    Ok(attrs
        .timeouts(attrs.l4proto()?, &mut table, ack)?
        .set_defaults(req.net(), lock)?)
}

/// `IPCTNL_MSG_TIMEOUT_DEFAULT_GET`: answers with the default timeouts of a protocol.
struct DefaultGet;

impl RcuCommand<CtTimeout> for DefaultGet {
    fn call(req: Req<'_>, ack: &mut ExtAck<'_>, _rcu: ReadSection) -> Result {
        default_get(&req).map_err(|refusal| refusal.report(ack))
    }
}

fn default_get<'a>(req: &Req<'a>) -> Outcome<'a> {
    let attrs = RequestAttrs(req.attrs());
    let l3num = attrs.require(attrs::L3PROTO)?.be16()?;
    let timeouts = attrs.l4proto()?.defaults(req.net())?;
    // The answer has the type of the command that takes the same attributes.
    Ok(req.reply(DEFAULT_SET, |msg| {
        attrs::put_defaults(msg, l3num, &timeouts)
    })?)
}
