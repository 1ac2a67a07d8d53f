#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Gets the clients for the selftests that are not just commands of the host, and prints their
# directory, for the guest:
#
#   ovs       the root of the file tree that has Open vSwitch (a link)
#   cttimeout a program that is linked with libnetfilter_cttimeout
#   nfct-suite  the suite of nfct, which is in its source
#   fuzz      the fuzzer, tests/fuzz/
#   source    the source of the kernel in BUILD_DIR, for its YNL (a link)
#   i386.tar  a file tree with 32-bit programs (a link), which tests/lib/i386.sh runs
#
# Clients that cannot be had here are left out, and their tests are skipped by name; on
# Debian, all can be had.
#
# usage: clients.sh BUILD_DIR

. "$(dirname "$0")/lib.sh"
. "$TOP/scripts/tools.sh"
. "$TOP/scripts/apt.sh"

I386_PACKAGES="nfct iptables python3-minimal"

# The package is unpacked, because an installation would enable and start a service.
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
	# This package has the other half of the programs, and depends on all libraries.
	need_commands ovsdb-server:openvswitch-common
	apt_candidate openvswitch-switch >/dev/null || apt_refresh
	version=$(apt_candidate openvswitch-switch) || die "apt's lists have no openvswitch-switch; fix the sources in /etc/apt, and run apt-get update"
	ovs=$CACHE/tools/openvswitch-$version
	mkdir -p "$CACHE/tools"
	with_lock ovs unpack_ovs
}

# apt_i386 TOOL ARG...: apt as on a 32-bit machine with the same release
apt_i386() {
	private_apt "$CACHE/apt-i386" "$1" -o APT::Architecture=i386 -o APT::Architectures=i386 "${@:2}"
}

# Also unpacked, with all libraries including the C library. In one file, because a guest
# takes long to read thousands of files.
pack_i386() {
	local tmp
	[ ! -f "$i386" ] || return 0
	tmp=$(mktemp -d "$CACHE/tools/i386.XXXXXX")
	step "fetching 32-bit clients" "20 s" "$CACHE/logs/i386.log" "$TOP/scripts/clients.sh" --pack-i386 "$tmp"
	mv "$tmp/tar" "$i386"
	rm -r "$tmp"
}

find_i386() {
	have apt-get && have dpkg-deb || return
	i386=$CACHE/tools/i386-$(echo "$I386_PACKAGES $(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)" |
		sha256sum | cut -c1-16).tar
	mkdir -p "$CACHE/tools"
	with_lock i386 pack_i386
}

# A mirror may lack a release's source, so later releases are tried, too. The suite hardly
# ever changes.
find_nfct_suite() {
	suite=$CACHE/tools/nfct-suite-$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
	mkdir -p "$CACHE/tools"
	[ -d "$suite" ] || {
		have apt-get && have dpkg-deb || return
		(with_lock nfct-suite step "fetching the suite of nfct" "20 s, 30 MB" "$CACHE/logs/nfct-suite.log" \
			"$TOP/scripts/clients.sh" --fetch-nfct-suite "$suite") || say "    the suite of nfct is not available, and its test will be skipped"
	}
	[ -d "$suite" ]
}

if [ "${1:-}" = --fetch-nfct-suite ]; then
	[ ! -d "$2" ] || exit 0
	tmp=$(mktemp -d "$CACHE/tools/nfct-suite.XXXXXX")
	trap 'rm -rf "$tmp"' EXIT
	cd "$tmp" || exit
	for release in "${2##*-}" trixie forky sid; do
		private_apt_init "$tmp/apt" "$release" && sed -i 's/^deb /deb-src /' apt/sources.list || exit
		private_apt "$tmp/apt" apt-get update &&
			private_apt "$tmp/apt" apt-get source --download-only --tar-only conntrack-tools || continue
		tar --one-top-level=tree --strip-components=1 -xf conntrack-tools_*.orig.tar.*z* &&
			[ -f tree/tests/nfct/test.c ] && mv -T tree/tests/nfct "$2" && exit
		rm -rf tree conntrack-tools_*
	done
	exit 1
fi

if [ "${1:-}" = --pack-i386 ]; then
	suite=$(. /etc/os-release && echo "${VERSION_CODENAME:?}") || exit
	private_apt_init "$CACHE/apt-i386" "$suite"
	apt_i386 apt-get update -o APT::Update::Error-Mode=any || exit
	# shellcheck disable=SC2086
	apt_i386 apt-get -y --no-install-recommends --download-only install $I386_PACKAGES || exit
	for package in "$CACHE"/apt-i386/cache/archives/*.deb; do
		dpkg-deb -x "$package" "$2/tree" || exit
	done
	# Without documentation and character sets
	tar -C "$2/tree" --exclude=./usr/share --exclude='*/gconv' -cf "$2/tar" . || exit
	rm "$CACHE"/apt-i386/cache/archives/*.deb
	exit
fi

# library_client COMPILER...: builds the program that uses libnetfilter_cttimeout
library_client() {
	step "building tests/lib/cttimeout.c" "1 s" "$CACHE/logs/client.log" \
		"$@" -Wall -Wextra -Werror -O2 -o "$out/cttimeout" "$TOP/tests/lib/cttimeout.c" -lnetfilter_cttimeout -lmnl
}

nfct_suite() {
	mkdir -p "$out/nfct-suite" && cp -r "$suite/timeout" "$out/nfct-suite" || exit
	step "building the suite of nfct" "1 s" "$CACHE/logs/nfct-suite.log" \
		"$@" -w -O2 -o "$out/nfct-suite/test" "$suite/test.c"
}

clients() {
	need_vm_tools
	# Without apt, nothing can be installed.
	! have apt-get || need_client_tools
	! find_ovs || ln -sfn "$ovs" "$out/ovs"
	! find_i386 || ln -sfn "$i386" "$out/i386.tar"
	! find_nfct_suite || nfct_suite gcc
	if [ -f /usr/include/libnetfilter_cttimeout/libnetfilter_cttimeout.h ] &&
	   [ -f /usr/include/libmnl/libmnl.h ]; then
		library_client gcc
	fi
	need_rustc
	step "building the fuzzer" "10 s" "$CACHE/logs/fuzzer.log" \
		"$RUSTC" --edition 2021 -O -D warnings -o "$out/fuzz" "$TOP/tests/fuzz/main.rs"
}

# A guest of another architecture has all packages in its own root. The fuzzer would need
# Rust's standard library for that architecture, which Debian does not have for this compiler.
foreign_clients() {
	local root triple=${arch/arm64/aarch64}-linux-gnu
	need_foreign_vm_tools "$arch"
	root=$("$TOP/scripts/root.sh" "$arch") || exit
	ln -sfn / "$out/ovs"
	need_rustc
	need_llvm
	local cc=("clang-$LLVM_MAJOR" --target="$triple" --sysroot="$root"
		--ld-path="/usr/lib/llvm-$LLVM_MAJOR/bin/ld.lld")
	library_client "${cc[@]}"
	! find_nfct_suite || nfct_suite "${cc[@]}"
}

kdir=$(realpath "$1") || exit
arch=$(arch_of "$kdir")
out=$CACHE/clients/$(echo "$kdir $TOP" | sha256sum | cut -c1-16)
mkdir -p "$out"
if [ -z "$arch" ]; then clients; else foreign_clients; fi

# A build in the source tree has no link to the source.
source=$kdir/source
[ -e "$source" ] || source=$kdir
[ ! -d "$source/tools/net/ynl" ] || ln -sfn "$(realpath "$source")" "$out/source"

echo "$out"
