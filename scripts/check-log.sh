#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Looks through a guest's console for anything a kernel checker reports, prints
# it, and fails if there is any, or if the kernel log is not all there.
#
# usage: check-log.sh CONSOLE_FILE

reports='WARNING|BUG|Oops|Kernel panic|Call Trace|general protection fault|UBSAN'
reports+='|KASAN|KCSAN|KFENCE|ODEBUG|DEBUG_LOCKS_WARN|suspicious RCU|RCU used illegally'
reports+='|possible (recursive|circular)|inconsistent lock state|lock held when returning'
reports+='|INFO: (task|rcu|trying)|rcu: INFO|rcu_.* (self-)?detected stall|soft lockup|hung_task'
reports+='|sleeping function|scheduling while atomic|refcount_t:|list_(add|del) corruption'
reports+='|kmemleak: [1-9][0-9]* new|unreferenced object|slab error|Objects remaining'
reports+='|rust_kernel: panicked|panicked at|unregister_netdevice: waiting'

# The names of kernel features that announce themselves at boot, and what the
# guest's init, which is no part of the kernel, writes to the log.
harmless='\] virtme-ng-init: |'
harmless+='kasan: KernelAddressSanitizer initialized|^.{0,24}KASAN'
harmless+=' (initialized|enabled)|ODEBUG: selftest passed'

# What the kernel has to say of failures that a test has injected. vmalloc tells of
# each, with a stack: without memory for the few bytes of a vm_struct or of an array
# of pages, it is such a one. The tracing core warns if it has no memory for an event
# of a module, and then names the error: anything but ENOMEM, 12, is a report.
injected='/vmalloc error: .* \(vm_struct allocation failed\|failed to allocated page array\)/,/<\/TASK>/d'
injected+=';/WARNING: kernel\/trace\/trace_events.c:.* at event_define_fields/,/---\[ end trace/d'
reports+='|error code is -([02-9]|1$|1[013-9]|12[0-9])'

found=$(sed -n '/--- kmemleak begins ---/,/--- kmemleak ends ---/p
	/--- kernel log begins ---/,/--- kernel log ends ---/p' "$1" | sed "$injected" |
	grep -E "$reports" | grep -vE "$harmless")
grep -q -- '--- kernel log ends ---' "$1" || {
	echo "the guest's kernel log is not complete; the console ends with:"
	tail -n 40 "$1"
	exit 1
}
[ -z "$found" ] || {
	echo "$found"
	exit 1
}
