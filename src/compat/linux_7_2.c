// SPDX-License-Identifier: GPL-2.0
/*
 * Linux 7.2: module parameters of type bool, which module! of its kernel crate
 * does not know. They are the same in src/nfnetlink_cttimeout_rust_main.rs.
 */
#include <linux/module.h>

/* linux_7_2.rs reads it. */
extern bool cttimeout_detach_in_use;
bool cttimeout_detach_in_use;
module_param_named(detach_in_use, cttimeout_detach_in_use, bool, 0);
MODULE_PARM_DESC(detach_in_use,
		 "delete policies even if rules use them (default: refuse)");
