#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# check: debug
#
# The unit tests, which run when a module that was built with KUNIT=1 is loaded.
# Their results are in the kernel log, in KTAP.

. ../lib/ktap.sh

if ! grep -qs . /sys/kernel/debug/kunit/*/results && [ ! -d /sys/module/kunit ] &&
   ! zgrep -q '^CONFIG_KUNIT=y' /proc/config.gz; then
	skip "unit tests" "this kernel has no KUnit"
	finish
fi
[ -f "$KUNIT_MODULE" ] || { fail "the module with the unit tests is there" "$KUNIT_MODULE"; finish; }

unload "$MODULE"
check "the module with the unit tests can be loaded" insmod "$KUNIT_MODULE"
log=$(dmesg --color=never | sed 's/^\[[^]]*\] *//' |
	sed -n '/# Subtest: nfnetlink_cttimeout_rust/,$p')
while read -r result number name; do
	case $result in
	ok) pass "unit: $name" ;;
	not) fail "unit: ${name#* }" "$(grep -A 3 -m 1 "# ${name#* }:" <<<"$log")" ;;
	esac
done < <(grep -E '^(ok|not ok) [0-9]+ [a-z]' <<<"$log" | grep -v ' nfnetlink_cttimeout_rust$')
planned=$(sed -n 's/^1\.\.\([0-9]*\)$/\1/p' <<<"$log" | head -n 1)
check_eq "all unit tests have run" "$((KTAP_N - 1))" "${planned:-none}"
check "the module with the unit tests can be unloaded" rmmod "$MODULE"
finish
