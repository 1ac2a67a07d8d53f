#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# check: plain/debug; slow: 4
# needs: nfct
#
# The suite of conntrack-tools for nfct's timeout policies, tests/nfct, unchanged: the C module
# and this one give the same output, line by line.
#
# (Its test-live.sh needs hosts on the Internet.)
# shellcheck source-path=SCRIPTDIR/../lib

. ../lib/ktap.sh
. ../lib/netns.sh

NS=cttimeout-suite C=nfnetlink_cttimeout
SUITE=${CLIENTS:-}/nfct-suite
work=$(mktemp -d /tmp/suite.XXXXXX)

# suite MODULE DIRECTORY: the output for the files of a directory, with a module. Without
# stdbuf, the lines of the suite come long after those of nfct.
suite() {
	ip netns add "$NS" && load "$1" && [ -d "/sys/module/$1" ] &&
		in_ns "$NS" stdbuf -oL "$SUITE/test" "$2" 2>&1
	ip netns del "$NS"
	wait_until 60 unload "$1"
}

if [ ! -x "$SUITE/test" ]; then
	skip "the suite of nfct" "the source of conntrack-tools is not there"
	finish
fi
if ! modinfo -b "$MODROOT" "$C" >/dev/null 2>&1; then
	skip "the suite of nfct" "this kernel has no $C.ko"
	finish
fi
unload "$MODULE"

for module in "$C" "$MODULE"; do
	suite "$module" "$SUITE/timeout" >"$work/$module"
	comment "$module: $(tail -n 1 "$work/$module")"
done
check_eq "each command of the suite is run" "$(grep -c 'Executing: ' "$work/$MODULE")" \
	"$(cat "$SUITE"/timeout/* | grep -c '^[^# ]')"
check "the C module and this one give the same output" diff "$work/$C" "$work/$MODULE"

# Linux has no connection tracking for DCCP and UDP-Lite any more.
cp -r "$SUITE/timeout" "$work/supported" && rm "$work"/supported/*{dccp,udplite}
suite "$MODULE" "$work/supported" >"$work/output"
check "each command has the result that the suite expects" grep '^OK: [1-9][0-9]* BAD: 0$' "$work/output"
finish
