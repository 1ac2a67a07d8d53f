#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# make demo: sets everything up, and shows the module at work in a virtual machine.

. "$(dirname "$0")/lib.sh"
. "$TOP/scripts/tools.sh"

need_vm_tools
kdir=$("$TOP/scripts/kernel.sh" plain) || exit
modules=$("$TOP/scripts/module.sh" "$kdir") || exit
say "==> booting the virtual machine"
console=$CACHE/logs/demo.console
"$TOP/scripts/vm.sh" -t 300 "$kdir" "$TOP/tests/demo.sh" "$modules" 2>&1 | tee "$console" |
	sed -n '/^--- demo begins ---$/,/^--- demo ends ---$/{/^---/!p}' | tee "$console.shown"
status=${PIPESTATUS[0]}
[ "$status" -eq 0 ] || {
	tail -n 30 "$console" >&2
	die "the demo failed; the whole console is $console"
}
"$TOP/scripts/check-log.sh" "$console" >&2 ||
	die "the guest's kernel log, in $console, is not clean"
# README.md has lines of this, cut at "...". Numbers differ from run to run.
sed -n '/^## What the demo shows/,/^## /s/^    //p' "$TOP/README.md" | sed 's/[][\.*^$]/\\&/g; s/ \(\\\.\)\{3\}$/ .*/; s/[0-9]\+/0/g' |
	while IFS= read -r line; do
		sed 's/\x1b\[[0-9]*m//g; s/[0-9]\+/0/g' "$console.shown" | grep -qx -e "$line" ||
			die "README.md shows a line that is not in $console.shown: $line"
	done
