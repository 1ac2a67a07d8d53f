// SPDX-License-Identifier: GPL-2.0

//! nfnetlink subsystems: commands, replies and dumps.
//!
//! The core checks `CAP_NET_ADMIN` in the user namespace of the network namespace before it calls
//! any command.
//!
//! # Examples
//!
//! A subsystem with one command, which answers with a number:
//!
//! ```ignore
//! # use kernel::{
//! #     bindings,
//! #     declare_pernet,
//! #     net::{
//! #         netns::{self, PerNet},
//! #         nfnetlink::{self, Callback, RcuCommand, ReadSection, Request, Subsystem},
//! #         nlmsg::{AttrPolicy, ExtAck},
//! #     },
//! #     sync::atomic::{Atomic, Relaxed},
//! # };
//! # struct Totals(Atomic<u32>);
//! # declare_pernet!(Totals);
//! # impl PerNet for Totals {
//! #     fn init() -> impl PinInit<Self, Error> {
//! #         Ok::<_, Error>(Self(Atomic::new(0)))
//! #     }
//! #     fn pre_exit(&self) {}
//! # }
//! struct Counters;
//!
//! impl Subsystem for Counters {
//!     type Module = LocalModule;
//!     type Data = Totals; // a `PerNet` type
//!     const NAME: &'static CStr = c"counters";
//!     const ID: u8 = bindings::NFNL_SUBSYS_NONE as u8; // a number that nobody has
//!     const POLICY: &'static [AttrPolicy] = &[AttrPolicy::unspecified(), AttrPolicy::u16()];
//!     const CALLBACKS: &'static [Callback<Self>] = &[Callback::rcu::<Get>()];
//! }
//!
//! struct Get;
//!
//! impl RcuCommand<Counters> for Get {
//!     fn call(req: Request<'_, Counters>, ack: &mut ExtAck<'_>, _rcu: ReadSection) -> Result {
//!         let attr = req.attrs().get(1).ok_or_else(|| {
//!             ack.set_missing(1);
//!             EINVAL
//!         })?;
//!         let factor = u32::from(attr.be16()?);
//!         let total = req.data().0.load(Relaxed);
//!         req.reply(0, |msg| msg.put_be32(2, total.saturating_mul(factor)))
//!     }
//! }
//!
//! // The data first, then what hands it out.
//! let counters: nfnetlink::Registration<Counters, _> =
//!     nfnetlink::Registration::new(netns::Registration::<Totals>::new()?)?;
//! // The other way round at the end.
//! drop(counters);
//! # Ok::<(), Error>(())
//! ```
//!
//! C header: [`include/linux/netfilter/nfnetlink.h`](srctree/include/linux/netfilter/nfnetlink.h)

pub(crate) mod dump;

use core::{
    marker::PhantomData,
    ops::{
        Deref,
        DerefMut, //
    },
    ptr::NonNull, //
};

use kernel::{
    error::{
        from_result,
        to_result, //
    },
    ffi::c_int,
    prelude::*,
    str::as_char_ptr_in_const_context,
    sync::rcu,
    ModuleMetadata,
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

use crate::{
    bindings,
    compat::{
        this_module,
        EPROTONOSUPPORT, //
    },
    module::ModuleRef,
    sync::rcu_map::WriteLock, //
};

/// An nfnetlink subsystem.
pub(crate) trait Subsystem: Sized + Send + Sync + 'static {
    /// The module that implements it.
    type Module: ModuleMetadata;
    /// What it keeps for each network namespace.
    type Data: PerNet;
    /// Its name, for people.
    const NAME: &'static CStr;
    /// Its number: one of `NFNL_SUBSYS_*`.
    const ID: u8;
    /// What its attributes may hold, by type. The last entry is for the largest type.
    const POLICY: &'static [AttrPolicy];
    /// Its commands. A command's message type is its index.
    const CALLBACKS: &'static [Callback<Self>];
}

/// A command that runs under the subsystem's mutex. It may sleep.
pub(crate) trait MutexCommand<S: Subsystem> {
    /// Carries out the command. An error becomes the answer, except `EAGAIN`, which makes the core
    /// try again from the start.
    fn call(req: &Request<'_, S>, ack: &mut ExtAck<'_>, lock: &mut Locked<S>) -> Result;
}

/// A command that runs under RCU, in parallel to all others. It must not sleep.
pub(crate) trait RcuCommand<S: Subsystem> {
    /// Carries out the command. An error becomes the answer.
    fn call(req: Request<'_, S>, ack: &mut ExtAck<'_>, rcu: ReadSection) -> Result;
}

/// An entry of a subsystem's table of commands (`struct nfnl_callback`).
#[repr(transparent)]
pub(crate) struct Callback<S>(bindings::nfnl_callback, PhantomData<fn() -> S>);

impl<S: Subsystem> Callback<S> {
    const fn new(
        call: unsafe extern "C" fn(
            *mut bindings::sk_buff,
            *const bindings::nfnl_info,
            *const *const bindings::nlattr,
        ) -> c_int,
        kind: bindings::nfnl_callback_type,
    ) -> Self {
        assert!(!S::POLICY.is_empty() && S::POLICY.len() <= 32);
        Self(
            bindings::nfnl_callback {
                call: Some(call),
                policy: S::POLICY.as_ptr().cast(),
                type_: kind,
                attr_count: S::POLICY.len() as u16 - 1,
            },
            PhantomData,
        )
    }

    /// Makes an entry of a command that runs under the mutex (`NFNL_CB_MUTEX`).
    pub(crate) const fn mutex<C: MutexCommand<S>>() -> Self {
        Self::new(
            Self::call_mutex::<C>,
            bindings::nfnl_callback_type_NFNL_CB_MUTEX,
        )
    }

    /// Makes an entry of a command that runs under RCU (`NFNL_CB_RCU`).
    pub(crate) const fn rcu<C: RcuCommand<S>>() -> Self {
        Self::new(
            Self::call_rcu::<C>,
            bindings::nfnl_callback_type_NFNL_CB_RCU,
        )
    }

    /// # Safety
    ///
    /// To be called by the nfnetlink core only, for an entry of type `NFNL_CB_MUTEX` of `S`.
    unsafe extern "C" fn call_mutex<C: MutexCommand<S>>(
        skb: *mut bindings::sk_buff,
        info: *const bindings::nfnl_info,
        attrs: *const *const bindings::nlattr,
    ) -> c_int {
        // SAFETY: By this function's contract.
        let (req, mut ack) = unsafe { Request::from_raw(skb, info, attrs) };
        // INVARIANT: The core holds the mutex during the call, and it is not recursive.
        let mut lock = Locked(PhantomData);
        from_result(|| C::call(&req, &mut ack, &mut lock).map(|()| 0))
    }

    /// # Safety
    ///
    /// To be called by the nfnetlink core only, for an entry of type `NFNL_CB_RCU` of `S`.
    unsafe extern "C" fn call_rcu<C: RcuCommand<S>>(
        skb: *mut bindings::sk_buff,
        info: *const bindings::nfnl_info,
        attrs: *const *const bindings::nlattr,
    ) -> c_int {
        // SAFETY: By this function's contract.
        let (req, mut ack) = unsafe { Request::from_raw(skb, info, attrs) };
        // INVARIANT: The core holds the RCU read lock exactly once during the call.
        let section = ReadSection {
            guard: rcu::read_lock(),
        };
        from_result(|| C::call(req, &mut ack, section).map(|()| 0))
    }
}

/// Evidence that the mutex of the subsystem `S` is held.
///
/// # Invariants
///
/// The mutex is held by the current thread, and there is one value for each time it is taken.
pub(crate) struct Locked<S>(PhantomData<(S, *mut ())>);

// SAFETY: By the type invariant there is at most one value for each `S`, and a mutex orders one
// holder's writes before the next holder's reads.
unsafe impl<S: Subsystem> WriteLock for Locked<S> {}

/// The mutex of a subsystem, taken outside of a command.
pub(crate) struct LockGuard<S: Subsystem>(Locked<S>);

/// Takes the mutex of a subsystem; for use outside of its commands. Sleeps.
pub(crate) fn lock<S: Subsystem>() -> LockGuard<S> {
    const { assert!((S::ID as u32) < bindings::NFNL_SUBSYS_COUNT) };
    // SAFETY: The core has a mutex for each number below the limit, registered or not.
    unsafe { bindings::nfnl_lock(S::ID) };
    // INVARIANT: Just taken.
    LockGuard(Locked(PhantomData))
}

impl<S: Subsystem> Deref for LockGuard<S> {
    type Target = Locked<S>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<S: Subsystem> DerefMut for LockGuard<S> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

impl<S: Subsystem> Drop for LockGuard<S> {
    fn drop(&mut self) {
        // SAFETY: Taken in `lock`, by this thread: the type is not `Send`.
        unsafe { bindings::nfnl_unlock(S::ID) };
    }
}

/// The read-side section that an [`RcuCommand`] runs in.
///
/// # Invariants
///
/// The core holds the RCU read lock exactly once, and `guard` a second time.
pub(crate) struct ReadSection {
    guard: rcu::Guard,
}

impl Deref for ReadSection {
    type Target = rcu::Guard;

    fn deref(&self) -> &Self::Target {
        &self.guard
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
        // SAFETY: The core passes valid pointers.
        let (skb, info) = unsafe { (NonNull::new_unchecked(skb), &*info) };
        // SAFETY: The table has one entry for each entry of the policy, parsed with it.
        let attrs = unsafe { Attrs::from_raw(attrs, S::POLICY.len()) };
        // SAFETY: The core made the structure for this message alone, and looks at it afterwards.
        let ack = unsafe { ExtAck::from_raw(info.extack) };
        // INVARIANT: A command of `S` runs, so its registration exists, which owns a `Provides`.
        let req = Self {
            skb,
            info,
            attrs,
            _subsystem: PhantomData,
        };
        (req, ack)
    }

    /// The network namespace of the socket that the request came from.
    pub(crate) fn net(&self) -> &'a Net {
        // SAFETY: The socket keeps its namespace while the command runs.
        unsafe { Net::from_raw(self.info.net) }
    }

    /// The subsystem's data in that namespace.
    pub(crate) fn data(&self) -> &S::Data {
        // SAFETY: By the type invariants.
        unsafe { netns::data(self.net()) }
    }

    /// The attributes of the request.
    pub(crate) fn attrs(&self) -> Attrs<'a> {
        self.attrs
    }

    fn header(&self) -> &bindings::nlmsghdr {
        // SAFETY: By the type invariants.
        unsafe { &*self.info.nlh }
    }

    /// Whether the request carries all of these flags (`NLM_F_*`).
    pub(crate) fn has_flags(&self, flags: u32) -> bool {
        u32::from(self.header().nlmsg_flags) & flags == flags
    }

    /// Whether the request asks for all objects there are.
    ///
    /// `NLM_F_DUMP` is two bits; as everywhere in netfilter, one of them is enough.
    pub(crate) fn is_dump(&self) -> bool {
        u32::from(self.header().nlmsg_flags) & bindings::NLM_F_DUMP != 0
    }

    /// Answers with one message of type `command`, which `fill` writes.
    ///
    /// The message is marked `NLM_F_MULTI`, as subsystems have always done. Does not sleep. Fails
    /// with `ENOMEM`, `EMSGSIZE` if the message does not fit in a page, and `ENOBUFS` if the client
    /// does not read.
    pub(crate) fn reply(
        &self,
        command: u8,
        fill: impl FnOnce(&mut Message<'_>) -> Result,
    ) -> Result {
        let skb = SkBuff::new()?;
        // SAFETY: The request's buffer is valid.
        let portid = unsafe { (*bindings::cttimeout_helper_NETLINK_CB(self.skb.as_ptr())).portid };

        // SAFETY: The buffer is ours until it is sent.
        let mut msg = unsafe {
            put_header::<S>(
                NonNull::new_unchecked(skb.as_raw()),
                portid,
                self.header().nlmsg_seq,
                command,
            )
        }?;
        fill(&mut msg)?;
        msg.end();

        // SAFETY: The namespace is valid; the function frees the buffer in any case.
        to_result(unsafe { bindings::nfnetlink_unicast(skb.into_raw(), self.info.net, portid) })
    }

    /// Starts to send all objects, as `D` writes them.
    ///
    /// Returns `EINTR` on success, which tells the core that no further reply is due. Sleeps,
    /// and so consumes the read-side section, and the request, whose data the section protects. As
    /// before taking a mutex, the caller must not be in another read-side section; lockdep tells.
    pub(crate) fn start_dump<D: Dump<S>>(self, section: ReadSection) -> Result {
        let module = this_module::<S::Module>().as_ptr();
        let mut control = bindings::netlink_dump_control {
            dump: Some(dump::fill::<S, D>),
            module,
            ..Default::default()
        };
        // The module could be unloaded while we are outside the read-side critical section. (Not
        // EAGAIN: the core would try again at once, and keep the CPU from the task that unloads
        // it.)
        let _module = ModuleRef::<S::Module>::try_get().ok_or(EPROTONOSUPPORT)?;

        drop(section);
        // SAFETY: By the invariant of `ReadSection`, the core's read lock is still held, and nothing
        // that it protects is used below. The other arguments are the core's own, and the
        // message is kept by a reference of the dump's.
        to_result(unsafe {
            bindings::rcu_read_unlock();
            let ret = bindings::__netlink_dump_start(
                self.info.sk,
                self.skb.as_ptr(),
                self.info.nlh,
                &mut control,
            );
            bindings::rcu_read_lock();
            ret
        })
    }
}

/// Begins a message with an nfnetlink header.
///
/// # Safety
///
/// `skb` must be valid, and nobody else may write to it during `'a`.
unsafe fn put_header<'a, S: Subsystem>(
    skb: NonNull<bindings::sk_buff>,
    portid: u32,
    seq: u32,
    command: u8,
) -> Result<Message<'a>> {
    let msg_type = c_int::from(S::ID) << 8 | c_int::from(command);
    // Only the kernel itself has port 0.
    let flags = if portid != 0 {
        bindings::NLM_F_MULTI
    } else {
        0
    };
    // SAFETY: By the caller's promise.
    let nlh = unsafe {
        bindings::cttimeout_helper_nfnl_msg_put(
            skb.as_ptr(),
            portid,
            seq,
            msg_type,
            flags as c_int,
            bindings::AF_UNSPEC as u8,
            bindings::NFNETLINK_V0 as u8,
            0,
        )
    };
    let nlh = NonNull::new(nlh).ok_or(EMSGSIZE)?;
    // SAFETY: The header was just put at the end of the buffer.
    Ok(unsafe { Message::from_raw(skb, nlh) })
}

/// A registered subsystem, together with `P`, which provides its per-namespace data.
///
/// When it is dropped, the subsystem is unregistered first, and then `P` goes.
pub(crate) struct Registration<S: Subsystem, P: Provides<S::Data>> {
    subsystem: &'static bindings::nfnetlink_subsystem,
    _below: P,
    _subsystem: PhantomData<S>,
}

// SAFETY: The C structure is immutable.
unsafe impl<S: Subsystem, P: Provides<S::Data> + Send> Send for Registration<S, P> {}

// SAFETY: As above.
unsafe impl<S: Subsystem, P: Provides<S::Data> + Sync> Sync for Registration<S, P> {}

impl<S: Subsystem, P: Provides<S::Data>> Registration<S, P> {
    const SUBSYSTEM: bindings::nfnetlink_subsystem = {
        assert!((S::ID as u32) < bindings::NFNL_SUBSYS_COUNT && S::CALLBACKS.len() <= 0xff);
        bindings::nfnetlink_subsystem {
            name: as_char_ptr_in_const_context(S::NAME),
            subsys_id: S::ID,
            cb_count: S::CALLBACKS.len() as u8,
            cb: S::CALLBACKS.as_ptr().cast(),
            owner: this_module::<S::Module>().as_ptr(),
            ..pin_init::zeroed()
        }
    };

    /// Registers the subsystem: from now on its commands are called. May sleep.
    ///
    /// Fails with `EBUSY` if there is another one with its number; `below` is dropped then.
    pub(crate) fn new(below: P) -> Result<Self> {
        let subsystem = &Self::SUBSYSTEM;
        // SAFETY: The structure is static. The callbacks find the data they need, because `below`
        // exists until after they were unregistered.
        to_result(unsafe { bindings::nfnetlink_subsys_register(subsystem) })?;
        Ok(Self {
            subsystem,
            _below: below,
            _subsystem: PhantomData,
        })
    }
}

impl<S: Subsystem, P: Provides<S::Data>> Drop for Registration<S, P> {
    fn drop(&mut self) {
        // SAFETY: Registered in `new`. Waits for the mutex and for a grace period, that is, for all
        // commands that were called.
        unsafe { bindings::nfnetlink_subsys_unregister(self.subsystem) };
    }
}
