#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# make check-checks: checks the checkers. Breaks the module in one way after the
# other, each time builds it and runs a test on the debug kernel, and looks
# whether the search of the kernel log finds what it should. Prints KTAP.
#
# tests/broken/*.patch are the ways. "Test:" says which test is run, "Expect:" is
# a pattern for what the log has to say.
#
# usage: check-checks.sh [NAME]...   (of a patch, without .patch; by default, all)

. "$(dirname "$0")/lib.sh"
. "$TOP/scripts/tools.sh"
. "$TOP/tests/lib/ktap.sh"

need_commands patch:patch
kdir=$("$TOP/scripts/kernel.sh" debug) || exit
clients=$("$TOP/scripts/clients.sh" "$kdir") || exit
copy=$CACHE/broken
mkdir -p "$CACHE/results"
results=$(mktemp -d "$CACHE/results/broken-$(date +%Y%m%d-%H%M%S).XXXX")

# build PATCH: prints the directory with a module that is broken so
build() {
	rm -rf "$copy" && mkdir "$copy" &&
		cp -r "$TOP"/{Kbuild,Kconfig,Makefile,include,src,scripts,tests} "$copy" &&
		patch -d "$copy" -p1 <"$1" >&2 &&
		"$copy/scripts/module.sh" "$kdir" TEST_MODULES=1
}

if [ $# -eq 0 ]; then
	for patch in "$TOP"/tests/broken/*.patch; do
		set -- "$@" "$(basename "$patch" .patch)"
	done
fi
for name in "$@"; do
	patch=$TOP/tests/broken/$name.patch console=$results/$name.console
	test=$(sed -n 's/^Test: //p' "$patch") expect=$(sed -n 's/^Expect: //p' "$patch")
	test=$(basename "$(compgen -G "$TOP/tests/selftests/$test.*")") || exit
	say "==> $name: $(sed -n 3p "$patch")"
	if ! modules=$(build "$patch"); then
		fail "$name: the module can be built"
		continue
	fi
	say "    running $test (minutes; console: $console)"
	# What is broken may take the whole guest with it.
	"$TOP/scripts/vm.sh" -c 4 -t 2100 "$kdir" env TEST_TIMEOUT=1500 "$TOP/tests/guest.sh" \
		"$modules" "$clients" "$test" >"$console" 2>&1
	if log=$("$TOP/scripts/check-log.sh" "$console"); then
		fail "$name: the log is not clean" "nothing was found in $console"
	else
		check "$name: the log says: $expect" grep -E "$expect" <<<"$log"
	fi
done
finish
