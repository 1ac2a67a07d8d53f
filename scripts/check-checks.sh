#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# make check-checks: checks the checkers. Breaks the module with one patch after the other,
# builds it, runs a test on the debug kernel, and checks that the search of the kernel log
# finds the error. With the unbroken module, the search must find nothing in the log of the
# same tests. Prints KTAP.
#
# The patches are tests/broken/*.patch. "Test:" names the test, "Expect:" is a pattern for
# the report in the log.
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

# build [PATCH]: builds the module with the patch, and prints its directory
build() {
	rm -rf "$copy" && mkdir "$copy" &&
		cp -r "$TOP"/{Kbuild,Kconfig,Makefile,include,src,scripts,tests} "$copy" || return
	[ $# -eq 0 ] || patch -d "$copy" -F 0 -p1 <"$1" >&2 || return
	"$copy/scripts/module.sh" "$kdir" TEST_MODULES=1
}

# run CONSOLE MODULE_DIR TEST...: runs the tests in a guest. A broken module may crash the
# guest, which then ends at once, with the kernel's messages on the console.
run() {
	say "    running ${*:3} (minutes; console: $1)"
	"$TOP/scripts/vm.sh" -c 4 -t 2100 -a oops=panic -a ignore_loglevel "$kdir" \
		env TEST_TIMEOUT=1500 "$TOP/tests/guest.sh" "$2" "$clients" "${@:3}" >"$1" 2>&1
}

# test_file PATCH: the file of the test that the patch names
test_file() { basename "$(compgen -G "$TOP/tests/selftests/$(sed -n 's/^Test: //p' "$1").*")"; }

if [ $# -eq 0 ]; then
	for patch in "$TOP"/tests/broken/*.patch; do
		set -- "$@" "$(basename "$patch" .patch)"
	done
fi
tests=()
for name in "$@"; do
	test=$(test_file "$TOP/tests/broken/$name.patch") || exit
	[[ " ${tests[*]} " == *" $test "* ]] || tests+=("$test")
done

say "==> the module as it is"
modules=$(build) || exit
run "$results/unbroken.console" "$modules" "${tests[@]}"
check_eq "unbroken: the tests pass" "$?" 0
check "unbroken: the log is clean" "$TOP/scripts/check-log.sh" "$results/unbroken.console"

for name in "$@"; do
	patch=$TOP/tests/broken/$name.patch console=$results/$name.console
	expect=$(sed -n 's/^Expect: //p' "$patch")
	say "==> $name: $(sed -n 3p "$patch")"
	if ! modules=$(build "$patch"); then
		fail "$name: the module can be built"
		continue
	fi
	run "$console" "$modules" "$(test_file "$patch")"
	if log=$("$TOP/scripts/check-log.sh" "$console"); then
		fail "$name: the log is not clean" "nothing was found in $console"
	else
		check "$name: the log says: $expect" grep -E "$expect" <<<"$log"
	fi
done
finish
