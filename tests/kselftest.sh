#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Runs the selftests of the patch series inside a virtual machine, from the tree of the
# patched kernel, as anybody would.
#
# usage: kselftest.sh MODULE_DIR SOURCE BUILD_DIR TARGET MAKE_ARGUMENT...

here=$(cd "$(dirname "$0")" && pwd)
modules=$1 source=$2 build=$3 target=$4
shift 4
. "$here/lib/guest.sh"
# Where the tests put options, because modprobe would look there by itself
MODCONF=/run/modprobe.d
guest_modules "$modules"

# The tests say modprobe, as they do where modules are installed.
mkdir -p /run/bin
ln -s /run/cttimeout-modprobe /run/bin/modprobe
export PATH=/run/bin:$PATH:/usr/sbin:/sbin

# The files that make writes are gone with the guest.
mkdir -p /run/overlay
mount -t tmpfs tmpfs /run/overlay
mkdir /run/overlay/{upper,work}
mount -t overlay overlay -o "lowerdir=$build,upperdir=/run/overlay/upper,workdir=/run/overlay/work" "$build"

# The tests have namespaces of their own, and leave alone what the machine has. (A policy
# keeps the module loaded, if it is one, and some tests unload that.)
builtin=$(zgrep '^CONFIG_NF_CT_NETLINK_TIMEOUT_RUST=y' /proc/config.gz)
[ -z "$builtin" ] || nfct add timeout kept inet udp unreplied 77

echo "--- tests begin ---"
# (Some minutes go by in an emulated machine before it is at the tests.)
make -C "$source" O="$build" "$@" TARGETS="$target" kselftest
status=$?
echo "--- tests end ---"
[ -z "$builtin" ] || nfct get timeout kept
guest_end "$status"
