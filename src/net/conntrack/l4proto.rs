// SPDX-License-Identifier: GPL-2.0

//! Layer 4 protocol trackers, as far as their timeouts go.
//!
//! Each tracker knows how to turn netlink attributes (seconds) into an array of timeouts (jiffies)
//! and back. How many there are and what they mean is its own business.
//!
//! C header:
//! [`include/net/netfilter/nf_conntrack_l4proto.h`][header]
//!
//! [header]: srctree/include/net/netfilter/nf_conntrack_l4proto.h

use core::{
    marker::PhantomData,
    ptr, //
};

use kernel::{
    error::to_result,
    ffi::c_void,
    prelude::*, //
};

use crate::{
    bindings,
    compat::EOPNOTSUPP,
    net::{
        netlink::{
            Attr,
            AttrTable,
            ExtAck,
            Message,
            NestedAttrs, //
        },
        netns::Net,
    },
    sync::rcu_map::WriteLock,
};

/// The largest number of timeouts that a tracker may have; TCP, with 14, has the most.
const MAX_WORDS: usize = 16;

/// Attribute tables have room for this many types, and the unused type 0.
const MAX_ATTRS: usize = MAX_WORDS;

/// A protocol tracker (`struct nf_conntrack_l4proto`). It lives as long as the kernel.
///
/// # Examples
///
/// ```ignore
/// # use kernel::{bindings, net::conntrack::l4proto::L4Proto};
/// let number = bindings::IPPROTO_UDP as u8;
/// let udp = L4Proto::find(number).ok_or(ENOENT)?;
/// assert_eq!(udp.number(), number);
/// // What has no tracker of its own is not mistaken for the generic one.
/// assert!(L4Proto::find(254).is_none());
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Copy)]
pub(crate) struct L4Proto(&'static bindings::nf_conntrack_l4proto);

impl L4Proto {
    /// The tracker of this IP protocol number. 255 is the generic tracker.
    ///
    /// Returns [`None`] if the kernel has none.
    pub(crate) fn find(number: u8) -> Option<Self> {
        // SAFETY: The function always returns a pointer to a static.
        let proto = Self(unsafe { &*bindings::nf_ct_l4proto_find(number) });
        // For an unknown protocol, it is the generic tracker.
        (proto.number() == number).then_some(proto)
    }

    /// Borrows a tracker.
    ///
    /// # Safety
    ///
    /// `proto` must be a tracker of the kernel's.
    pub(super) unsafe fn from_raw(proto: *const bindings::nf_conntrack_l4proto) -> Self {
        // SAFETY: By the caller's promise; trackers are statics of the conntrack core, which its
        // callers depend on.
        Self(unsafe { &*proto })
    }

    /// The C structure.
    pub(super) fn as_raw(self) -> *const bindings::nf_conntrack_l4proto {
        self.0
    }

    /// The IP protocol number.
    pub(crate) fn number(self) -> u8 {
        self.0.l4proto
    }

    /// The size of the array of timeouts in bytes.
    pub(super) fn timeouts_size(self) -> usize {
        self.0.ctnl_timeout.obj_size.into()
    }

    /// Parses the attributes nested in `attr`: timeouts in seconds, by state.
    ///
    /// Fails with `EOPNOTSUPP` if the tracker has more types than the table has room for, and with
    /// the parser's errors, which are then reported in `ack`.
    pub(crate) fn parse<'t, 'a>(
        self,
        attr: Attr<'a>,
        table: &'t mut TimeoutAttrTable,
        ack: &mut ExtAck<'_>,
    ) -> Result<TimeoutAttrs<'t, 'a>> {
        let ops = &self.0.ctnl_timeout;
        // SAFETY: The tracker's policy has an entry for each type up to its maximum, and is static.
        let attrs = unsafe { attr.parse_nested(ops.nlattr_max, ops.nla_policy, table, ack) }?;
        // INVARIANT: Parsed with the tracker's maximum.
        Ok(TimeoutAttrs { proto: self, attrs })
    }

    /// No timeouts from user space: to convert this gives the defaults.
    ///
    /// Fails with `EOPNOTSUPP` if the tracker has more types than this module is made for.
    #[allow(dead_code, reason = "for unit tests and examples")]
    pub(crate) fn no_attrs(self) -> Result<TimeoutAttrs<'static, 'static>> {
        if usize::from(self.0.ctnl_timeout.nlattr_max) >= MAX_ATTRS {
            return Err(EOPNOTSUPP);
        }
        // INVARIANT: There are enough null pointers, as just checked.
        Ok(TimeoutAttrs {
            proto: self,
            attrs: NestedAttrs::none::<MAX_ATTRS>(),
        })
    }

    /// The timeouts that flows of this protocol have in `net` by default.
    ///
    /// Fails with `EOPNOTSUPP` if the kernel keeps none.
    pub(crate) fn defaults(self, net: &Net) -> Result<DefaultTimeouts<'_>> {
        let net = net.as_raw();
        // SAFETY: A `Net` is a valid namespace, and what trackers keep in it is part of it.
        let words: *const u32 = unsafe {
            match self.number().into() {
                bindings::IPPROTO_ICMP => {
                    &raw const (*bindings::cttimeout_helper_nf_icmp_pernet(net)).timeout
                }
                bindings::IPPROTO_TCP => {
                    (&raw const (*bindings::cttimeout_helper_nf_tcp_pernet(net)).timeouts).cast()
                }
                bindings::IPPROTO_UDP => {
                    (&raw const (*bindings::cttimeout_helper_nf_udp_pernet(net)).timeouts).cast()
                }
                bindings::IPPROTO_ICMPV6 => {
                    &raw const (*bindings::cttimeout_helper_nf_icmpv6_pernet(net)).timeout
                }
                #[cfg(CONFIG_NF_CT_PROTO_SCTP)]
                bindings::IPPROTO_SCTP => {
                    (&raw const (*bindings::cttimeout_helper_nf_sctp_pernet(net)).timeouts).cast()
                }
                #[cfg(CONFIG_NF_CT_PROTO_GRE)]
                bindings::IPPROTO_GRE => {
                    (&raw const (*bindings::cttimeout_helper_nf_gre_pernet(net)).timeouts).cast()
                }
                // The generic tracker's.
                bindings::IPPROTO_RAW => {
                    &raw const (*bindings::cttimeout_helper_nf_generic_pernet(net)).timeout
                }
                _ => return Err(EOPNOTSUPP),
            }
        };
        // INVARIANT: The tracker itself takes from there what is absent from a policy, so the two arrays
        // are of the same size.
        Ok(DefaultTimeouts {
            proto: self,
            words,
            _net: PhantomData,
        })
    }
}

/// The timeouts of one protocol in a namespace, where packets and sysctls find them.
///
/// # Invariants
///
/// `words` is the tracker's array, of `proto.timeouts_size()` bytes, in a namespace that stays during
/// `'a`.
pub(crate) struct DefaultTimeouts<'a> {
    proto: L4Proto,
    words: *const u32,
    _net: PhantomData<&'a Net>,
}

impl DefaultTimeouts<'_> {
    /// The protocol they are for.
    pub(crate) fn proto(&self) -> L4Proto {
        self.proto
    }

    /// Appends them to a message, in seconds, as attributes of the protocol's own types.
    ///
    /// The values need not be of one moment: a writer, or a sysctl, may be half way through.
    pub(crate) fn put(&self, msg: &mut Message<'_>) -> Result {
        // SAFETY: By the type invariant the array is as large as the tracker takes it for. Nothing locks
        // it; it is read by the word, and each word stands for itself.
        unsafe { put_timeouts(self.proto, self.words.cast(), msg) }
    }
}

/// Room for timeouts as user space gives them.
pub(crate) type TimeoutAttrTable = AttrTable<MAX_ATTRS>;

/// Timeouts as user space gave them, parsed but not yet used.
///
/// # Invariants
///
/// The table has an entry for each type that the tracker knows.
#[derive(Clone, Copy)]
pub(crate) struct TimeoutAttrs<'t, 'a> {
    proto: L4Proto,
    attrs: NestedAttrs<'t, 'a>,
}

impl<'t, 'a> TimeoutAttrs<'t, 'a> {
    /// The protocol they are for.
    pub(crate) fn proto(self) -> L4Proto {
        self.proto
    }

    /// Has the tracker convert them.
    ///
    /// # Safety
    ///
    /// `data` must be null or valid for writes of `timeouts_size()` bytes.
    pub(super) unsafe fn convert(self, net: &Net, data: *mut c_void) -> Result {
        let ops = &self.proto.0.ctnl_timeout;
        let convert = ops.nlattr_to_obj.ok_or(EOPNOTSUPP)?;
        // SAFETY: By the type invariant and the caller's promise.
        to_result(unsafe { convert(self.attrs.as_raw(), net.as_raw(), data) })
    }

    /// The attributes that are there, each a number of seconds (32 bits).
    pub(crate) fn iter(self) -> impl Iterator<Item = Attr<'a>> + 't
    where
        'a: 't,
    {
        self.attrs.iter()
    }

    /// Converts them to timeouts; those that are absent take the default of `net`.
    ///
    /// Does not check that the values are in range. Fails with `EOPNOTSUPP` if the tracker has
    /// more timeouts than this module is made for.
    pub(crate) fn to_timeouts(self, net: &Net) -> Result<Timeouts> {
        let mut timeouts = Timeouts {
            proto: self.proto,
            words: [0; MAX_WORDS],
        };
        let size = self.proto.timeouts_size();
        if size > size_of_val(&timeouts.words) || size % size_of::<u32>() != 0 {
            return Err(EOPNOTSUPP);
        }
        // SAFETY: The array has room for `size` bytes, as just checked.
        unsafe { self.convert(net, timeouts.words.as_mut_ptr().cast()) }?;
        Ok(timeouts)
    }

    /// Makes them the defaults of `net`; those that are absent stay as they are.
    ///
    /// Packets see each new value at once.
    pub(crate) fn set_defaults(self, net: &Net, _lock: &impl WriteLock) -> Result {
        // SAFETY: Null asks the tracker to write to its own data in `net`.
        unsafe { self.convert(net, ptr::null_mut()) }
    }
}

/// All timeouts of one protocol, in jiffies, by the tracker's own numbers.
///
/// # Invariants
///
/// The tracker's array fits in `words` and is a whole number of them.
pub(crate) struct Timeouts {
    proto: L4Proto,
    words: [u32; MAX_WORDS],
}

impl Timeouts {
    /// The protocol they are for.
    pub(crate) fn proto(&self) -> L4Proto {
        self.proto
    }

    /// The values themselves.
    pub(crate) fn words(&self) -> &[u32] {
        let len = self.proto.timeouts_size() / size_of::<u32>();
        self.words.get(..len).unwrap_or_default()
    }
}

/// Appends timeouts to a message. Fails with `EMSGSIZE` if there is no room.
///
/// # Safety
///
/// `data` must be valid for reads of `proto.timeouts_size()` bytes.
pub(super) unsafe fn put_timeouts(
    proto: L4Proto,
    data: *const c_void,
    msg: &mut Message<'_>,
) -> Result {
    let put = proto.0.ctnl_timeout.obj_to_nlattr.ok_or(EOPNOTSUPP)?;
    // SAFETY: By the caller's promise; the message is under construction.
    match unsafe { put(msg.as_raw(), data) } {
        0.. => Ok(()),
        // Trackers return ENOSPC; netlink's error for a full buffer is EMSGSIZE.
        _ => Err(EMSGSIZE),
    }
}
