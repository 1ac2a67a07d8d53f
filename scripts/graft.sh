#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Puts the module into a kernel source tree, as net/netfilter/cttimeout_rust,
# with one line each in the Kconfig and the Makefile of net/netfilter; or takes
# it out again. Doing either twice changes nothing more.
#
# usage: graft.sh KERNEL_TREE            copy it in
#        graft.sh --remove KERNEL_TREE   take it out

top=$(cd "$(dirname "$0")/.." && pwd)
die() {
	echo "error: $*" >&2
	exit 1
}

remove=
[ "${1:-}" != --remove ] || { remove=y && shift; }
[ $# -eq 1 ] || die "usage: graft.sh [--remove] KERNEL_TREE"
parent=$1/net/netfilter
[ -f "$parent/nfnetlink.c" ] || die "$1 is no kernel source tree"
name=cttimeout_rust
kconfig_line="source \"net/netfilter/$name/Kconfig\""
make_line="obj-y += $name/"

# Files are replaced, never written to: in a copy made of hard links, the
# original stays as it is.

# drop_line FILE LINE: without touching a file that does not have it
drop_line() {
	! grep -qxF -- "$2" "$1" || { grep -vxF -- "$2" "$1" >"$1.graft" && mv "$1.graft" "$1"; }
}

if [ -n "$remove" ]; then
	rm -rf "${parent:?}/$name"
	drop_line "$parent/Kconfig" "$kconfig_line"
	drop_line "$parent/Makefile" "$make_line"
	exit
fi

# Files are replaced only if they differ, so that an incremental build stays one.
new=$(mktemp -d "$parent/.$name.XXXXXX") || die "cannot write to $parent"
trap 'rm -rf "$new"' EXIT
(cd "$top" && cp -p --parents Kbuild Kconfig $(find include src -name '*.[ch]' -o -name '*.rs') "$new") || die "cannot copy"
mkdir -p "$parent/$name"
(cd "$new" && find . -type f) | while read -r file; do
	cmp -s "$new/$file" "$parent/$name/$file" ||
		{ rm -f "$parent/$name/$file"; install -D -p -m 644 "$new/$file" "$parent/$name/$file"; }
done
(cd "$parent/$name" && find . -type f) | while read -r file; do
	[ -e "$new/$file" ] || rm "$parent/$name/$file"
done

# In front of the menu's end, so that the menu's dependencies hold here, too.
grep -qxF -- "$kconfig_line" "$parent/Kconfig" ||
	sed -i "/^config NF_CT_NETLINK_HELPER\$/i $kconfig_line" "$parent/Kconfig"
grep -qxF -- "$kconfig_line" "$parent/Kconfig" || die "found no place in $parent/Kconfig"
grep -qxF -- "$make_line" "$parent/Makefile" || sed -i "\$a $make_line" "$parent/Makefile"
