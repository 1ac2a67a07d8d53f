#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Searches a guest's console for reports of kernel checkers, prints them, and fails if there
# are any, or if the kernel log is not complete.
#
# usage: check-log.sh [-p] CONSOLE_FILE
#   -p  the beginning of the log may be missing, as after hours

part=
[ "$1" != -p ] || { part=y && shift; }

reports='WARNING|BUG|Oops|Kernel panic|Call Trace|general protection fault|UBSAN'
reports+='|KASAN|KCSAN|KFENCE|ODEBUG|DEBUG_LOCKS_WARN|suspicious RCU|RCU used illegally'
reports+='|possible (recursive|circular)|inconsistent lock state|lock held when returning'
reports+='|INFO: (task|rcu|trying)|rcu: INFO|rcu_.* (self-)?detected stall|soft lockup|hung_task'
reports+='|sleeping function|scheduling while atomic|refcount_t:|list_(add|del) corruption'
reports+='|kmemleak: [1-9][0-9]* new|unreferenced object|slab error|Objects remaining'
reports+='|rust_kernel: panicked|panicked at|unregister_netdevice: waiting'
# A checker that has given up reports nothing after that.
reports+='|leak detector disabled|turning off the locking correctness validator'

# Kernel features that announce themselves at boot, and messages of the guest's init
harmless='\] virtme-(ng-)?init: |'
harmless+='kasan: KernelAddressSanitizer initialized|^.{0,24}KASAN'
harmless+=' (initialized|enabled)|ODEBUG: selftest passed'

# Messages with another cause than the module. A message without its end within 80 lines is a
# report.
#
# vmalloc reports failures that a test has injected, with a stack trace: missing memory for a
# vm_struct or for an array of pages, a few bytes each, is an injected failure. The tracing
# core warns if it has no memory for an event of a module, and prints the error: any error
# but ENOMEM (12) is a report.
#
# In Linux 7.3, ovs_ct_copy_action() reads a flow's timeout with rcu_dereference(), but
# without the RCU read lock, with the C module as with this one.
excused='
	function begin(last, words) { end = last; must = words; n = 0 }
	function flush() { for (i = 0; i < n; i++) print kept[i]; end = "" }
	end == "" && failing && /vmalloc error: .* (vm_struct allocation failed|failed to allocated page array)/ {
		begin("</TASK>", "")
	}
	end == "" && failing && /WARNING: kernel\/trace\/trace_events.c:.* at event_define_fields/ {
		begin("---[ end trace", "")
	}
	end == "" && /WARNING: suspicious RCU usage/ {
		begin("</TASK>", "net/openvswitch/conntrack.c:[0-9]+ suspicious rcu_dereference_check")
	}
	end == "" { print; next }
	{ kept[n++] = $0 }
	must != "" && $0 ~ must { must = "" }
	index($0, end) { if (must != "") flush(); end = "" }
	n > 80 { flush() }
	END { if (end != "") flush() }'
failing=
! grep -q '# Subtest: cttimeout_failslab' "$1" || failing=1
reports+='|error code is -([02-9]|1$|1[013-9]|12[0-9])'

# reported: prints the reports in the lines on stdin
reported() { awk -v failing="$failing" "$excused" | grep -aE "$reports" | grep -avE "$harmless"; }

log=$(sed -n '/--- kmemleak begins ---/,/--- kmemleak ends ---/p
	/--- kernel log begins ---/,/--- kernel log ends ---/p' "$1")
found=$(reported <<<"$log")
# The log must have its first line and its last.
{ [ -n "$part" ] || grep -q 'Linux version' <<<"$log"; } && grep -q -- '--- kernel log ends ---' <<<"$log" || {
	# The console has what the kernel printed before the guest ended.
	reported <"$1" | head -n 40
	echo "the guest's kernel log is not complete; the console ends with:"
	tail -n 40 "$1"
	exit 1
}
[ -z "$found" ] || {
	echo "$found"
	exit 1
}
