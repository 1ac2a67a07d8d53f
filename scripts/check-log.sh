#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Looks through a guest's console for anything a kernel checker reports, prints
# it, and fails if there is any, or if the kernel log is not all there.
#
# usage: check-log.sh [-p] CONSOLE_FILE
#   -p  part of the log will do: a guest that ran for hours may have no more than that

part=
[ "$1" != -p ] || { part=y && shift; }

reports='WARNING|BUG|Oops|Kernel panic|Call Trace|general protection fault|UBSAN'
reports+='|KASAN|KCSAN|KFENCE|ODEBUG|DEBUG_LOCKS_WARN|suspicious RCU|RCU used illegally'
reports+='|possible (recursive|circular)|inconsistent lock state|lock held when returning'
reports+='|INFO: (task|rcu|trying)|rcu: INFO|rcu_.* (self-)?detected stall|soft lockup|hung_task'
reports+='|sleeping function|scheduling while atomic|refcount_t:|list_(add|del) corruption'
reports+='|kmemleak: [1-9][0-9]* new|unreferenced object|slab error|Objects remaining'
reports+='|rust_kernel: panicked|panicked at|unregister_netdevice: waiting'
# A checker that has given up would have nothing to say of the rest.
reports+='|leak detector disabled|turning off the locking correctness validator'

# The names of kernel features that announce themselves at boot, and what the
# guest's init, which is no part of the kernel, writes to the log.
harmless='\] virtme-ng-init: |'
harmless+='kasan: KernelAddressSanitizer initialized|^.{0,24}KASAN'
harmless+=' (initialized|enabled)|ODEBUG: selftest passed'

# What the kernel has to say of failures that a test has injected. vmalloc tells of
# each, with a stack: without memory for the few bytes of a vm_struct or of an array
# of pages, it is such a one. The tracing core warns if it has no memory for an event
# of a module, and then names the error: anything but ENOMEM, 12, is a report. Where the
# end of such a message is not found in so many lines, it is no such message.
injected='
	function flush() { for (i = 0; i < n; i++) print kept[i]; n = 0; end = "" }
	end == "" && /vmalloc error: .* (vm_struct allocation failed|failed to allocated page array)/ { end = "</TASK>" }
	end == "" && /WARNING: kernel\/trace\/trace_events.c:.* at event_define_fields/ { end = "---[ end trace" }
	end == "" { print; next }
	{ kept[n++] = $0 }
	index($0, end) { n = 0; end = "" }
	n > 80 { flush() }
	END { flush() }'
grep -q '# Subtest: cttimeout_failslab' "$1" || injected='{ print }'
reports+='|error code is -([02-9]|1$|1[013-9]|12[0-9])'

log=$(sed -n '/--- kmemleak begins ---/,/--- kmemleak ends ---/p
	/--- kernel log begins ---/,/--- kernel log ends ---/p' "$1")
found=$(awk "$injected" <<<"$log" | grep -E "$reports" | grep -vE "$harmless")
# From its first line to its last
{ [ -n "$part" ] || grep -q 'Linux version' <<<"$log"; } && grep -q -- '--- kernel log ends ---' <<<"$log" || {
	[ -z "$found" ] || head -n 40 <<<"$found"
	echo "the guest's kernel log is not complete; the console ends with:"
	tail -n 40 "$1"
	exit 1
}
[ -z "$found" ] || {
	echo "$found"
	exit 1
}
