// SPDX-License-Identifier: GPL-2.0

//! Reasons to refuse a request ([`Reason`], [`Refusal`]), in a form that user space understands.
//!
//! The error numbers are those that clients have relied on since 2012; the text and the pointer to
//! the attribute come with them in the extended acknowledgment.

use kernel::{
    alloc::AllocError,
    fmt,
    prelude::*, //
};

use crate::net::{
    netlink::{
        Attr,
        ExtAck, //
    },
    nfnetlink::Report,
};

/// The reason to refuse a request.
#[derive(Clone, Copy)]
pub(crate) enum Reason {
    /// A required attribute is missing.
    Missing(u16),
    /// There is no such policy.
    NotFound,
    /// There is one already, and `NLM_F_EXCL` asks for a new one.
    Exists,
    /// There is one already, and `NLM_F_REPLACE` is not set, so it is not changed.
    NotReplaced,
    /// A policy cannot change the address family it is for.
    OtherL3 { old: u16, new: u16 },
    /// A policy cannot change the protocol it is for.
    OtherL4 { old: u8, new: u8 },
    /// The kernel does not track this protocol.
    Untracked(u8),
    /// Rules use the policy.
    InUse { rules: u32 },
}

impl Reason {
    fn errno(self) -> Error {
        match self {
            Reason::Missing(_) | Reason::OtherL3 { .. } | Reason::OtherL4 { .. } => EINVAL,
            Reason::NotFound => ENOENT,
            Reason::Exists => EEXIST,
            Reason::NotReplaced | Reason::InUse { .. } => EBUSY,
            Reason::Untracked(_) => EOPNOTSUPP,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Reason::Missing(attr) => f.write_fmt(fmt!("required attribute {attr} is missing")),
            Reason::NotFound => f.write_str("no policy has this name"),
            Reason::Exists => f.write_str("a policy has this name already"),
            Reason::NotReplaced => {
                f.write_str("a policy has this name already, and NLM_F_REPLACE is not set")
            }
            Reason::OtherL3 { old, new } => {
                f.write_fmt(fmt!("the policy is for layer 3 protocol {old}, not {new}"))
            }
            Reason::OtherL4 { old, new } => {
                f.write_fmt(fmt!("{} cannot replace {}", Protocol(new), Protocol(old)))
            }
            Reason::Untracked(number) => {
                f.write_fmt(fmt!("{} is not tracked by this kernel", Protocol(number)))
            }
            Reason::InUse { rules: 1 } => f.write_str("policy is used by 1 rule"),
            Reason::InUse { rules } => f.write_fmt(fmt!("policy is used by {rules} rules")),
        }
    }
}

/// An IP protocol number, by the name that `/etc/protocols` has for it.
struct Protocol(u8);

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            1 => "icmp",
            6 => "tcp",
            17 => "udp",
            33 => "dccp",
            47 => "gre",
            58 => "ipv6-icmp",
            132 => "sctp",
            136 => "udplite",
            255 => "generic",
            number => return f.write_fmt(fmt!("protocol {number}")),
        })
    }
}

/// A request that is refused: the reason, and the attribute to blame, if there is one.
///
/// A refusal by a function of the kernel has only an error number; the message that the function
/// may have left in the extack is kept.
pub(crate) struct Refusal<'a> {
    errno: Error,
    reason: Option<Reason>,
    attr: Option<Attr<'a>>,
}

/// The result type of the commands and their parts.
pub(crate) type Outcome<'a, T = ()> = core::result::Result<T, Refusal<'a>>;

impl<'a> Refusal<'a> {
    /// Blames an attribute.
    pub(crate) fn at(attr: Attr<'a>, reason: Reason) -> Self {
        Self {
            attr: Some(attr),
            ..reason.into()
        }
    }
}

impl Report for Refusal<'_> {
    fn report(self, ack: &mut ExtAck<'_>) -> Error {
        if let Some(reason) = self.reason {
            ack.set_msg(reason);
        }
        if let Some(Reason::Missing(attr_type)) = self.reason {
            ack.set_missing(attr_type);
        }
        if let Some(attr) = self.attr {
            ack.set_bad_attr(attr);
        }
        self.errno
    }
}

impl From<Reason> for Refusal<'_> {
    fn from(reason: Reason) -> Self {
        Self {
            errno: reason.errno(),
            reason: Some(reason),
            attr: None,
        }
    }
}

impl From<Error> for Refusal<'_> {
    fn from(err: Error) -> Self {
        Self {
            errno: err,
            reason: None,
            attr: None,
        }
    }
}

impl From<AllocError> for Refusal<'_> {
    fn from(_: AllocError) -> Self {
        ENOMEM.into()
    }
}
