#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Makes the root file system of a guest of another architecture, and prints its directory.
# It consists of Debian's packages for that architecture, of this machine's release and from
# its mirror, unpacked and not installed. No program of it runs on this machine.
#
# usage: root.sh s390x|arm64

. "$(dirname "$0")/lib.sh"
. "$TOP/scripts/tools.sh"
. "$TOP/scripts/apt.sh"

# Programs that the tests call, and libraries that programs for the architecture are linked
# with. apt adds their dependencies.
packages="bash dash coreutils grep sed mawk findutils diffutils gzip util-linux mount hostname
	procps kmod iproute2 iptables nftables conntrack nfct iputils-ping netbase
	openvswitch-switch python3 python3-yaml python3-jsonschema
	libc6-dev libnetfilter-cttimeout-dev libmnl-dev"

arch=$1
case $arch in s390x | arm64) ;; *) die "usage: root.sh s390x|arm64" ;; esac
{ have dpkg-deb && have apt-get; } || die "this is no Debian system; the guest's programs come from Debian"
suite=$(. /etc/os-release && echo "${VERSION_CODENAME:?}") || exit

apt=$CACHE/apt-$suite-$arch
foreign_apt() {
	private_apt "$apt" "$1" -o APT::Architecture="$arch" -o APT::Architectures="$arch" "${@:2}"
}

unpack() {
	local root=$1 deb dir libgcc
	# A compiler's own library has the compiler's version in its name.
	libgcc=$(foreign_apt apt-cache pkgnames libgcc- | grep -xE 'libgcc-[0-9]+-dev' | sort -V | tail -n 1)
	# shellcheck disable=SC2086
	foreign_apt apt-get install -y --download-only --no-install-recommends $packages $libgcc || return
	# Each of these is a link to the directory of that name in /usr.
	for dir in bin sbin lib lib64; do
		mkdir -p "$root/usr/$dir" && ln -s "usr/$dir" "$root/$dir" || return
	done
	for deb in "$apt"/cache/archives/*.deb; do
		dpkg-deb --fsys-tarfile "$deb" | tar -C "$root" -x --keep-directory-symlink || return
	done
	rm -f "$apt"/cache/archives/*.deb
	# The necessary steps of an installation
	mkdir -p "$root"/{proc,sys,dev,run,tmp} && ln -sfn ../run "$root/var/run"
	[ -e "$root/bin/sh" ] || ln -s dash "$root/bin/sh"
	ln -sfn mawk "$root/usr/bin/awk"
	for dir in iptables ip6tables; do
		[ -e "$root/usr/sbin/$dir" ] || ln -s "$dir-nft" "$root/usr/sbin/$dir"
	done
	# This release's own Python can compile for the guest's, which has the same version.
	/usr/bin/python3 -m compileall -q --invalidation-mode unchecked-hash "$root"/usr/lib/python3* ||
		say "note: not all of the guest's Python is compiled in advance"
	echo "root:x:0:0:root:/root:/bin/bash" >"$root/etc/passwd"
	echo "root:x:0:" >"$root/etc/group"
	install -m 755 "$TOP/scripts/guest-init.sh" "$root/usr/sbin/init"
}

read_lists() {
	private_apt_init "$apt" "$suite"
	foreign_apt apt-get update -o APT::Update::Error-Mode=any
}

make_root() {
	local tmp
	[ ! -d "$root" ] || return 0
	step "reading Debian $suite's package lists for $arch" "15 s" "$CACHE/logs/lists-$arch.log" read_lists
	mkdir -p "$CACHE/root"
	tmp=$(mktemp -d "$CACHE/root/new.XXXXXX")
	chmod 755 "$tmp"
	step "fetching and unpacking the guest's packages for $arch" "1 min, 55 MB" \
		"$CACHE/logs/root-$arch.log" unpack "$tmp"
	mv -T "$tmp" "$root"
}

root=$CACHE/root/$suite-$arch-$({
	echo "$packages"
	cat "$0" "$TOP/scripts/guest-init.sh"
} | sha256sum | cut -c1-16)
with_lock "root-$arch" make_root
echo "$root"
