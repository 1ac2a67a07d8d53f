#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# make conformance: plays the same traffic to the C module of the kernel and to
# this one, at length, and compares what they do. Prints KTAP. "make check" has
# the same in short.
#
# SEED=1 says which traffic, COUNT=100000 how many messages, STEPS=300 how many
# steps with rules and flows.

. "$(dirname "$0")/lib.sh"
. "$TOP/scripts/tools.sh"

SEED=${SEED:-1}
COUNT=${COUNT:-100000}
STEPS=${STEPS:-300}

kdir=$("$TOP/scripts/kernel.sh" plain) || exit
modules=$("$TOP/scripts/module.sh" "$kdir") || exit
[ -f "$modules/nfnetlink_cttimeout.ko" ] ||
	die "the kernel in $kdir has no C module to compare with (CONFIG_NF_CT_NETLINK_TIMEOUT=m)"

mkdir -p "$CACHE/results"
console=$(mktemp "$CACHE/results/conformance.XXXXXX")
say "==> comparing (without KVM, about 20 min; console: $console)"
"$TOP/scripts/vm.sh" -t 14400 "$kdir" env SEED="$SEED" COUNT="$COUNT" STEPS="$STEPS" \
	TEST_TIMEOUT=7200 "$TOP/tests/guest.sh" "$modules" \
	cttimeout_conformance.py cttimeout_conformance_rules.py 2>&1 | tee "$console" |
	sed -un '/^--- tests begin/,/^--- \(kmemleak\|kernel log\) begins/{/^---/!p}'
status=${PIPESTATUS[0]}
"$TOP/scripts/check-log.sh" "$console" || die "the guest's log is not clean"
[ "$status" -eq 0 ] || die "the modules differ, or could not be compared; the console is $console"
