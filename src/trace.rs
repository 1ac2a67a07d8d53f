// SPDX-License-Identifier: GPL-2.0

//! Tracepoints: changes to policies, and rules that start or stop using them.
//!
//! While nobody traces, each is an instruction that does nothing, which the kernel patches into a
//! jump otherwise. `kernel::declare_trace!` finds only tracepoints of the kernel crate's bindings.
//!
//! C header: `include/trace/events/cttimeout.h`

use kernel::prelude::*;

use crate::{
    conntrack::timeout::Timeout,
    net::netns::Net, //
};

/// Defines a function that hits a tracepoint, with arguments that are evaluated if somebody traces.
macro_rules! trace {
    ($(#[$doc:meta])* $name:ident($($param:ident: $type:ty),*) => $($arg:expr),*) => {
        $(#[$doc])*
        #[inline(always)]
        pub(crate) fn $name($($param: $type),*) {
            #[cfg(all(CONFIG_TRACEPOINTS, not(CTTIMEOUT_NO_TRACE)))]
            kernel::macros::paste! {
                // SAFETY: `__tracepoint_cttimeout_*` is a static, whose key can always be read.
                if unsafe {
                    kernel::jump_label::static_branch_unlikely!(
                        crate::bindings::[<__tracepoint_cttimeout_ $name>],
                        kernel::bindings::tracepoint,
                        key
                    )
                } {
                    // SAFETY: The pointers come from references, and names have a NUL.
                    unsafe { crate::bindings::[<rust_do_trace_cttimeout_ $name>]($($arg),*) };
                }
            }
            #[cfg(not(all(CONFIG_TRACEPOINTS, not(CTTIMEOUT_NO_TRACE))))]
            {
                let _ = || ($($arg),*);
            }
        }
    };
}

trace!(
    /// A request has created a policy.
    create(net: &Net, policy: &Timeout) =>
    net.as_raw(),
    policy.name().as_c_str().as_char_ptr(),
    policy.l3num(),
    policy.l4proto().number()
);

trace!(
    /// A request has replaced the timeouts of a policy.
    replace(net: &Net, policy: &Timeout) =>
    net.as_raw(),
    policy.name().as_c_str().as_char_ptr(),
    policy.l3num(),
    policy.l4proto().number()
);

trace!(
    /// A request deletes a policy.
    delete(net: &Net, policy: &Timeout) =>
    net.as_raw(),
    policy.name().as_c_str().as_char_ptr(),
    policy.l3num(),
    policy.l4proto().number()
);

trace!(
    /// A rule has taken a policy, and counts among the users in the event.
    hold(policy: &Timeout) =>
    policy.name().as_c_str().as_char_ptr(),
    policy.users()
);

trace!(
    /// A rule releases a policy, and no longer counts among the users in the event.
    release(policy: &Timeout) =>
    policy.name().as_c_str().as_char_ptr(),
    policy.users().saturating_sub(1)
);
