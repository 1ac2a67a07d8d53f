// SPDX-License-Identifier: GPL-2.0

//! Netlink messages: received attributes ([`Attrs`], [`Attr`]), their policy ([`AttrPolicy`]),
//! extended acknowledgments ([`ExtAck`]), and messages under construction ([`Message`]).
//!
//! Numbers of 16 and 32 bits are in network byte order on the wire, as in all of nfnetlink; the
//! methods take and return them in host byte order.
//!
//! C headers: [`include/net/netlink.h`](srctree/include/net/netlink.h),
//! [`include/linux/netlink.h`](srctree/include/linux/netlink.h)

use core::{
    fmt::Write,
    marker::PhantomData,
    mem::{
        ManuallyDrop,
        MaybeUninit, //
    },
    ptr::{
        self,
        NonNull, //
    },
    slice, //
};

use kernel::{
    alloc::AllocError,
    error::to_result,
    ffi::c_int,
    fmt,
    prelude::*,
    str::NullTerminatedFormatter, //
};

use crate::bindings;

/// An attribute (`struct nlattr`), of a received message or a [`Be32Attr`].
///
/// # Invariants
///
/// `attr` points to a header whose `nla_len` bytes, four bytes of header included, are valid for
/// reads during `'a`, and do not change.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct Attr<'a> {
    attr: NonNull<bindings::nlattr>,
    _message: PhantomData<&'a [u8]>,
}

impl<'a> Attr<'a> {
    /// The bytes behind the header.
    #[doc(alias("nla_data", "nla_len"))]
    pub(crate) fn payload(self) -> &'a [u8] {
        // SAFETY: By the type invariant the header of `attr` can be read.
        let len = usize::from(unsafe { self.attr.as_ref() }.nla_len);
        let len = len.saturating_sub(size_of::<bindings::nlattr>());
        // SAFETY: By the type invariant `len` bytes behind the header of `attr` can be read.
        unsafe { slice::from_raw_parts(self.attr.add(1).cast().as_ptr(), len) }
    }

    /// The type, without flags.
    #[doc(alias = "nla_type")]
    pub(crate) fn attr_type(self) -> u16 {
        // SAFETY: By the type invariant the header of `attr` can be read.
        unsafe { self.attr.as_ref() }.nla_type & bindings::NLA_TYPE_MASK as u16
    }

    fn bytes<const N: usize>(self) -> Result<[u8; N]> {
        Ok(*self.payload().first_chunk().ok_or(EINVAL)?)
    }

    /// An 8-bit number, or `EINVAL` if the payload is too short.
    #[doc(alias = "nla_get_u8")]
    pub(crate) fn get_u8(self) -> Result<u8> {
        Ok(u8::from_be_bytes(self.bytes()?))
    }

    /// A 16-bit number, or `EINVAL` if the payload is too short.
    #[doc(alias = "nla_get_be16")]
    pub(crate) fn get_be16(self) -> Result<u16> {
        Ok(u16::from_be_bytes(self.bytes()?))
    }

    /// A 32-bit number, or `EINVAL` if the payload is too short.
    #[doc(alias = "nla_get_be32")]
    pub(crate) fn get_be32(self) -> Result<u32> {
        Ok(u32::from_be_bytes(self.bytes()?))
    }

    /// Parses the attributes nested in this one, as leniently as netlink did before version 5.2:
    /// unknown types and trailing bytes are ignored.
    ///
    /// Returns them by type. Fails with `EINVAL` or `ERANGE` if `policy` forbids what is there,
    /// which is then reported in `ack`, and with `EOPNOTSUPP` if there are more than `N - 1` types.
    ///
    /// # Safety
    ///
    /// `policy` must point to `max + 1` entries that live forever.
    #[doc(alias = "nla_parse_nested_deprecated")]
    pub(crate) unsafe fn parse_nested<'t, const N: usize>(
        self,
        max: u16,
        policy: *const bindings::nla_policy,
        table: &'t mut AttrTable<'a, N>,
        ack: &mut ExtAck<'_>,
    ) -> Result<&'t mut [Option<Attr<'a>>]> {
        let payload = self.payload();
        let table = table.0.get_mut(..=usize::from(max)).ok_or(EOPNOTSUPP)?;

        // SAFETY: `table` has room for `max + 1` pointers, `payload` is valid for reads, and
        // `policy` has `max + 1` entries by the safety requirements of this function. A payload has
        // at most 65,531 bytes.
        to_result(unsafe {
            bindings::__nla_parse(
                table.as_mut_ptr().cast(),
                c_int::from(max),
                payload.as_ptr().cast(),
                payload.len() as c_int,
                policy,
                bindings::netlink_validation_NL_VALIDATE_LIBERAL,
                ack.ack,
            )
        })?;
        // INVARIANT: The parser lets no attribute pass that is longer than the payload.
        // SAFETY: The parser has set all pointers of `table`, each to null, which is `None`, or to
        // an attribute that it found valid. `Attr` is a transparent wrapper of a pointer.
        Ok(unsafe { slice::from_raw_parts_mut(table.as_mut_ptr().cast(), table.len()) })
    }
}

/// Room for the attributes nested in another; at most `N - 1` types.
pub(crate) struct AttrTable<'a, const N: usize>([MaybeUninit<Option<Attr<'a>>>; N]);

impl<const N: usize> AttrTable<'_, N> {
    /// Room that is not used yet.
    pub(crate) const fn new() -> Self {
        Self([const { MaybeUninit::uninit() }; N])
    }
}

/// An attribute with a number of 32 bits, outside of any message.
///
/// # Invariants
///
/// The length in `header` is that of the whole value.
#[repr(C)]
pub(crate) struct Be32Attr {
    header: bindings::nlattr,
    value: u32,
}

impl Be32Attr {
    /// The attribute, without a type.
    pub(crate) const fn new(value: u32) -> Self {
        // INVARIANT: The length is that of `Self`.
        Self {
            header: bindings::nlattr {
                nla_len: size_of::<Self>() as u16,
                nla_type: 0,
            },
            value: value.to_be(),
        }
    }

    /// The same for those who expect a received one.
    pub(crate) fn as_attr(&self) -> Attr<'_> {
        // INVARIANT: By the type invariant, `self` is a header and as many bytes as it says.
        Attr {
            attr: NonNull::from(self).cast(),
            _message: PhantomData,
        }
    }
}

/// The attributes of a message, by type.
#[derive(Clone, Copy)]
pub(crate) struct Attrs<'a>(&'a [Option<Attr<'a>>]);

impl<'a> Attrs<'a> {
    /// Borrows the table that a parser filled.
    ///
    /// # Safety
    ///
    /// `table` must point to `len` pointers, valid during `'a`: each null, or an attribute that the
    /// netlink parser found valid, in a message that stays and does not change during `'a`.
    pub(super) unsafe fn from_raw(table: *const *const bindings::nlattr, len: usize) -> Self {
        // INVARIANT: The parser lets no attribute pass that is longer than the message.
        // SAFETY: By the safety requirements of this function, `table` is valid for `len` pointers,
        // of which null is `None`. `Attr` is a transparent wrapper of a pointer.
        Self(unsafe { slice::from_raw_parts(table.cast(), len) })
    }

    /// The attribute of this type, the last one if there are several.
    pub(crate) fn get(self, attr_type: u16) -> Option<Attr<'a>> {
        *self.0.get(usize::from(attr_type))?
    }
}

/// The contents that one attribute type may have (`struct nla_policy`).
#[repr(transparent)]
pub(crate) struct AttrPolicy(bindings::nla_policy);

impl AttrPolicy {
    const fn new(attr_type: u32, len: u16) -> Self {
        Self(bindings::nla_policy {
            type_: attr_type as u8,
            len,
            ..pin_init::zeroed()
        })
    }

    /// Anything: only the kernel sends the attribute, so its contents are not checked.
    pub(crate) const fn unspecified() -> Self {
        Self::new(bindings::NLA_UNSPEC, 0)
    }

    /// A string of at most `max` bytes, and a NUL.
    pub(crate) const fn nul_string(max: u16) -> Self {
        Self::new(bindings::NLA_NUL_STRING, max)
    }

    /// An 8-bit number.
    pub(crate) const fn u8() -> Self {
        Self::new(bindings::NLA_U8, 0)
    }

    /// A 16-bit number.
    pub(crate) const fn u16() -> Self {
        Self::new(bindings::NLA_U16, 0)
    }

    /// A 32-bit number.
    #[allow(dead_code, reason = "not every subsystem has one")]
    pub(crate) const fn u32() -> Self {
        Self::new(bindings::NLA_U32, 0)
    }

    /// Nested attributes.
    pub(crate) const fn nested() -> Self {
        Self::new(bindings::NLA_NESTED, 0)
    }
}

/// Where an error tells user space what was wrong (`struct netlink_ext_ack`).
///
/// # Invariants
///
/// `ack` is null or valid for writes during `'a`.
pub(crate) struct ExtAck<'a> {
    ack: *mut bindings::netlink_ext_ack,
    _message: PhantomData<&'a mut ()>,
}

impl ExtAck<'_> {
    /// Borrows the structure of a request.
    ///
    /// # Safety
    ///
    /// `ack` must be null, or valid for reads and writes, as long as the value is used, and by
    /// nobody else.
    pub(super) unsafe fn from_raw(ack: *mut bindings::netlink_ext_ack) -> Self {
        // INVARIANT: By the safety requirements of this function, `ack` is null or valid, and used
        // by nobody else.
        Self {
            ack,
            _message: PhantomData,
        }
    }

    fn get(&mut self) -> Option<&mut bindings::netlink_ext_ack> {
        // SAFETY: By the type invariant `ack` is null or valid.
        unsafe { self.ack.as_mut() }
    }

    /// Sets the message, without the pieces that do not fit into 79 bytes.
    #[doc(alias = "NL_SET_ERR_MSG_FMT")]
    pub(crate) fn set_msg(&mut self, message: impl fmt::Display) {
        let Some(ack) = self.get() else { return };
        let buffer = &mut ack._msg_buf;
        // SAFETY: `c_char` is a byte.
        let bytes =
            unsafe { slice::from_raw_parts_mut(buffer.as_mut_ptr().cast::<u8>(), buffer.len()) };
        if let Some(mut text) = NullTerminatedFormatter::new(bytes) {
            let _ = text.write_fmt(fmt!("{message}"));
        }
        ack._msg = buffer.as_ptr();
    }

    /// Says which attribute of the request is to blame, and that this is not because of its netlink
    /// policy.
    #[doc(alias = "NL_SET_BAD_ATTR")]
    pub(crate) fn set_bad_attr(&mut self, attr: Attr<'_>) {
        if let Some(ack) = self.get() {
            ack.bad_attr = attr.attr.as_ptr();
            ack.policy = ptr::null();
        }
    }

    /// Says which attribute of the message is missing.
    #[doc(alias = "NL_SET_ERR_ATTR_MISS")]
    pub(crate) fn set_missing(&mut self, attr_type: u16) {
        if let Some(ack) = self.get() {
            ack.miss_type = attr_type;
        }
    }
}

/// A buffer for a message.
///
/// `NetlinkSkBuff` of the kernel crate is for generic netlink: other modules cannot put another
/// header into it, nor send it.
///
/// # Invariants
///
/// The value owns `skb`, which is valid.
pub(super) struct SkBuff {
    skb: NonNull<bindings::sk_buff>,
}

impl SkBuff {
    /// Allocates a buffer of the default size, which is about a page; may sleep.
    #[doc(alias = "nlmsg_new")]
    pub(super) fn new() -> Result<Self, AllocError> {
        let size = bindings::CTTIMEOUT_CONST_NLMSG_DEFAULT_SIZE;
        // SAFETY: The function has no requirements.
        let skb = unsafe { bindings::cttimeout_helper_nlmsg_new(size, bindings::GFP_KERNEL) };
        // INVARIANT: `skb` was just allocated.
        Ok(Self {
            skb: NonNull::new(skb).ok_or(AllocError)?,
        })
    }

    /// The C structure.
    pub(super) fn as_raw(&self) -> NonNull<bindings::sk_buff> {
        self.skb
    }

    /// Gives the buffer to C, which frees it.
    pub(super) fn into_raw(self) -> *mut bindings::sk_buff {
        ManuallyDrop::new(self).skb.as_ptr()
    }
}

impl Drop for SkBuff {
    fn drop(&mut self) {
        // SAFETY: By the type invariant `skb` is valid, and owned by this value.
        unsafe { bindings::nlmsg_free(self.skb.as_ptr()) };
    }
}

/// A message under construction.
///
/// Unless it is [ended](Message::end), it leaves no trace in its buffer. (`GenlMsg` of the kernel
/// crate begins with the header of generic netlink.)
///
/// # Invariants
///
/// `skb` is a buffer that nobody else writes to during `'a`, and `nlh` the header of the last
/// message in it.
pub(crate) struct Message<'a> {
    skb: NonNull<bindings::sk_buff>,
    nlh: NonNull<bindings::nlmsghdr>,
    _buffer: PhantomData<&'a mut ()>,
}

impl Message<'_> {
    /// Takes over a message that was begun.
    ///
    /// # Safety
    ///
    /// `skb` and `nlh` must be as the type invariant says.
    pub(super) unsafe fn from_raw(
        skb: NonNull<bindings::sk_buff>,
        nlh: NonNull<bindings::nlmsghdr>,
    ) -> Self {
        // INVARIANT: By the safety requirements of this function, nobody else writes to `skb`, and
        // `nlh` is the header of its last message.
        Self {
            skb,
            nlh,
            _buffer: PhantomData,
        }
    }

    /// The buffer, for C functions that append attributes to the message.
    pub(crate) fn as_raw(&mut self) -> *mut bindings::sk_buff {
        self.skb.as_ptr()
    }

    /// Appends an attribute; inlined, because a dump is mostly numbers, whose size is known. (With
    /// `nla_put()`, each of 100 policies takes 1,939 instructions instead of 1,763.)
    #[doc(alias = "nla_put")]
    #[inline(always)]
    fn put(&mut self, attr_type: u16, value: &[u8]) -> Result {
        let len = size_of::<bindings::nlattr>() + value.len();
        let header = bindings::nlattr {
            nla_len: len.try_into().map_err(|_| EMSGSIZE)?,
            nla_type: attr_type,
        };
        // SAFETY: `skb` is valid by the type invariant; `len` was just made a `u16`.
        let room = unsafe { bindings::cttimeout_helper_nlmsg_append(self.as_raw(), len as u32) };
        let room: NonNull<bindings::nlattr> = NonNull::new(room).ok_or(EMSGSIZE)?.cast();
        // SAFETY: `room` is `len` bytes of `skb`. It need not be aligned: a dump's buffer begins at
        // any byte if its reader asks for an odd size.
        unsafe {
            room.write_unaligned(header);
            let payload = room.add(1).cast::<u8>().as_ptr();
            ptr::copy_nonoverlapping(value.as_ptr(), payload, value.len());
        }
        Ok(())
    }

    /// Appends an 8-bit number; as for all attributes, `EMSGSIZE` if there is no room.
    #[doc(alias = "nla_put_u8")]
    pub(crate) fn put_u8(&mut self, attr_type: u16, value: u8) -> Result {
        self.put(attr_type, &value.to_be_bytes())
    }

    /// Appends a 16-bit number.
    #[doc(alias = "nla_put_be16")]
    pub(crate) fn put_be16(&mut self, attr_type: u16, value: u16) -> Result {
        self.put(attr_type, &value.to_be_bytes())
    }

    /// Appends a 32-bit number.
    #[doc(alias = "nla_put_be32")]
    pub(crate) fn put_be32(&mut self, attr_type: u16, value: u32) -> Result {
        self.put(attr_type, &value.to_be_bytes())
    }

    /// Appends a string with its NUL.
    #[doc(alias = "nla_put_string")]
    pub(crate) fn put_string(&mut self, attr_type: u16, value: &CStr) -> Result {
        self.put(attr_type, value.to_bytes_with_nul())
    }

    /// Appends an attribute in which those that `fill` appends are nested.
    ///
    /// If this fails, the message can only be dropped.
    #[doc(alias("nla_nest_start", "nla_nest_end"))]
    #[inline]
    pub(crate) fn nest(
        &mut self,
        attr_type: u16,
        fill: impl FnOnce(&mut Self) -> Result,
    ) -> Result {
        // SAFETY: `skb` is valid by the type invariant.
        let start =
            unsafe { bindings::cttimeout_helper_nla_nest_start(self.as_raw(), attr_type.into()) };
        let start = NonNull::new(start).ok_or(EMSGSIZE)?;
        fill(self)?;
        // SAFETY: `start` is the header that was just put into this buffer; attributes are only
        // appended, so it is still there.
        unsafe { bindings::cttimeout_helper_nla_nest_end(self.as_raw(), start.as_ptr()) };
        Ok(())
    }

    /// Completes the message.
    #[doc(alias = "nlmsg_end")]
    pub(crate) fn end(self) {
        let this = ManuallyDrop::new(self);
        // SAFETY: By the type invariants `nlh` is the header of the last message in `skb`.
        unsafe { bindings::cttimeout_helper_nlmsg_end(this.skb.as_ptr(), this.nlh.as_ptr()) };
    }
}

impl Drop for Message<'_> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants the bytes of `skb` from `nlh` on are this message.
        unsafe { bindings::cttimeout_helper_nlmsg_cancel(self.skb.as_ptr(), self.nlh.as_ptr()) };
    }
}
