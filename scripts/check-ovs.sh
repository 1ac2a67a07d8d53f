#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# make check-ovs: Open vSwitch's own system test of timeout policies, with the packaged
# programs, in a virtual machine. Prints KTAP.
#
# The test is in the package openvswitch-source, as the script that Autotest has made. It
# looks for flows that live for a second, so the guest's clock counts instructions. With real time, a slow
# emulated machine would miss such flows.
#
# KERNELS=plain (debug and bench can be named, too). MODULE=nfnetlink_cttimeout runs the test
# with the C module.

. "$(dirname "$0")/lib.sh"
. "$TOP/scripts/tools.sh"

# fetch VERSION: that package's tree, into $source
fetch() {
	local tmp
	[ ! -d "$source" ] || return 0
	tmp=$(mktemp -d "$CACHE/tools/openvswitch.XXXXXX")
	step "fetching openvswitch-source $1" "10 s" "$CACHE/logs/ovs-source.log" sh -c '
		cd "$1" && apt-get download "openvswitch-source=$2" && dpkg-deb -x *.deb . &&
		# In Debian 12, the package holds a tar file.
		if cd usr/src/openvswitch && [ -f openvswitch.tar.gz ]; then
			tar --strip-components=1 -xf openvswitch.tar.gz
		fi
	' sh "$tmp" "$1"
	mv -T "$tmp/usr/src/openvswitch" "$source"
	rm -r "$tmp"
}

kernel=${KERNELS:-plain} module=${MODULE:-nfnetlink_cttimeout_rust}
kdir=$("$TOP/scripts/kernel.sh" "$kernel") || exit
modules=$("$TOP/scripts/module.sh" "$kdir") || exit
clients=$("$TOP/scripts/clients.sh" "$kdir") || exit
version=$(apt_candidate openvswitch-source) || die "there is no package openvswitch-source here"
source=$CACHE/tools/openvswitch-source-$version
with_lock ovs fetch "$version" || exit

console=$CACHE/logs/check-ovs.console
say "==> running Open vSwitch's test with $module on the $kernel kernel (about 5 min; console: $console)"
"$TOP/scripts/vm.sh" -i -t 5400 "$kdir" "$TOP/tests/ovs-suite.sh" "$modules" "$clients" "$source" "$module" \
	>"$console" 2>&1
sed -n '/^--- tests begin/,/^--- tests end/{/^---/!p}' "$console"
"$TOP/scripts/check-log.sh" "$console" >&2 || die "the guest's kernel log is not clean"
grep -q '^--- exit status 0 ---' "$console"
