#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Runs selftests inside a virtual machine: sets up a module directory, runs
# each test named on the command line with the module freshly loaded, prints
# KTAP, looks for leaks, and ends with the kernel log for the host to check.
#
# usage: guest.sh MODULE_DIR CLIENT_DIR TEST...
#   MODULE_DIR  holds the .ko files
#   CLIENT_DIR  is what scripts/clients.sh printed

here=$(cd "$(dirname "$0")" && pwd)
modules=$1
export CLIENTS=$2
shift 2
export MODULE=nfnetlink_cttimeout_rust
export PATH=$PATH:/usr/sbin:/sbin PYTHONDONTWRITEBYTECODE=1 LC_ALL=C
PYTHONPATH=$here/lib${PYTHONPATH:+:$PYTHONPATH}
export PYTHONPATH

dmesg -n 1
echo 1 >/proc/sys/kernel/printk_ratelimit 2>/dev/null

# The root file system is the host's, and read-only. modprobe gets a tree of its
# own, and so does the kernel when it loads modules on demand.
export MODROOT=/run/cttimeout-modules
mkdir -p "$MODROOT/lib/modules/$(uname -r)"
cp "$modules"/*.ko "$MODROOT/lib/modules/$(uname -r)/" 2>/dev/null
export KUNIT_MODULE=$modules/kunit/$MODULE.ko
touch "$MODROOT/lib/modules/$(uname -r)"/modules.{order,builtin,builtin.modinfo}
depmod -b "$MODROOT"
# Which of the two implementations the kernel loads on demand is the
# administrator's choice; the tests choose this one.
export MODCONF=/run/cttimeout-modprobe.d
mkdir -p $MODCONF
echo "blacklist nfnetlink_cttimeout" >$MODCONF/choice.conf
cat >/run/cttimeout-modprobe <<END
#!/bin/sh
exec /sbin/modprobe -d $MODROOT -C $MODCONF "\$@"
END
chmod +x /run/cttimeout-modprobe
echo /run/cttimeout-modprobe >/proc/sys/kernel/modprobe

# Tests call these instead of insmod, so that dependencies are resolved.
load() { modprobe -d "$MODROOT" -C "$MODCONF" "$@"; }
unload() { modprobe -d "$MODROOT" -r "$@"; }
export -f load unload

failed=0 n=0
echo "--- tests begin ---"
echo "KTAP version 1"
echo "1..$#"
for test in "$@"; do
	n=$((n + 1))
	name=$(basename "$test" | sed 's/\.[a-z]*$//')
	echo "  KTAP version 1"
	echo "  # Subtest: $name"
	start=$SECONDS
	[ ! -f "$modules/$MODULE.ko" ] || load "$MODULE"
	(cd "$here/selftests" && exec timeout -k 5 "${TEST_TIMEOUT:-1800}" "./$(basename "$test")") 2>&1 | sed -u 's/^/  /'
	rc=${PIPESTATUS[0]}
	echo "  # $((SECONDS - start)) s"
	# A test cleans up after itself, so the module must go.
	if lsmod | grep -q "^$MODULE " && ! unload "$MODULE" 2>/dev/null &&
	   ! { sleep 3; unload "$MODULE"; }; then
		echo "  # the module cannot be unloaded after the test:"
		lsmod | sed 's/^/  # /'
		rc=1
	fi
	if [ "$rc" -eq 0 ]; then
		echo "ok $n $name"
	else
		echo "not ok $n $name"
		failed=1
	fi
done

if [ -w /sys/kernel/debug/kmemleak ]; then
	# An object counts as leaked when two scans in a row find no pointer to it.
	for _ in 1 2; do
		sleep 6
		echo scan >/sys/kernel/debug/kmemleak
	done
	echo "--- kmemleak begins ---"
	cat /sys/kernel/debug/kmemleak
	echo "--- kmemleak ends ---"
fi
echo "--- kernel log begins ---"
dmesg --color=never
echo "--- kernel log ends ---"
echo "--- exit status $failed ---"
