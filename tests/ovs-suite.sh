#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Runs Open vSwitch's own test of timeout policies in a virtual machine; see
# scripts/check-ovs.sh.
#
# usage: ovs-suite.sh MODULE_DIR OVS_ROOT OVS_SOURCE MODULE

top=$(cd "$(dirname "$0")/.." && pwd)
modules=$1 OVS=$2 source=$3 module=$4
export PATH=$PATH:/usr/sbin:/sbin LC_ALL=C
. "$top/tests/lib/guest.sh"
. "$top/tests/lib/ktap.sh"
. "$top/tests/lib/ovs.sh"

TITLE="conntrack - zone-based timeout policy"
C=nfnetlink_cttimeout work=/run/ovs-suite

guest_modules "$modules"
# The test loads and removes the C module by name. Only the module under test exists here.
if [ "$module" != "$C" ]; then
	rm "$MODROOT/lib/modules/$(uname -r)/$C.ko"
	depmod -b "$MODROOT"
	echo "alias $C $module" >>"$MODCONF/choice.conf"
fi
mkdir -p "$work/bin" "$work/tests"
ln -s /run/cttimeout-modprobe "$work/bin/modprobe"
PATH=$work/bin:$source/tests:$PATH
# The test looks there for CONFIG_NF_CONNTRACK_TIMEOUT.
mount -t tmpfs boot /boot && zcat /proc/config.gz >"/boot/config-$(uname -r)"

# The files that configure would have written
cd "$work/tests" || exit
cat >atconfig <<-END
	at_testdir=tests
	abs_builddir=$work/tests
	abs_top_builddir=$work
	at_top_build_prefix=$work/
	at_srcdir=$source/tests abs_srcdir=$source/tests
	at_top_srcdir=$source abs_top_srcdir=$source
	SHELL=/bin/sh AUTOTEST_PATH=$work/bin
END
sed 's/@PYTHON3@/python3/; s/@EGREP@/grep -E/; s/@[A-Z0-9_]*@/no/' "$source/tests/atlocal.in" >atlocal

# The test fails if ovs-vswitchd logs something unusual. The guest's kernel has no traffic
# control, which is not part of the test. The programs of an emulated machine take up to a second,
# so the shortest timeouts are 3 s instead of 1 s. The test waits for 6 s.
tc='/netdev_linux|WARN|.*Operation not supported/d\n/netlink dump request error (Operation not supported)/d'
sed "s/udp_first=1 udp_single=1 icmp_first=1 icmp_reply=1/udp_first=3 udp_single=3 icmp_first=3 icmp_reply=3/
s,^/\(probe tc:\|reset by peer\)/d$,$tc\n&," \
	"$source/tests/system-kmod-testsuite" >testsuite

echo "--- tests begin ---"
echo "KTAP version 1"
comment "$(ovs-vswitchd --version | head -n 1)"
number=$(sed -n "s/^\([0-9]*\);[^;]*;$TITLE;.*/\1/p" testsuite)
start=$SECONDS
# The guest's first process leaves dead daemons as they are, and the test waits for their end.
unshare --pid --fork --mount-proc sh ./testsuite -d "$number" >out 2>&1
grep -v '^>' testsuite.dir/*/testsuite.log | sed 's/^/# /'
check_eq "$TITLE, with $module" "$(grep -E "^ *$number: " out | xargs)" "$number: $TITLE ok"
comment "$((SECONDS - start)) s"
# ovs-vswitchd has ended without deleting its policies.
nfct flush timeout
check "$module can be unloaded after the test" wait_until 60 modprobe -r "$module"
printf '1..%d\n' "$KTAP_N"
echo "--- tests end ---"
guest_end "$KTAP_FAILED"
