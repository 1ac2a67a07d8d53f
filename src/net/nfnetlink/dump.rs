// SPDX-License-Identifier: GPL-2.0

//! Dumps: all objects of a namespace ([`Dump`]), over as many buffers ([`DumpBuffer`]) as it takes.
//!
//! Anything can change between two buffers, so the cursor says where to go on. No message is marked
//! `NLM_F_DUMP_INTR`: a dump is not a snapshot, and libmnl would stop at the mark.
//!
//! C header: [`include/linux/netlink.h`](srctree/include/linux/netlink.h)

use core::{
    marker::PhantomData,
    ptr::NonNull, //
};

use kernel::{
    error::from_result,
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
            HasPernet,
            Net, //
        },
    },
};

/// How all objects of a namespace are sent, buffer by buffer.
pub(crate) trait Dump<S: Subsystem>: 'static {
    /// Where to go on; all zeros means the beginning.
    ///
    /// The value is never dropped, and each buffer may be filled by a different thread.
    type Cursor: Copy + Send + Zeroable;

    /// Writes objects from `cursor` on, until there are no more (`Ok`) or one does not fit in the
    /// buffer (`EMSGSIZE`), and sets `cursor` to where the next buffer begins.
    ///
    /// Must not sleep.
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
    /// Appends a message of type `command`, which `fill` writes; `EMSGSIZE` if it does not fit.
    pub(crate) fn message(
        &mut self,
        command: u8,
        fill: impl FnOnce(&mut Message<'_>) -> Result,
    ) -> Result {
        // SAFETY: By the type invariant `cb` and its request are valid, and so is `skb`, to which
        // nobody but this dump writes.
        let mut msg = unsafe {
            let cb = self.cb.as_ref();
            put_header::<S>(self.skb, cb.skb, cb.nlh, command)
        }?;
        fill(&mut msg)?;
        msg.end();
        Ok(())
    }
}

/// # Safety
///
/// For the netlink core only, for a dump that [`super::Request::start_dump`] started.
pub(super) unsafe extern "C" fn fill<S: Subsystem, D: Dump<S>>(
    skb: *mut bindings::sk_buff,
    cb: *mut bindings::netlink_callback,
) -> c_int {
    const {
        let room = size_of::<bindings::netlink_callback__bindgen_ty_1>();
        assert!(size_of::<D::Cursor>() <= room);
    }
    // SAFETY: `skb` belongs to the socket that the dump is for, which keeps its namespace.
    let net = unsafe { Net::from_raw(bindings::cttimeout_helper_sock_net((*skb).sk)) };
    let guard = rcu::read_lock();
    // Litmus: registered
    // A dump holds the module, but a module may end its registrations before.
    let Some(data) = <S::Data as HasPernet>::pernet().get(net, &guard) else {
        return 0;
    };
    // SAFETY: `skb` and `cb` are the core's arguments: valid, and not null.
    let (place, mut out) = unsafe {
        // INVARIANT: `skb` and `cb` are the arguments of this call.
        let out = DumpBuffer::<S> {
            skb: NonNull::new_unchecked(skb),
            cb: NonNull::new_unchecked(cb),
            _callback: PhantomData,
        };
        ((&raw mut (*cb).__bindgen_anon_1).cast::<D::Cursor>(), out)
    };
    // SAFETY: `place` is large enough for a cursor, as asserted above, but may not be aligned. The
    // core zeroes it before the first call, and all zeros is a cursor; after that, only this
    // function writes to `place`.
    let mut cursor = unsafe { place.read_unaligned() };
    // The core goes on after EMSGSIZE, if there is anything in the buffer.
    let ret = from_result(|| D::fill(data, &mut out, &mut cursor, &guard).map(|()| 0));
    // SAFETY: `place` is large enough for a cursor, as asserted above; nobody else uses it.
    unsafe { place.write_unaligned(cursor) };
    ret
}
