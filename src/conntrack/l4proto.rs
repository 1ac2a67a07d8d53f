// SPDX-License-Identifier: GPL-2.0

//! Layer 4 protocol trackers, as far as their timeouts go ([`L4Proto`]).
//!
//! A tracker turns netlink attributes (seconds) into an array of timeouts (jiffies) and back. The
//! number of the timeouts and their meaning are the tracker's.
//!
//! C header:
//! [`include/net/netfilter/nf_conntrack_l4proto.h`][header]
//!
//! [header]: srctree/include/net/netfilter/nf_conntrack_l4proto.h

use core::marker::PhantomData;

use kernel::{
    error::to_result,
    ffi::c_void,
    prelude::*, //
};

use crate::{
    bindings,
    net::{
        netlink::{
            Attr,
            AttrTable,
            Be32Attr,
            ExtAck,
            Message, //
        },
        netns::Net,
    },
};

/// The largest timeout, in seconds, that conntrack can work with.
///
/// Conntrack compares points in time as signed 32-bit numbers of jiffies; a flow with a longer
/// timeout would count as expired at once.
pub(super) const MAX_TIMEOUT_SECS: u32 = i32::MAX as u32 / bindings::CONFIG_HZ;

/// A stand-in for longer timeouts.
static LONGEST: Be32Attr = Be32Attr::new(MAX_TIMEOUT_SECS);

/// The largest number of timeouts that a tracker may have; TCP, with 14, has the most.
pub(super) const MAX_WORDS: usize = 16;

/// Room for timeouts as user space gives them: as many types, and the unused type 0.
pub(crate) type TimeoutAttrTable<'a> = AttrTable<'a, MAX_WORDS>;

/// A protocol tracker (`struct nf_conntrack_l4proto`), which lives as long as the conntrack core.
#[derive(Clone, Copy)]
pub(crate) struct L4Proto(&'static bindings::nf_conntrack_l4proto);

impl L4Proto {
    /// The tracker of this IP protocol number, if the kernel has one; 255 is the generic tracker.
    #[doc(alias = "nf_ct_l4proto_find")]
    pub(crate) fn find(number: u8) -> Option<Self> {
        // SAFETY: The function always returns a pointer to a static of the conntrack core.
        let l4proto = Self(unsafe { &*bindings::nf_ct_l4proto_find(number) });
        // For an unknown protocol, `l4proto` is the generic tracker.
        (l4proto.number() == number).then_some(l4proto)
    }

    /// Borrows a tracker.
    ///
    /// # Safety
    ///
    /// `l4proto` must be one of the kernel's trackers.
    pub(super) unsafe fn from_raw(l4proto: *const bindings::nf_conntrack_l4proto) -> Self {
        // SAFETY: By the safety requirements of this function, `l4proto` is a static of the
        // conntrack core, which this module depends on.
        Self(unsafe { &*l4proto })
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
    pub(super) fn obj_size(self) -> usize {
        self.0.ctnl_timeout.obj_size.into()
    }

    /// Parses the attributes nested in `attr`: timeouts in seconds, by state.
    ///
    /// A timeout that is too long becomes [`MAX_TIMEOUT_SECS`]. A warning in `ack` says so, or that
    /// a timeout is 0; of several warnings, the last one stays.
    ///
    /// Fails with `EOPNOTSUPP` if the tracker has more types than the table has room for, and with
    /// the parser's errors, which are then reported in `ack`.
    pub(crate) fn parse<'t, 'a>(
        self,
        attr: Attr<'a>,
        table: &'t mut TimeoutAttrTable<'a>,
        ack: &mut ExtAck<'_>,
    ) -> Result<TimeoutAttrs<'t, 'a>> {
        let ops = &self.0.ctnl_timeout;
        // SAFETY: `nla_policy` is static, and has an entry for each type up to `nlattr_max`.
        let attrs = unsafe { attr.parse_nested(ops.nlattr_max, ops.nla_policy, table, ack) }?;
        for slot in attrs.iter_mut() {
            let Some(attr) = slot else { continue };
            let seconds = attr.get_be32()?;
            if !(1..=MAX_TIMEOUT_SECS).contains(&seconds) {
                *slot = Some(extreme(*attr, seconds, ack));
            }
        }
        // INVARIANT: `attrs` has `nlattr_max + 1` entries, as `parse_nested` makes them; `get_be32`
        // has found 4 bytes in each.
        Ok(TimeoutAttrs {
            l4proto: self,
            attrs,
        })
    }

    /// The timeouts that flows of this protocol have in `net` by default.
    ///
    /// Fails with `EOPNOTSUPP` if the kernel keeps none.
    pub(crate) fn defaults(self, net: &Net) -> Result<DefaultTimeouts<'_>> {
        let net = net.as_raw();
        // SAFETY: `net` is a valid namespace, and what trackers keep in it is part of it.
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
        // INVARIANT: The tracker itself copies timeouts from `words` to an array of `obj_size()`
        // bytes, so the two are of the same size. `net` stays during the lifetime of the value.
        Ok(DefaultTimeouts {
            l4proto: self,
            words,
            _net: PhantomData,
        })
    }
}

/// Warns of a timeout that is 0 or too long, and returns the attribute that takes its place.
///
/// Neither is an error, because the C module accepts both.
#[cold]
fn extreme<'a>(attr: Attr<'a>, seconds: u32, ack: &mut ExtAck<'_>) -> Attr<'a> {
    let number = attr.attr_type();
    if seconds == 0 {
        ack.set_msg(fmt!(
            "timeout attribute {number} is 0: flows in that state expire at once"
        ));
        return attr;
    }
    ack.set_msg(fmt!(
        "timeout attribute {number} is limited to {MAX_TIMEOUT_SECS} seconds"
    ));
    LONGEST.as_attr()
}

/// The timeouts of one protocol in a namespace, where packets and sysctls find them.
///
/// # Invariants
///
/// `words` is the tracker's array, of `l4proto.obj_size()` bytes, in a namespace that stays during
/// `'a`.
pub(crate) struct DefaultTimeouts<'a> {
    l4proto: L4Proto,
    words: *const u32,
    _net: PhantomData<&'a Net>,
}

impl DefaultTimeouts<'_> {
    /// Their protocol.
    pub(crate) fn l4proto(&self) -> L4Proto {
        self.l4proto
    }

    /// Appends them to a message, in seconds, as attributes of the protocol's own types.
    ///
    /// The values need not be of one moment: a writer, or a sysctl, may be half way through.
    pub(crate) fn put(&self, msg: &mut Message<'_>) -> Result {
        // SAFETY: By the type invariant `words` is valid for `obj_size()` bytes. No lock is needed:
        // the array is read by the word, and each word stands for itself.
        unsafe { put_timeouts(self.l4proto, self.words.cast(), msg) }
    }
}

/// Timeouts as user space gave them, parsed but not yet used.
///
/// # Invariants
///
/// The table has an entry for each type that the tracker knows. Each attribute in it has a payload
/// of at least 4 bytes.
#[derive(Clone, Copy)]
pub(crate) struct TimeoutAttrs<'t, 'a> {
    l4proto: L4Proto,
    attrs: &'t [Option<Attr<'a>>],
}

impl TimeoutAttrs<'_, '_> {
    /// No timeouts from user space: they stand for the defaults.
    #[cfg(CTTIMEOUT_KUNIT)]
    pub(crate) fn none(l4proto: L4Proto) -> Result<Self> {
        if usize::from(l4proto.0.ctnl_timeout.nlattr_max) >= MAX_WORDS {
            return Err(EOPNOTSUPP);
        }
        // INVARIANT: `attrs` has `MAX_WORDS` entries, which are enough, as just checked.
        let attrs = const { &[None; MAX_WORDS] };
        Ok(Self { l4proto, attrs })
    }

    /// Their protocol.
    pub(crate) fn l4proto(self) -> L4Proto {
        self.l4proto
    }

    /// Has the tracker convert them; those that are absent take the default of `net`.
    ///
    /// # Safety
    ///
    /// `data` must be null, which stands for the defaults of `net`, or valid for writes of
    /// `obj_size()` bytes, and aligned to words of 32 bits.
    #[doc(alias = "nlattr_to_obj")]
    pub(super) unsafe fn convert(self, net: &Net, data: *mut c_void) -> Result {
        let ops = &self.l4proto.0.ctnl_timeout;
        let nlattr_to_obj = ops.nlattr_to_obj.ok_or(EOPNOTSUPP)?;
        // The function does not change the table.
        let table = self.attrs.as_ptr().cast_mut().cast();
        // SAFETY: `table` and its attributes are as long as the tracker expects, by the type
        // invariant; `data` has room by the safety requirements of this function.
        to_result(unsafe { nlattr_to_obj(table, net.as_raw(), data) })
    }

    /// Converts them to all timeouts of the protocol, in jiffies, by the tracker's own numbers;
    /// those that are absent take the default of `net`.
    ///
    /// Fails with `EOPNOTSUPP` if the tracker has more timeouts than this module is made for.
    pub(super) fn to_words(self, net: &Net, words: &mut [u32; MAX_WORDS]) -> Result<usize> {
        let size = self.l4proto.obj_size();
        if size > size_of_val(words) || size % size_of::<u32>() != 0 {
            return Err(EOPNOTSUPP);
        }
        // SAFETY: `words` has room for `size` bytes, as just checked.
        unsafe { self.convert(net, words.as_mut_ptr().cast()) }?;
        Ok(size / size_of::<u32>())
    }
}

/// Appends timeouts to a message, or fails with `EMSGSIZE` if there is no room.
///
/// # Safety
///
/// `data` must be valid for reads of `l4proto.obj_size()` bytes, and aligned to words of 32 bits.
#[doc(alias = "obj_to_nlattr")]
pub(super) unsafe fn put_timeouts(
    l4proto: L4Proto,
    data: *const c_void,
    msg: &mut Message<'_>,
) -> Result {
    let obj_to_nlattr = l4proto.0.ctnl_timeout.obj_to_nlattr.ok_or(EOPNOTSUPP)?;
    // SAFETY: `data` is as large as the tracker expects, by the safety requirements of this
    // function; the message is under construction.
    match unsafe { obj_to_nlattr(msg.as_raw(), data) } {
        0.. => Ok(()),
        // Trackers return ENOSPC; netlink's error for a full buffer is EMSGSIZE.
        _ => Err(EMSGSIZE),
    }
}
