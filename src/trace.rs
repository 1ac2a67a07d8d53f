// SPDX-License-Identifier: GPL-2.0

//! Tracepoints of the subsystem: what happens to policies, and which rules use them.
//!
//! While nobody traces, each is a no-op instruction, which the kernel patches into a jump when
//! somebody does (`CONFIG_JUMP_LABEL`). That is why the functions take whole objects, and read
//! their fields only while tracing; those of `kernel::tracepoint::declare_trace!` would take the
//! fields as arguments.
//!
//! C header: `include/trace/events/cttimeout.h`

use kernel::{
    prelude::*,
    ModuleMetadata, //
};

use crate::{
    net::{
        conntrack::{
            l4proto::L4Proto,
            timeout::TimeoutRef,
            TIMEOUT_NAME_MAX, //
        },
        netns::Net,
    },
    str::PaddedStr,
    sync::rcu_map::Node,
};

/// Hits a tracepoint if somebody traces; evaluates the arguments only then.
///
/// They must be what the tracepoint takes: pointers that are valid for reads, strings that are
/// terminated.
macro_rules! hit {
    ($name:ident($($arg:ident: $value:expr),*)) => {
        #[cfg(all(CONFIG_TRACEPOINTS, not(CTTIMEOUT_NO_TRACE)))]
        kernel::macros::paste! {
            // SAFETY: It is a tracepoint, which has a static key.
            if unsafe {
                kernel::jump_label::static_branch_unlikely!(
                    crate::bindings::[<__tracepoint_ $name>],
                    kernel::bindings::tracepoint,
                    key
                )
            } {
                out_of_line(move || {
                    $(let $arg = $value;)*
                    // SAFETY: By this macro's requirements.
                    unsafe { crate::bindings::[<rust_do_trace_ $name>]($($arg),*) };
                });
            }
        }
        #[cfg(not(all(CONFIG_TRACEPOINTS, not(CTTIMEOUT_NO_TRACE))))]
        {
            let _ = || ($($value),*);
        }
    };
}

/// Keeps the code that runs only while somebody traces out of the common path.
#[cfg(all(CONFIG_TRACEPOINTS, not(CTTIMEOUT_NO_TRACE)))]
#[cold]
#[inline(never)]
fn out_of_line(action: impl FnOnce()) {
    action();
}

/// The name of a policy.
type Name = PaddedStr<TIMEOUT_NAME_MAX>;

/// A policy, which knows its name.
type Policy<'a, M> = TimeoutRef<'a, Node<Name>, M>;

/// A request has created a policy.
#[inline(always)]
pub(crate) fn create(net: &Net, name: &Name, l3num: u16, proto: L4Proto) {
    hit!(cttimeout_create(
        net: net.as_raw(),
        name: name.as_c_str().as_char_ptr(),
        family: l3num,
        proto: proto.number()
    ));
}

/// A request has replaced the timeouts of a policy.
#[inline(always)]
pub(crate) fn replace<M: ModuleMetadata>(net: &Net, policy: Policy<'_, M>) {
    hit!(cttimeout_replace(
        net: net.as_raw(),
        name: policy.value().key().as_c_str().as_char_ptr(),
        l3num: policy.l3num(),
        proto: policy.proto().number()
    ));
}

/// A request has deleted a policy.
#[inline(always)]
pub(crate) fn delete<M: ModuleMetadata>(net: &Net, policy: Policy<'_, M>) {
    hit!(cttimeout_delete(
        net: net.as_raw(),
        name: policy.value().key().as_c_str().as_char_ptr(),
        l3num: policy.l3num(),
        proto: policy.proto().number()
    ));
}

/// A rule has taken a policy. The event has the number of users, the rule included.
#[inline(always)]
pub(crate) fn hold<M: ModuleMetadata>(policy: Policy<'_, M>) {
    hit!(cttimeout_hold(
        name: policy.value().key().as_c_str().as_char_ptr(),
        users: policy.users()
    ));
}

/// A rule releases a policy. The event has the number of users that remain.
#[inline(always)]
pub(crate) fn release<M: ModuleMetadata>(policy: Policy<'_, M>) {
    hit!(cttimeout_release(
        name: policy.value().key().as_c_str().as_char_ptr(),
        users: policy.users().saturating_sub(1)
    ));
}
