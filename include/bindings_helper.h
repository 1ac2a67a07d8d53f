/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The C declarations that bindgen turns into Rust, beyond those that the
 * kernel crate's own bindings already have. Kbuild names the items to take.
 */
#ifndef _CTTIMEOUT_BINDINGS_HELPER_H
#define _CTTIMEOUT_BINDINGS_HELPER_H

#include <linux/gfp.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_cttimeout.h>
#include <linux/rhashtable.h>
#include <net/netfilter/nf_conntrack.h>
#include <net/netfilter/nf_conntrack_core.h>
#include <net/netfilter/nf_conntrack_l4proto.h>
#include <net/netfilter/nf_conntrack_timeout.h>
#include <net/netlink.h>

#include "helpers.h"
#include "trace/events/cttimeout.h"

/* bindgen does not evaluate these macros. */
const gfp_t CTTIMEOUT_CONST___GFP_RETRY_MAYFAIL = __GFP_RETRY_MAYFAIL;
const size_t CTTIMEOUT_CONST_NLMSG_DEFAULT_SIZE = NLMSG_DEFAULT_SIZE;

#endif /* _CTTIMEOUT_BINDINGS_HELPER_H */
