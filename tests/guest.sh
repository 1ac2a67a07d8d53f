#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Runs selftests inside a virtual machine: sets up a module directory, runs each test with
# the module freshly loaded, prints KTAP, looks for leaks, and ends with the kernel log for
# the host to check.
#
# usage: guest.sh MODULE_DIR CLIENT_DIR TEST...
#   MODULE_DIR  the directory of the .ko files
#   CLIENT_DIR  the directory that scripts/clients.sh has printed

# The tests run in memory, where Python can write its compiled files.
top=$(cd "$(dirname "$0")/.." && pwd) here=/run/cttimeout/tests
mkdir /run/cttimeout && cp -r "$top/tests" "$here" && ln -s "$top"/{Documentation,packaging} /run/cttimeout || exit
modules=$1
export CLIENTS=$2
shift 2
export MODULE=nfnetlink_cttimeout_rust
export PATH=$PATH:/usr/sbin:/sbin LC_ALL=C
PYTHONPATH=$here/lib${PYTHONPATH:+:$PYTHONPATH}
export PYTHONPATH

. "$here/lib/guest.sh"
. "$here/lib/ktap.sh"
guest_modules "$modules"
export KUNIT_MODULE=$modules/kunit/$MODULE.ko

# Tests call these instead of insmod, so that dependencies are resolved.
load() { modprobe -d "$MODROOT" -C "$MODCONF" "$@"; }
unload() { modprobe -d "$MODROOT" -r "$@"; }
export -f load unload
gone() { ! lsmod | grep -q "^$MODULE " || unload "$MODULE"; }

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
	# A test cleans up after itself, so the module must be free, if only after the end of its
	# namespaces.
	if ! wait_until 60 gone; then
		echo "  # the module cannot be unloaded after the test:"
		lsmod | sed 's/^/  # /'
		rc=1
	fi
	if [ "$rc" -eq 0 ]; then
		echo "ok $n $name"
	elif [ "$rc" -eq 4 ]; then
		echo "ok $n $name # SKIP all of it"
	else
		echo "not ok $n $name"
		failed=1
	fi
done

guest_end "$failed"
