// SPDX-License-Identifier: GPL-2.0

//! Dumps: all objects of a namespace, over as many buffers as it takes.
//!
//! Between two buffers anything can change. The cursor says where to go on, and if the generation
//! has changed, messages are marked to say that the dump is not consistent (`NLM_F_DUMP_INTR`).
//!
//! # Examples
//!
//! Two totals for each namespace, which are always there:
//!
//! ```ignore
//! # use kernel::{
//! #     bindings,
//! #     declare_pernet,
//! #     net::{
//! #         netns::{self, PerNet},
//! #         nfnetlink::{
//! #             self,
//! #             dump::{Dump, DumpBuffer},
//! #             Callback, RcuCommand, ReadSection, Request, Subsystem,
//! #         },
//! #         nlmsg::{AttrPolicy, ExtAck},
//! #     },
//! #     sync::{atomic::{Atomic, Relaxed}, rcu},
//! # };
//! # struct Totals([Atomic<u32>; 2]);
//! # declare_pernet!(Totals);
//! # impl PerNet for Totals {
//! #     fn init() -> impl PinInit<Self, Error> {
//! #         Ok::<_, Error>(Self([Atomic::new(0), Atomic::new(0)]))
//! #     }
//! #     fn pre_exit(&self) {}
//! # }
//! # struct Counters;
//! # impl Subsystem for Counters {
//! #     type Module = LocalModule;
//! #     type Data = Totals;
//! #     const NAME: &'static CStr = c"counters";
//! #     const ID: u8 = bindings::NFNL_SUBSYS_NONE as u8;
//! #     const POLICY: &'static [AttrPolicy] = &[AttrPolicy::unspecified()];
//! #     const CALLBACKS: &'static [Callback<Self>] = &[Callback::rcu::<Get>()];
//! # }
//! struct Get;
//!
//! impl Dump<Counters> for Get {
//!     type Cursor = usize;
//!
//!     fn generation(_totals: &Totals) -> u32 {
//!         1
//!     }
//!
//!     fn fill(
//!         totals: &Totals,
//!         out: &mut DumpBuffer<'_, Counters>,
//!         next: &mut usize,
//!         _rcu: &rcu::Guard,
//!     ) -> Result {
//!         while let Some(total) = totals.0.get(*next) {
//!             // Returns if the buffer is full; the next call goes on from here.
//!             out.message(0, |msg| msg.put_be32(2, total.load(Relaxed)))?;
//!             *next += 1;
//!         }
//!         Ok(())
//!     }
//! }
//!
//! impl RcuCommand<Counters> for Get {
//!     fn call(req: Request<'_, Counters>, _ack: &mut ExtAck<'_>, rcu: ReadSection) -> Result {
//!         if !req.is_dump() {
//!             return Err(EOPNOTSUPP);
//!         }
//!         req.start_dump::<Get>(rcu)
//!     }
//! }
//!
//! let counters: nfnetlink::Registration<Counters, _> =
//!     nfnetlink::Registration::new(netns::Registration::<Totals>::new()?)?;
//! # drop(counters);
//! # Ok::<(), Error>(())
//! ```
//!
//! C header: [`include/linux/netlink.h`](srctree/include/linux/netlink.h)

use core::{
    marker::PhantomData,
    ptr::NonNull, //
};

use kernel::{
    ffi::c_int,
    prelude::*,
    sync::rcu, //
};

use super::{
    put_header,
    Subsystem, //
};

use crate::{
    bindings,
    net::{
        netlink::Message,
        netns::{
            HasSubsys,
            Net, //
        },
    },
};

/// How all objects of a namespace are sent, buffer by buffer.
pub(crate) trait Dump<S: Subsystem>: 'static {
    /// Where to go on. All zeros means the beginning. It is never dropped, and each buffer may be
    /// filled by a different thread.
    type Cursor: Copy + Send + Zeroable;

    /// A number that changes when objects come or go; never zero.
    fn generation(data: &S::Data) -> u32;

    /// Writes objects from `cursor` on, until there are no more (`Ok`) or one does not fit in the
    /// buffer (`EMSGSIZE`), and leaves `cursor` at the first that was not written.
    fn fill(
        data: &S::Data,
        out: &mut DumpBuffer<'_, S>,
        cursor: &mut Self::Cursor,
        rcu: &rcu::Guard,
    ) -> Result;
}

/// A buffer of a dump.
///
/// # Invariants
///
/// The pointers are those the core passed to the dump callback, and valid while that runs.
pub(crate) struct DumpBuffer<'a, S> {
    skb: NonNull<bindings::sk_buff>,
    cb: NonNull<bindings::netlink_callback>,
    _callback: PhantomData<(&'a mut (), S)>,
}

impl<S: Subsystem> DumpBuffer<'_, S> {
    /// Appends a message of type `command`, which `fill` writes. `EMSGSIZE` if it does not fit.
    pub(crate) fn message(
        &mut self,
        command: u8,
        fill: impl FnOnce(&mut Message<'_>) -> Result,
    ) -> Result {
        let cb = self.cb.as_ptr();
        // SAFETY: The request's buffer and header are kept by the dump.
        let (portid, seq) = unsafe {
            (
                (*bindings::cttimeout_helper_NETLINK_CB((*cb).skb)).portid,
                (*(*cb).nlh).nlmsg_seq,
            )
        };
        // SAFETY: The buffer is ours during the callback.
        let mut msg = unsafe { put_header::<S>(self.skb, portid, seq, command) }?;
        // SAFETY: The message's header is in the buffer; it is the only message under construction.
        unsafe { bindings::cttimeout_helper_nl_dump_check_consistent(cb, msg.header()) };
        fill(&mut msg)?;
        msg.end();
        Ok(())
    }
}

/// # Safety
///
/// To be called by the netlink core only, for a dump that [`super::Request::start_dump`] started.
pub(super) unsafe extern "C" fn fill<S: Subsystem, D: Dump<S>>(
    skb: *mut bindings::sk_buff,
    cb: *mut bindings::netlink_callback,
) -> c_int {
    const {
        let room = size_of::<bindings::netlink_callback__bindgen_ty_1>();
        let align = align_of::<bindings::netlink_callback__bindgen_ty_1>();
        assert!(size_of::<D::Cursor>() <= room && align_of::<D::Cursor>() <= align);
    }
    // SAFETY: The buffer belongs to the socket that the dump is for, which keeps its namespace.
    let net = unsafe { Net::from_raw(bindings::cttimeout_helper_sock_net((*skb).sk)) };
    // SAFETY: The core sets this memory to zero before the first call, a valid cursor, and nobody
    // but us writes to it. It is large enough and aligned, as asserted above.
    let cursor = unsafe { &mut *(&raw mut (*cb).__bindgen_anon_1).cast::<D::Cursor>() };
    let guard = rcu::read_lock();
    // A dump holds the module, but nothing says that a module keeps its registrations to its end.
    let Some(data) = <S::Data as HasSubsys>::subsys().get(net, &guard) else {
        return 0;
    };

    // SAFETY: The core passes valid pointers.
    let mut out = unsafe {
        (*cb).seq = D::generation(data);
        DumpBuffer::<S> {
            skb: NonNull::new_unchecked(skb),
            cb: NonNull::new_unchecked(cb),
            _callback: PhantomData,
        }
    };
    let result = D::fill(data, &mut out, cursor, &guard);

    // If the objects changed while they were written, the next message must say so, even if it is
    // the one that ends the dump.
    let generation = D::generation(data);
    // SAFETY: As above.
    unsafe { (*cb).seq = generation };

    match result {
        Ok(()) => 0,
        // SAFETY: As above.
        Err(EMSGSIZE) if unsafe { (*skb).len } > 0 => unsafe { (*skb).len as c_int },
        Err(err) => err.to_errno(),
    }
}
