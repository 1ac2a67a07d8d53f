#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Gets the clients for the selftests that are no mere commands, and prints the
# directory they are in, for the guest:
#
#   ovs       the root of the file tree that has Open vSwitch (a link)
#   cttimeout a client that is linked with libnetfilter_cttimeout
#   fuzz      the fuzzer, tests/fuzz/
#   source    the source of the kernel in BUILD_DIR, for its YNL (a link)
#
# What cannot be had here is left out, and its test is skipped by name; on
# Debian, all can.
#
# usage: clients.sh BUILD_DIR

. "$(dirname "$0")/lib.sh"
. "$TOP/scripts/tools.sh"

# The package is unpacked, not installed: installed, it would enable and start
# a service, which is not what a machine that runs tests is for.
unpack_ovs() {
	local tmp
	[ ! -d "$ovs" ] || return 0
	tmp=$(mktemp -d "$CACHE/tools/openvswitch.XXXXXX")
	step "fetching openvswitch-switch $version" "10 s" "$CACHE/logs/ovs.log" sh -c '
		cd "$1" && apt-get download "openvswitch-switch=$2" && dpkg-deb -x *.deb tree
	' sh "$tmp" "$version"
	mv -T "$tmp/tree" "$ovs"
	rm -r "$tmp"
}

find_ovs() {
	ovs=/
	[ ! -f /usr/share/openvswitch/vswitch.ovsschema ] || return 0
	have apt-get || return
	# With this come the other half of the programs, and all libraries.
	need_commands ovsdb-server:openvswitch-common
	apt_candidate openvswitch-switch >/dev/null || apt_refresh
	version=$(apt_candidate openvswitch-switch) || return
	ovs=$CACHE/tools/openvswitch-$version
	mkdir -p "$CACHE/tools"
	with_lock ovs unpack_ovs || exit
}

# Where apt does not run, what is missing is missing.
! have apt-get || need_client_tools

kdir=$(realpath "$1") || exit
out=$CACHE/clients/$(echo "$kdir $TOP" | sha256sum | cut -c1-16)
mkdir -p "$out"

! find_ovs || ln -sfn "$ovs" "$out/ovs"

if [ -f /usr/include/libnetfilter_cttimeout/libnetfilter_cttimeout.h ] &&
   [ -f /usr/include/libmnl/libmnl.h ]; then
	gcc -Wall -Wextra -Werror -O2 -o "$out/cttimeout" "$TOP/tests/lib/cttimeout.c" \
		-lnetfilter_cttimeout -lmnl || die "tests/lib/cttimeout.c does not build"
fi

need_rustc
"$RUSTC" --edition 2021 -O -D warnings -o "$out/fuzz" "$TOP/tests/fuzz/main.rs" ||
	die "tests/fuzz does not build"

# A build in the source tree has no link to it.
source=$kdir/source
[ -e "$source" ] || source=$kdir
[ ! -d "$source/tools/net/ynl" ] || ln -sfn "$(realpath "$source")" "$out/source"

echo "$out"
