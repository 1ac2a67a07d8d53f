// SPDX-License-Identifier: GPL-2.0

//! Netlink attributes, messages and errors.
//!
//! Numbers of 16 and 32 bits are in network byte order on the wire here, as in all of nfnetlink;
//! the methods take and return them in host byte order.
//!
//! C headers: [`include/net/netlink.h`](srctree/include/net/netlink.h),
//! [`include/linux/netlink.h`](srctree/include/linux/netlink.h)

use core::{
    fmt::Write,
    marker::PhantomData,
    mem::MaybeUninit,
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
    str::Formatter, //
};

use crate::{
    bindings,
    compat::EOPNOTSUPP, //
};

/// A received attribute.
///
/// # Invariants
///
/// `attr` points to a header whose `nla_len`, four bytes of header included, are valid for reads
/// during `'a`.
#[derive(Clone, Copy)]
pub(crate) struct Attr<'a> {
    attr: NonNull<bindings::nlattr>,
    _message: PhantomData<&'a [u8]>,
}

impl<'a> Attr<'a> {
    /// Borrows an attribute.
    ///
    /// # Safety
    ///
    /// `attr` must be null, or an attribute that the netlink parser found valid, in a message that
    /// does not go away or change during `'a`.
    pub(super) unsafe fn from_raw(attr: *const bindings::nlattr) -> Option<Self> {
        // INVARIANT: By the caller's promise.
        Some(Self {
            attr: NonNull::new(attr.cast_mut())?,
            _message: PhantomData,
        })
    }

    /// The C structure.
    pub(crate) fn as_raw(self) -> *const bindings::nlattr {
        self.attr.as_ptr()
    }

    /// The bytes behind the header.
    pub(crate) fn payload(self) -> &'a [u8] {
        let header = size_of::<bindings::nlattr>();
        // SAFETY: By the type invariant the header can be read.
        let len = usize::from(unsafe { (*self.as_raw()).nla_len });
        // SAFETY: By the type invariant `len` bytes can be read, the header among them; the parser
        // lets none pass that is shorter than its header.
        unsafe {
            slice::from_raw_parts(self.attr.add(1).cast().as_ptr(), len.saturating_sub(header))
        }
    }

    fn bytes<const N: usize>(self) -> Result<[u8; N]> {
        let bytes = self.payload().first_chunk().ok_or(EINVAL)?;
        Ok(*bytes)
    }

    /// An 8-bit number. `EINVAL` if the payload is too short.
    pub(crate) fn u8(self) -> Result<u8> {
        Ok(u8::from_be_bytes(self.bytes()?))
    }

    /// A 16-bit number. `EINVAL` if the payload is too short.
    pub(crate) fn be16(self) -> Result<u16> {
        Ok(u16::from_be_bytes(self.bytes()?))
    }

    /// A 32-bit number. `EINVAL` if the payload is too short.
    pub(crate) fn be32(self) -> Result<u32> {
        Ok(u32::from_be_bytes(self.bytes()?))
    }

    /// Parses the attributes nested in this one, as leniently as netlink did before version 5.2
    /// (`nla_parse_nested_deprecated()`): unknown types and trailing bytes are ignored.
    ///
    /// Fails with `EINVAL` or `ERANGE` if `policy` forbids what is there, which is then reported in
    /// `ack`, and with `EOPNOTSUPP` if there are more than `N - 1` types.
    ///
    /// # Safety
    ///
    /// `policy` must point to `max + 1` entries that live forever.
    pub(crate) unsafe fn parse_nested<'t, const N: usize>(
        self,
        max: u16,
        policy: *const bindings::nla_policy,
        table: &'t mut AttrTable<N>,
        ack: &mut ExtAck<'_>,
    ) -> Result<NestedAttrs<'t, 'a>> {
        let payload = self.payload();
        let table = table.0.get_mut(..=usize::from(max)).ok_or(EOPNOTSUPP)?;

        // SAFETY: The table has room for `max + 1` pointers, the payload is valid for reads, and the
        // policy is as long as the caller promises. A payload has at most 65,531 bytes.
        to_result(unsafe {
            bindings::__nla_parse(
                table.as_mut_ptr().cast(),
                c_int::from(max),
                payload.as_ptr().cast(),
                payload.len() as c_int,
                policy,
                bindings::netlink_validation_NL_VALIDATE_LIBERAL,
                ack.as_raw(),
            )
        })?;
        // INVARIANT: The parser has found these attributes.
        // SAFETY: It has set all pointers.
        Ok(NestedAttrs(
            unsafe { slice::from_raw_parts(table.as_ptr().cast(), table.len()) },
            PhantomData,
        ))
    }
}

/// Room for the attributes nested in another; at most `N - 1` types.
pub(crate) struct AttrTable<const N: usize>([MaybeUninit<*const bindings::nlattr>; N]);

impl<const N: usize> AttrTable<N> {
    /// Room that is not used yet.
    pub(crate) const fn new() -> Self {
        Self([const { MaybeUninit::uninit() }; N])
    }
}

impl<const N: usize> Default for AttrTable<N> {
    fn default() -> Self {
        Self::new()
    }
}

/// The attributes nested in another, by type: pointers into the message, in an [`AttrTable`].
///
/// # Invariants
///
/// Each pointer is null or fit for [`Attr::from_raw`].
#[derive(Clone, Copy)]
pub(crate) struct NestedAttrs<'t, 'a>(
    &'t [*const bindings::nlattr],
    PhantomData<&'a [u8]>, //
);

impl<'a> NestedAttrs<'static, 'a> {
    /// No attributes, of any type below `N`.
    pub(crate) const fn none<const N: usize>() -> Self {
        // INVARIANT: All pointers are null.
        Self(const { &[ptr::null(); N] }, PhantomData)
    }
}

impl<'t, 'a> NestedAttrs<'t, 'a> {
    /// All attributes, in the order of their types.
    pub(crate) fn iter(self) -> impl Iterator<Item = Attr<'a>> + 't
    where
        'a: 't,
    {
        self.0.iter().filter_map(|attr| {
            // SAFETY: By the type invariant.
            unsafe { Attr::from_raw(*attr) }
        })
    }

    /// The table for C, which does not change it.
    pub(super) fn as_raw(self) -> *mut *mut bindings::nlattr {
        self.0.as_ptr().cast_mut().cast()
    }
}

/// The attributes of a message, by type.
///
/// # Invariants
///
/// Each pointer is null or fit for [`Attr::from_raw`].
#[derive(Clone, Copy)]
pub(crate) struct Attrs<'a>(&'a [*const bindings::nlattr]);

impl<'a> Attrs<'a> {
    /// Borrows the table that a parser filled.
    ///
    /// # Safety
    ///
    /// `table` must point to `len` pointers, valid during `'a` and each null or an attribute that
    /// the netlink parser found valid.
    pub(super) unsafe fn from_raw(table: *const *const bindings::nlattr, len: usize) -> Self {
        // INVARIANT: By the caller's promise.
        // SAFETY: As above.
        Self(unsafe { slice::from_raw_parts(table, len) })
    }

    /// The attribute of this type, if there is one. If there are several, the last of them.
    pub(crate) fn get(self, attr_type: u16) -> Option<Attr<'a>> {
        let attr = *self.0.get(usize::from(attr_type))?;
        // SAFETY: By the type invariant.
        unsafe { Attr::from_raw(attr) }
    }
}

/// What one attribute type may hold (`struct nla_policy`).
///
/// # Examples
///
/// ```ignore
/// # use kernel::net::nlmsg::AttrPolicy;
/// // By type, from 0 on, which is never used.
/// const POLICY: [AttrPolicy; 3] =
///     [AttrPolicy::unspecified(), AttrPolicy::nul_string(31), AttrPolicy::u16()];
/// # let _ = POLICY;
/// ```
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

    /// Anything: only the kernel sends the attribute, so what it holds is not checked.
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
    /// `ack` must be null or valid for reads and writes for as long as the value is used, and by
    /// nobody else.
    pub(super) unsafe fn from_raw(ack: *mut bindings::netlink_ext_ack) -> Self {
        // INVARIANT: By the caller's promise.
        Self {
            ack,
            _message: PhantomData,
        }
    }

    fn as_raw(&mut self) -> *mut bindings::netlink_ext_ack {
        self.ack
    }

    /// Sets the message. What does not fit into 79 bytes is cut off.
    pub(crate) fn set_message(&mut self, message: impl fmt::Display) {
        // SAFETY: By the type invariant.
        let Some(ack) = (unsafe { self.ack.as_mut() }) else {
            return;
        };
        let buffer = &mut ack._msg_buf;
        let room = buffer.len().saturating_sub(1);
        // SAFETY: `c_char` is a byte, and a prefix of the buffer is as valid as the whole.
        let bytes = unsafe { slice::from_raw_parts_mut(buffer.as_mut_ptr().cast::<u8>(), room) };
        bytes.fill(0);
        // It fails when the message is too long, and writes what fits.
        let _ = Formatter::new(bytes).write_fmt(fmt!("{message}"));
        if let Some(last) = buffer.last_mut() {
            *last = 0;
        }
        ack._msg = buffer.as_ptr();
    }

    /// Says which attribute is to blame, and that this is not because of its netlink policy.
    pub(crate) fn set_bad_attr(&mut self, attr: Attr<'_>) {
        // SAFETY: By the type invariant.
        if let Some(ack) = unsafe { self.ack.as_mut() } {
            ack.bad_attr = attr.as_raw();
            ack.policy = ptr::null();
        }
    }

    /// Says which attribute of the message is missing.
    pub(crate) fn set_missing(&mut self, attr_type: u16) {
        // SAFETY: By the type invariant.
        if let Some(ack) = unsafe { self.ack.as_mut() } {
            ack.miss_type = attr_type;
        }
    }
}

/// A buffer for a message.
///
/// # Invariants
///
/// `skb` is valid and ours.
pub(super) struct SkBuff {
    skb: NonNull<bindings::sk_buff>,
}

impl SkBuff {
    /// Allocates a buffer of the default size, which is about a page. Does not sleep.
    pub(super) fn new() -> Result<Self, AllocError> {
        let size = bindings::CTTIMEOUT_CONST_NLMSG_DEFAULT_SIZE;
        // SAFETY: There are no requirements.
        let skb = unsafe { bindings::cttimeout_helper_nlmsg_new(size, bindings::GFP_ATOMIC) };
        // INVARIANT: Just allocated.
        Ok(Self {
            skb: NonNull::new(skb).ok_or(AllocError)?,
        })
    }

    /// The C structure.
    pub(super) fn as_raw(&self) -> *mut bindings::sk_buff {
        self.skb.as_ptr()
    }

    /// Gives the buffer to C, which frees it.
    pub(super) fn into_raw(self) -> *mut bindings::sk_buff {
        core::mem::ManuallyDrop::new(self).as_raw()
    }
}

impl Drop for SkBuff {
    fn drop(&mut self) {
        // SAFETY: By the type invariant the buffer is ours.
        unsafe { bindings::cttimeout_helper_nlmsg_free(self.as_raw()) };
    }
}

/// A message under construction. Unless it is [ended](Message::end), it leaves no trace in its
/// buffer.
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
    /// As the type invariants say.
    pub(super) unsafe fn from_raw(
        skb: NonNull<bindings::sk_buff>,
        nlh: NonNull<bindings::nlmsghdr>,
    ) -> Self {
        // INVARIANT: By the caller's promise.
        Self {
            skb,
            nlh,
            _buffer: PhantomData,
        }
    }

    /// The header, for C functions that set flags in it.
    pub(super) fn header(&mut self) -> *mut bindings::nlmsghdr {
        self.nlh.as_ptr()
    }

    /// The buffer, for C functions that append attributes to the message.
    pub(super) fn as_raw(&mut self) -> *mut bindings::sk_buff {
        self.skb.as_ptr()
    }

    /// Appends an attribute.
    ///
    /// It does what `nla_put()` does, but inlined: values are mostly numbers, of a size known at
    /// compile time, and a dump is mostly attributes.
    #[inline(always)]
    fn put(&mut self, attr_type: u16, value: &[u8]) -> Result {
        let len = size_of::<bindings::nlattr>() + value.len();
        let header = bindings::nlattr {
            nla_len: len.try_into().map_err(|_| EMSGSIZE)?,
            nla_type: attr_type,
        };
        // SAFETY: The buffer is ours to write to. (The length fits: it was just made a `u16`.)
        let room = unsafe { bindings::cttimeout_helper_nlmsg_append(self.as_raw(), len as u32) };
        let room: NonNull<bindings::nlattr> = NonNull::new(room).ok_or(EMSGSIZE)?.cast();
        // SAFETY: There is room for a header and the value. It need not be aligned: a dump's buffer
        // begins at any byte if its reader asks for an odd size.
        unsafe {
            room.write_unaligned(header);
            let payload = room.add(1).cast::<u8>().as_ptr();
            ptr::copy_nonoverlapping(value.as_ptr(), payload, value.len());
        }
        Ok(())
    }

    /// Appends an 8-bit number. `EMSGSIZE` if there is no room, as for all attributes.
    pub(crate) fn put_u8(&mut self, attr_type: u16, value: u8) -> Result {
        self.put(attr_type, &value.to_be_bytes())
    }

    /// Appends a 16-bit number.
    pub(crate) fn put_be16(&mut self, attr_type: u16, value: u16) -> Result {
        self.put(attr_type, &value.to_be_bytes())
    }

    /// Appends a 32-bit number.
    pub(crate) fn put_be32(&mut self, attr_type: u16, value: u32) -> Result {
        self.put(attr_type, &value.to_be_bytes())
    }

    /// Appends a string with its NUL.
    pub(crate) fn put_string(&mut self, attr_type: u16, value: &CStr) -> Result {
        self.put(attr_type, value.to_bytes_with_nul())
    }

    /// Appends an attribute in which those that `fill` appends are nested.
    ///
    /// If this fails, the message can only be dropped.
    pub(crate) fn nest(
        &mut self,
        attr_type: u16,
        fill: impl FnOnce(&mut Self) -> Result,
    ) -> Result {
        // SAFETY: The buffer is ours to write to.
        let start =
            unsafe { bindings::cttimeout_helper_nla_nest_start(self.as_raw(), attr_type.into()) };
        let start = NonNull::new(start).ok_or(EMSGSIZE)?;
        fill(self)?;
        // SAFETY: `start` is the header that was just put into this buffer; attributes are only
        // ever appended, so it is still there.
        unsafe { bindings::cttimeout_helper_nla_nest_end(self.as_raw(), start.as_ptr()) };
        Ok(())
    }

    /// Completes the message.
    pub(crate) fn end(self) {
        let mut this = core::mem::ManuallyDrop::new(self);
        // SAFETY: By the type invariants.
        unsafe { bindings::cttimeout_helper_nlmsg_end(this.as_raw(), this.nlh.as_ptr()) };
    }
}

impl Drop for Message<'_> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants; what follows the header is part of this message.
        unsafe { bindings::cttimeout_helper_nlmsg_cancel(self.as_raw(), self.nlh.as_ptr()) };
    }
}
