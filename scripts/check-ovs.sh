#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# make check-ovs: the system test of timeout policies of Open vSwitch's newest release, in a
# virtual machine. Prints KTAP.
#
# Debian's package openvswitch-source of sid has the release and its tests, as a script that
# Autotest has made. The programs are built from it, because those of sid may not run here.
# The test looks for flows that live for seconds, so the guest's clock counts instructions.
# With real time, a slow emulated machine would miss such flows.
#
# KERNELS=plain (debug and bench can be named, too). MODULE=nfnetlink_cttimeout runs the test
# with the C module.

. "$(dirname "$0")/lib.sh"
. "$TOP/scripts/tools.sh"
. "$TOP/scripts/apt.sh"

# ovs_apt TOOL ARG...: apt with the package lists of sid
ovs_apt() { private_apt "$CACHE/apt-sid" "$@"; }

read_lists() {
	private_apt_init "$CACHE/apt-sid" sid
	ovs_apt apt-get update -o APT::Update::Error-Mode=any
}

# fetch DIR: unpacks the package in DIR
fetch() {
	cd "$1" && ovs_apt apt-get download openvswitch-source && dpkg-deb -x *.deb .
}

# compile DIR: builds the release in DIR, and installs it into DIR/root
compile() {
	cd "$1/usr/src/openvswitch" &&
		./configure --prefix=/usr --localstatedir=/var --disable-ssl --disable-libcapng CFLAGS=-O1 &&
		make -j "$JOBS" && make install DESTDIR="$1/root"
}

make_ovs() {
	local tmp
	[ ! -d "$ovs" ] || return 0
	tmp=$(mktemp -d "$CACHE/tools/openvswitch.XXXXXX")
	step "fetching Open vSwitch $version" "10 s" "$CACHE/logs/ovs-source.log" fetch "$tmp"
	step "building Open vSwitch $version" "5 min" "$CACHE/logs/ovs-build.log" compile "$tmp"
	mv -T "$tmp" "$ovs"
}

kernel=${KERNELS:-plain} module=${MODULE:-nfnetlink_cttimeout_rust}
kdir=$("$TOP/scripts/kernel.sh" "$kernel") || exit
modules=$("$TOP/scripts/module.sh" "$kdir") || exit
with_lock ovs-source step "reading the package lists of Debian sid" "15 s" "$CACHE/logs/ovs-lists.log" read_lists
version=$(ovs_apt apt-cache policy openvswitch-source | sed -n 's/^ *Candidate: *\([0-9].*\)/\1/p')
[ -n "$version" ] || die "fetching Open vSwitch failed: Debian sid has no openvswitch-source"
ovs=$CACHE/tools/openvswitch-built-$version
mkdir -p "$CACHE/tools"
with_lock ovs-source make_ovs

console=$CACHE/logs/check-ovs.console
say "==> running Open vSwitch's test with $module on the $kernel kernel (about 2 min; console: $console)"
"$TOP/scripts/vm.sh" -i -t 5400 "$kdir" "$TOP/tests/ovs-suite.sh" "$modules" "$ovs/root" "$ovs/usr/src/openvswitch" "$module" \
	>"$console" 2>&1
sed -n '/^--- tests begin/,/^--- tests end/{/^---/!p}' "$console"
"$TOP/scripts/check-log.sh" "$console" >&2 || die "the guest's kernel log is not clean"
grep -q '^--- exit status 0 ---' "$console"
