// SPDX-License-Identifier: GPL-2.0

//! The attributes of messages: what a request may hold, and how a policy is written out.
//!
//! C header: [`include/uapi/linux/netfilter/nfnetlink_cttimeout.h`][header]
//!
//! [header]: srctree/include/uapi/linux/netfilter/nfnetlink_cttimeout.h

use kernel::prelude::*;

use super::error::{
    Outcome,
    Reason,
    Refusal, //
};

use crate::{
    bindings,
    conntrack::{
        l4proto::{
            DefaultTimeouts,
            L4Proto, //
        },
        name::{
            Name,
            TIMEOUT_NAME_MAX, //
        },
        timeout::Timeout,
    },
    net::netlink::{
        Attr,
        AttrPolicy,
        Attrs,
        Message, //
    },
};

/// The name of a policy: a string of up to 31 bytes, NUL-terminated.
pub(crate) const NAME: u16 = bindings::ctattr_timeout_CTA_TIMEOUT_NAME as u16;
/// The address family (`NFPROTO_*`) of the flows: 16 bits.
pub(crate) const L3PROTO: u16 = bindings::ctattr_timeout_CTA_TIMEOUT_L3PROTO as u16;
/// The IP protocol number of the flows: 8 bits. 255 stands for all without a tracker of their own.
pub(crate) const L4PROTO: u16 = bindings::ctattr_timeout_CTA_TIMEOUT_L4PROTO as u16;
/// The timeouts: nested attributes of the protocol's own types, each in seconds, 32 bits.
pub(crate) const DATA: u16 = bindings::ctattr_timeout_CTA_TIMEOUT_DATA as u16;
/// The use count of the policy, only in replies: 1, plus 1 for each rule; 32 bits.
pub(crate) const USE: u16 = bindings::ctattr_timeout_CTA_TIMEOUT_USE as u16;

/// The contents that each attribute may have, by type.
pub(crate) const POLICY: [AttrPolicy; USE as usize + 1] = {
    let mut policy = [const { AttrPolicy::unspecified() }; USE as usize + 1];
    policy[NAME as usize] = AttrPolicy::nul_string(TIMEOUT_NAME_MAX as u16 - 1);
    policy[L3PROTO as usize] = AttrPolicy::u16();
    policy[L4PROTO as usize] = AttrPolicy::u8();
    policy[DATA as usize] = AttrPolicy::nested();
    policy
};

/// The attributes of a request, with their meaning.
#[derive(Clone, Copy)]
pub(crate) struct RequestAttrs<'a>(pub(crate) Attrs<'a>);

impl<'a> RequestAttrs<'a> {
    /// An attribute that the command cannot do without.
    pub(crate) fn require(self, attr_type: u16) -> Outcome<'a, Attr<'a>> {
        Ok(self.0.get(attr_type).ok_or(Reason::Missing(attr_type))?)
    }

    /// The tracker that the request is for.
    pub(crate) fn l4proto(self) -> Outcome<'a, L4Proto> {
        let attr = self.require(L4PROTO)?;
        let number = attr.get_u8()?;
        L4Proto::find(number).ok_or(Refusal::at(attr, Reason::Untracked(number)))
    }
}

/// The name in an attribute.
pub(crate) fn name(attr: Attr<'_>) -> Result<Name> {
    // The netlink policy lets no other names pass.
    Name::new(attr.payload()).ok_or(EINVAL)
}

/// Writes a policy.
pub(crate) fn put_policy(msg: &mut Message<'_>, policy: &Timeout) -> Result {
    msg.put_string(NAME, policy.name().as_c_str())?;
    msg.put_be16(L3PROTO, policy.l3num())?;
    msg.put_u8(L4PROTO, policy.l4proto().number())?;
    // The table counts as a user as long as the policy can be found. A policy that is just being
    // deleted will not be found next time.
    msg.put_be32(USE, policy.users().max(1))?;
    msg.nest(DATA, |msg| policy.put_timeouts(msg))
}

/// Writes the defaults of a namespace.
pub(crate) fn put_defaults(
    msg: &mut Message<'_>,
    l3num: u16,
    timeouts: &DefaultTimeouts<'_>,
) -> Result {
    msg.put_be16(L3PROTO, l3num)?;
    msg.put_u8(L4PROTO, timeouts.l4proto().number())?;
    msg.nest(DATA, |msg| timeouts.put(msg))
}
