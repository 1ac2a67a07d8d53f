// SPDX-License-Identifier: GPL-2.0

//! nfnetlink subsystems: a [`Subsystem`] has commands ([`Command`]), which get a [`Request`], and
//! is made known by a [`SubsystemRegistration`].
//!
//! The core checks `CAP_NET_ADMIN` in the user namespace of the network namespace before it calls
//! any command.
//!
//! C header: [`include/linux/netfilter/nfnetlink.h`](srctree/include/linux/netfilter/nfnetlink.h)

pub(crate) mod dump;

use core::{
    marker::PhantomData,
    ptr::NonNull, //
};

use kernel::{
    error::{
        from_result,
        to_result, //
    },
    ffi::c_int,
    module::this_module,
    prelude::*,
    str::as_char_ptr_in_const_context, //
};

use super::{
    netlink::{
        AttrPolicy,
        Attrs,
        ExtAck,
        Message,
        SkBuff, //
    },
    netns::{
        self,
        Net,
        PerNet,
        Provides, //
    },
};

use dump::Dump;

use crate::bindings;

/// An nfnetlink subsystem.
#[vtable]
pub(crate) trait Subsystem: Sized + Send + Sync + 'static {
    /// The data that it keeps for each network namespace.
    type Data: PerNet;
    /// The error type of its commands.
    type Refusal<'a>: Report;
    /// Its human-readable name, which appears nowhere but in the core's table.
    const NAME: &'static CStr;
    /// Its number: one of `NFNL_SUBSYS_*`.
    const ID: u8;
    /// The contents that its attributes may have, by type; the last entry is for the largest type.
    const POLICY: &'static [AttrPolicy];
    /// Its commands, each at the index that is its message type.
    const CALLBACKS: &'static [Callback<Self>];
}

/// A command of a subsystem.
pub(crate) trait Command<S: Subsystem> {
    /// Carries out the command, in parallel to all others, without a lock; may sleep.
    ///
    /// An error becomes the answer, except `EAGAIN`, with which the core starts again.
    fn call<'a>(req: &Request<'a, S>, ack: &mut ExtAck<'_>) -> Result<(), S::Refusal<'a>>;
}

/// An error that says in the extended acknowledgment what was wrong.
pub(crate) trait Report {
    /// Fills in `ack`, and returns the error number.
    fn report(self, ack: &mut ExtAck<'_>) -> Error;
}

impl Report for Error {
    fn report(self, _ack: &mut ExtAck<'_>) -> Error {
        self
    }
}

/// An entry of a subsystem's table of commands (`struct nfnl_callback`).
#[repr(transparent)]
pub(crate) struct Callback<S>(bindings::nfnl_callback, PhantomData<fn() -> S>);

impl<S: Subsystem> Callback<S> {
    /// Makes the entry of a command.
    pub(crate) const fn new<C: Command<S>>() -> Self {
        assert!(!S::POLICY.is_empty() && S::POLICY.len() <= 32);
        Self(
            bindings::nfnl_callback {
                call: Some(Self::call::<C>),
                policy: S::POLICY.as_ptr().cast(),
                // With `NFNL_CB_MUTEX`, the core would hold a mutex that all namespaces share.
                type_: bindings::nfnl_callback_type_NFNL_CB_RCU,
                attr_count: S::POLICY.len() as u16 - 1,
            },
            PhantomData,
        )
    }

    /// # Safety
    ///
    /// For the nfnetlink core only, as an entry of `S`, under the RCU read lock, taken once.
    unsafe extern "C" fn call<C: Command<S>>(
        skb: *mut bindings::sk_buff,
        info: *const bindings::nfnl_info,
        attrs: *const *const bindings::nlattr,
    ) -> c_int {
        // SAFETY: By the safety requirements of this function, `skb`, `info` and `attrs` are the
        // core's arguments for an entry of `S`, and the RCU read lock is held.
        unsafe { Self::run(skb, info, attrs, C::call) }
    }

    /// The part of [`Callback::call`] that all commands share.
    ///
    /// # Safety
    ///
    /// As for [`Callback::call`].
    #[inline(never)]
    unsafe fn run(
        skb: *mut bindings::sk_buff,
        info: *const bindings::nfnl_info,
        attrs: *const *const bindings::nlattr,
        command: for<'a> fn(&Request<'a, S>, &mut ExtAck<'_>) -> Result<(), S::Refusal<'a>>,
    ) -> c_int {
        let module = this_module::<S::OwnerModule>().as_ptr();
        // SAFETY: `module` is valid, because its code runs, or null if the module is built in.
        if !unsafe { bindings::cttimeout_helper_try_module_get(module) } {
            // The same as netlink itself returns for a module that is being unloaded.
            return EPROTONOSUPPORT.to_errno();
        }
        // SAFETY: The core holds the RCU read lock, for the sake of the module, which the reference
        // keeps from now on. Nothing else depends on the lock: `info` and `attrs` are on the core's
        // stack, and the sender's socket keeps the namespace.
        unsafe { bindings::rcu_read_unlock() };
        // SAFETY: `skb`, `info` and `attrs` are the arguments of this call of a command of `S`.
        let (req, mut ack) = unsafe { Request::from_raw(skb, info, attrs) };
        let ret = from_result(|| match command(&req, &mut ack) {
            Ok(()) => Ok(0),
            Err(refusal) => Err(refusal.report(&mut ack)),
        });
        // SAFETY: The core expects to hold the RCU read lock. The module's exit waits for a grace
        // period when it unregisters `S`, and so for the end of this function.
        unsafe {
            // Litmus: command-exit
            bindings::rcu_read_lock();
            bindings::cttimeout_helper_module_put(module);
        }
        ret
    }
}

/// A request from user space.
///
/// # Invariants
///
/// The pointers are those the core passed to the command, and valid while that runs. The
/// subsystem's per-namespace data is registered.
pub(crate) struct Request<'a, S> {
    skb: NonNull<bindings::sk_buff>,
    info: &'a bindings::nfnl_info,
    attrs: Attrs<'a>,
    _subsystem: PhantomData<S>,
}

impl<'a, S: Subsystem> Request<'a, S> {
    /// # Safety
    ///
    /// The pointers must be the arguments of a command of `S`, which runs during `'a`.
    unsafe fn from_raw(
        skb: *mut bindings::sk_buff,
        info: *const bindings::nfnl_info,
        attrs: *const *const bindings::nlattr,
    ) -> (Self, ExtAck<'a>) {
        // SAFETY: By the safety requirements of this function, `skb` and `info` are valid, and not
        // null; `attrs` has an entry for each of `S::POLICY`, by which it was parsed. The core made
        // `info.extack` for this message alone.
        unsafe {
            let info = &*info;
            // INVARIANT: A command of `S` runs, so its registration exists, which owns a
            // `Provides`.
            let req = Self {
                skb: NonNull::new_unchecked(skb),
                info,
                attrs: Attrs::from_raw(attrs, S::POLICY.len()),
                _subsystem: PhantomData,
            };
            (req, ExtAck::from_raw(info.extack))
        }
    }

    /// The network namespace of the socket that the request came from.
    pub(crate) fn net(&self) -> &'a Net {
        // SAFETY: By the type invariants `info` is the core's: the socket of the request keeps
        // `info.net` while the command runs.
        unsafe { Net::from_raw(self.info.net) }
    }

    /// The subsystem's data in that namespace.
    pub(crate) fn data(&self) -> &'a S::Data {
        // SAFETY: By the type invariants `S::Data` is registered while the command runs.
        unsafe { netns::data(self.net()) }
    }

    /// The attributes of the request.
    pub(crate) fn attrs(&self) -> Attrs<'a> {
        self.attrs
    }

    fn flags(&self) -> u32 {
        // SAFETY: By the type invariants `info.nlh` is valid.
        u32::from(unsafe { (*self.info.nlh).nlmsg_flags })
    }

    /// Whether the request carries all of these flags (`NLM_F_*`).
    pub(crate) fn has_flags(&self, flags: u32) -> bool {
        self.flags() & flags == flags
    }

    /// Whether the request asks for all objects.
    ///
    /// `NLM_F_DUMP` is two bits; as everywhere in netfilter, one of them is enough.
    pub(crate) fn is_dump(&self) -> bool {
        self.flags() & bindings::NLM_F_DUMP != 0
    }

    /// Answers with one message of type `command`, which `fill` writes.
    ///
    /// Sleeps, but not while `fill` runs. The message is marked `NLM_F_MULTI`, as subsystems have
    /// always done. Fails with `ENOMEM`, `EMSGSIZE` if the message does not fit in a page, and
    /// `ENOBUFS` if the client does not read.
    pub(crate) fn reply<E: From<Error>>(
        &self,
        command: u8,
        fill: impl FnOnce(&mut Message<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let skb = SkBuff::new().map_err(Error::from)?;
        // SAFETY: `skb` is this function's until it is sent; the request is valid.
        let mut msg =
            unsafe { put_header::<S>(skb.as_raw(), self.skb.as_ptr(), self.info.nlh, command) }?;
        fill(&mut msg)?;
        msg.end();

        // SAFETY: By the type invariants `info.net` and `self.skb` are valid; the C function takes
        // over `skb`, and frees it in any case.
        to_result(unsafe {
            let portid = (*bindings::cttimeout_helper_NETLINK_CB(self.skb.as_ptr())).portid;
            bindings::nfnetlink_unicast(skb.into_raw(), self.info.net, portid)
        })?;
        Ok(())
    }

    /// Starts to send all objects, as `D` writes them; sleeps.
    ///
    /// Returns `Err(EINTR)` on success, which tells the core that no further reply is due.
    #[doc(alias = "netlink_dump_start")]
    pub(crate) fn start_dump<D: Dump<S>>(&self) -> Result {
        let mut control = bindings::netlink_dump_control {
            dump: Some(dump::fill::<S, D>),
            module: this_module::<S::OwnerModule>().as_ptr(),
            ..Default::default()
        };
        // SAFETY: By the type invariants the socket, `skb` and `nlh` are valid; the dump takes a
        // reference to `skb`, of which `nlh` is a part. `control` is copied. The command does not
        // hold the RCU read lock.
        to_result(unsafe {
            bindings::__netlink_dump_start(
                self.info.sk,
                self.skb.as_ptr(),
                self.info.nlh,
                &mut control,
            )
        })
    }
}

/// Begins a message with an nfnetlink header, in answer to a request.
///
/// # Safety
///
/// `skb` must be valid, and nobody else may write to it during `'a`. `request` and its header `nlh`
/// must be valid.
#[doc(alias("nlmsg_put", "nfnl_msg_put"))]
unsafe fn put_header<'a, S: Subsystem>(
    skb: NonNull<bindings::sk_buff>,
    request: *mut bindings::sk_buff,
    nlh: *const bindings::nlmsghdr,
    command: u8,
) -> Result<Message<'a>> {
    // SAFETY: By the safety requirements of this function, `request` and `nlh` are valid.
    let (portid, seq) = unsafe {
        (
            (*bindings::cttimeout_helper_NETLINK_CB(request)).portid,
            (*nlh).nlmsg_seq,
        )
    };
    // Only the kernel itself has port 0.
    let flags = if portid != 0 {
        bindings::NLM_F_MULTI
    } else {
        0
    };
    // SAFETY: By the safety requirements of this function, `skb` is valid, and nobody else writes
    // to it.
    let nlh = unsafe {
        bindings::cttimeout_helper_nfnl_msg_put(
            skb.as_ptr(),
            portid,
            seq,
            c_int::from(S::ID) << 8 | c_int::from(command),
            flags as c_int,
            bindings::AF_UNSPEC as u8,
            bindings::NFNETLINK_V0 as u8,
            0,
        )
    };
    let nlh = NonNull::new(nlh).ok_or(EMSGSIZE)?;
    // SAFETY: `nlh` was just put at the end of `skb`, to which nobody else writes during `'a`.
    Ok(unsafe { Message::from_raw(skb, nlh) })
}

/// A registered subsystem, together with `P`, which provides its per-namespace data.
///
/// When the value is dropped, the subsystem is unregistered first, and then `P` is dropped.
pub(crate) struct SubsystemRegistration<S: Subsystem, P: Provides<S::Data>> {
    _below: P,
    _subsystem: PhantomData<S>,
}

impl<S: Subsystem, P: Provides<S::Data>> SubsystemRegistration<S, P> {
    const SUBSYSTEM: bindings::nfnetlink_subsystem = {
        assert!((S::ID as u32) < bindings::NFNL_SUBSYS_COUNT && S::CALLBACKS.len() <= 0xff);
        bindings::nfnetlink_subsystem {
            name: as_char_ptr_in_const_context(S::NAME),
            subsys_id: S::ID,
            cb_count: S::CALLBACKS.len() as u8,
            cb: S::CALLBACKS.as_ptr().cast(),
            owner: this_module::<S::OwnerModule>().as_ptr(),
            ..pin_init::zeroed()
        }
    };

    /// Registers the subsystem: from now on its commands are called; may sleep.
    ///
    /// Fails with `EBUSY` if there is another one with its number; `below` is dropped then.
    #[doc(alias = "nfnetlink_subsys_register")]
    pub(crate) fn new(below: P) -> Result<Self> {
        let subsystem: &'static _ = &Self::SUBSYSTEM;
        // SAFETY: `subsystem` is static. The callbacks find the data, because `below` exists until
        // after they were unregistered.
        to_result(unsafe { bindings::nfnetlink_subsys_register(subsystem) })?;
        Ok(Self {
            _below: below,
            _subsystem: PhantomData,
        })
    }
}

impl<S: Subsystem, P: Provides<S::Data>> Drop for SubsystemRegistration<S, P> {
    fn drop(&mut self) {
        let subsystem: &'static _ = &Self::SUBSYSTEM;
        // Litmus: command-exit
        // SAFETY: `subsystem` was registered in `new`; the core goes by its number. Waits for a
        // grace period, and so for all commands.
        unsafe { bindings::nfnetlink_subsys_unregister(subsystem) };
    }
}
