#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Builds the module for a finished kernel build, outside of both trees, and
# prints the directory with the result and the kernel's own modules.
#
# usage: module.sh BUILD_DIR [MAKE_ARG]...

. "$(dirname "$0")/lib.sh"
. "$TOP/scripts/tools.sh"

kdir=$1
shift
need_build_tools "$(arch_of "$kdir")"
# The kernel's build refuses a separate output directory then, with a longer message.
[ ! -f "$TOP/modules.order" ] ||
	die "the module is built in $TOP, which is in the way of other builds of it: run \"make clean\" there"
out=$CACHE/module/$(echo "$kdir $TOP $*" | sha256sum | cut -c1-16)
mkdir -p "$out/ko"
step "building the module for $(basename "$kdir")${*:+ ($*)}" "10 s" "$out/build.log" \
	"${KMAKE[@]}" -C "$kdir" M="$TOP" MO="$out" -j "$JOBS" "$@" modules
# On s390x, rustc warns about a feature that the kernel's own flags select.
if grep -E '^(warning|.*: warning)' "$out/build.log" | grep -qvE \
	'feature specified for .-Ctarget-feature.: .backchain.|^warning: 1 warning emitted'; then
	grep -E -A 8 'warning' "$out/build.log" >&2
	die "the module does not build without warnings"
fi
find "$kdir/net" "$out" -path "$out/ko" -prune -o -name '*.ko' -print0 | xargs -0 cp -t "$out/ko" || exit
echo "$out/ko"
