#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# make check: sets everything up, then runs all tests, or those named, and ends
# with a line "N passed, N failed, N skipped". KTAP goes to stdout.
#
# usage: check.sh [host] [TEST]...
#
# KERNELS="debug s390x" (the default) says which kernels to test on; "plain" is the one
# without checkers, "builtin" the one with the patch series. KVERSION=7.2 has them of
# another version (see kernel.sh), ARCH=s390x or ARCH=arm64 stands for the one for that
# architecture, and ALL=1 runs all tests on the debug kernel (an hour or two under
# emulation), and cttimeout_failslab lets every allocation fail. How much some tests do can be set:
# ZONES= (cttimeout_ovs), ROUNDS= (cttimeout_races, cttimeout_order), SEED=, COUNT= and
# STEPS= (cttimeout_conformance*), SEED=, TIME= and MESSAGES= (cttimeout_fuzz); and how
# long one may take at most, TEST_TIMEOUT=1800 seconds (5400 with ALL=1).

. "$(dirname "$0")/lib.sh"
. "$TOP/scripts/tools.sh"

# With a third kernel, a first run would take an hour and a half on two cores. The plain
# kernel is the one that tells least, so it only stands in for s390x if the compiler
# cannot compile for that.
stand_in=
[ -n "${KERNELS:-}${KDIR:-}${ARCH:-}" ] || { KERNELS="debug s390x" stand_in=plain; }
[ -z "${KDIR:-}" ] || KERNELS=plain
[ -z "${ARCH:-}" ] || KERNELS=$ARCH
# Unless told otherwise: where memory, locks and references are at stake. Under
# emulation, the debug kernel is slower by far.
debug_tests="cttimeout_detach cttimeout_dump cttimeout_fuzz cttimeout_module cttimeout_netns cttimeout_order cttimeout_races cttimeout_replace"
# These need what only the debug kernel has: KUnit, failing allocations.
debug_only="cttimeout_kunit cttimeout_failslab"
# And this, what only the one with the patch series has: CONFIG_BPF_EVENTS.
builtin_only="cttimeout_bpftrace"
# Enough to show that a module that is part of the kernel works like any other.
builtin_tests="cttimeout_policies $builtin_only"
# Where those take part, a guest has four CPUs.
many_cpus="cttimeout_races cttimeout_order"
# Enough to show that byte order makes no difference; ARCH= runs all.
foreign_tests="cttimeout_conformance cttimeout_policies"
# Without the plain kernel, the two share what it runs.
[[ " $KERNELS " == *" plain "* ]] ||
	debug_tests+=" cttimeout_conformance cttimeout_i386 cttimeout_policies cttimeout_trace"
# Those that take longest, in that order, for the sake of an even distribution
slow_tests="cttimeout_i386 cttimeout_netns cttimeout_failslab cttimeout_rules cttimeout_ynl
	cttimeout_ovs cttimeout_detach cttimeout_conformance_rules cttimeout_module cttimeout_tcp
	cttimeout_races cttimeout_order"

[ -z "${ALL:-}" ] || TEST_TIMEOUT=${TEST_TIMEOUT:-5400}
knobs=()
for knob in ALL TEST_TIMEOUT ZONES ROUNDS SEED COUNT STEPS TIME MESSAGES; do
	[ -z "${!knob:-}" ] || knobs+=("$knob=${!knob}")
done

mkdir -p "$CACHE/results"
results=$(mktemp -d "$CACHE/results/$(date +%Y%m%d-%H%M%S).XXXX")
tests=() host=y
for test in "$@"; do
	[ "$test" = host ] && continue
	compgen -G "$TOP/tests/selftests/$test.*" >/dev/null || die "there is no test named $test"
	tests+=("$test")
done
[ $# -eq 0 ] || [[ " $* " == *" host "* ]] || host=
[ -z "${ARCH:-}" ] || [[ " $* " != *" host "* ]] || die "what needs no guest is tested without ARCH="
if [ $# -eq 0 ]; then
	for test in "$TOP"/tests/selftests/*; do
		test=${test##*/}
		tests+=("${test%.*}")
	done
fi

# guest NAME BUILD_DIR MODULE_DIR TEST...: runs tests in a virtual machine; the
# results go to NAME.ktap
guest() {
	local name=$1 kdir=$2 modules=$3 console=$results/$1.console ktap=$results/$1.ktap
	local files=() cpus=2 test status log
	shift 3
	for test in "$@"; do
		files+=("$(basename "$(compgen -G "$TOP/tests/selftests/$test.*")")")
		[[ " $many_cpus " != *" $test "* ]] || cpus=4
	done
	setpriv --pdeathsig TERM "$TOP/scripts/vm.sh" -c "$cpus" -t "$((${TEST_TIMEOUT:-1800} * 2))" "$kdir" \
		env "${knobs[@]}" "$TOP/tests/guest.sh" "$modules" "$clients" "${files[@]}" >"$console" 2>&1
	status=$?
	{
		echo "# Guest: $name"
		# Without the kernel's own lines.
		sed -n '/^--- tests begin/,/^--- \(kmemleak\|kernel log\) begins/{/^---/!p}' "$console"
		if log=$("$TOP/scripts/check-log.sh" "$console"); then
			echo "  ok 1 the kernel log of $name is clean"
		else
			printf '%s\n' "$log" | sed 's/^/  # /'
			echo "  not ok 1 the kernel log of $name is clean"
		fi
	} >"$ktap"
	# A guest that died left tests without a result.
	[ "$status" -eq 0 ] || grep -q '^ *not ok' "$ktap" ||
		echo "  not ok 2 the guest $name finished" >>"$ktap"
}

# guests KERNEL BUILD_DIR MODULE_DIR TEST...: the same in two virtual machines at
# once, because a test keeps hardly more than one CPU busy. From the slowest on,
# they are dealt to the one, the other, the other and the one.
guests() {
	local kernel=$1 kdir=$2 modules=$3 start=$SECONDS n=0 first=() second=() ordered=() test
	shift 3
	for test in $slow_tests; do
		[[ " $* " != *" $test "* ]] || ordered+=("$test")
	done
	for test in "$@"; do
		[[ " ${ordered[*]} " == *" $test "* ]] || ordered+=("$test")
	done
	for test in "${ordered[@]}"; do
		if [ $((n++ % 4 % 3)) -eq 0 ]; then first+=("$test"); else second+=("$test"); fi
	done
	say "==> running $# tests on the $kernel kernel (minutes; consoles: $results)"
	# Who ends this, ends its guests.
	trap 'kill $(jobs -p) 2>/dev/null; exit 143' TERM
	guest "$kernel-1" "$kdir" "$modules" "${first[@]}" &
	[ ${#second[@]} -eq 0 ] || guest "$kernel-2" "$kdir" "$modules" "${second[@]}" &
	while [ -n "$(jobs -r)" ]; do
		sleep 1
		[ $(((SECONDS - start) % 60)) -ne 59 ] || {
			say "    $((SECONDS - start)) s: $(cat "$results/$kernel"-?.console | grep -c '^\(not \)\?ok [0-9]* cttimeout') of $# done"
			sleep 1
		}
	done
	trap - TERM
	# Tests that only this kernel can run must not be skipped on it.
	case $kernel in
	debug) set -- $debug_only ;;
	builtin) set -- $builtin_only ;;
	*) set -- ;;
	esac
	for test in "$@"; do
		! grep -qs "^ok [0-9]* $test # SKIP" "$results/$kernel"-?.ktap ||
			echo "  not ok 1 $test was not skipped on the $kernel kernel" >>"$results/$kernel-1.ktap"
	done
	cat "$results/$kernel"-?.ktap
}

# give_up KERNEL STATUS: there is nothing to run this kernel's tests on, for the reason
# just printed. Only a run that is not about its architecture goes on without it.
give_up() {
	[[ $1 == s390x || $1 == arm64 ]] && [ -z "${ARCH:-}" ] || exit "$2"
	local result="not ok 1 there is a kernel and a guest for $1"
	if [ "$2" -eq 2 ]; then
		result="ok 1 tests on $1 # SKIP the Rust compiler at hand cannot compile for it"
		queue+=" $stand_in"
	fi
	echo "  $result" | tee "$results/$1.ktap"
}

# runs KERNEL TEST: whether the kernel is to run this test when no test was named
runs() {
	local on_debug=" $debug_tests $debug_only "
	[ "$1" = builtin ] || [[ " $builtin_only " != *" $2 "* ]] || return
	case $1 in
	plain) [[ " $debug_only ${stand_in:+$on_debug}" != *" $2 "* ]] ;;
	debug) [ -n "${ALL:-}" ] || [[ $on_debug == *" $2 "* ]] ;;
	builtin) [[ " $builtin_tests " == *" $2 "* ]] ;;
	s390x | arm64)
		[ -n "${ARCH:-}" ] || [[ " $foreign_tests " == *" $2 "* ]] ||
			[[ $on_debug != *" $2 "* && " $KERNELS " != *" plain "* ]]
		;;
	esac
}

queue=$KERNELS general=general
while read -r kernel queue <<<"$queue" && [ -n "$kernel" ]; do
	selected=()
	for test in "${tests[@]}"; do
		# Whatever is named runs, but for what a module that is part of the kernel cannot do.
		if [ "$kernel" != builtin ] && [ -n "$*${KDIR:-}" ] || runs "$kernel" "$test"; then
			selected+=("$test")
		fi
	done
	with_host=$host
	# What needs no guest is not the architecture's.
	[[ $kernel != s390x && $kernel != arm64 ]] || with_host=
	[ ${#selected[@]} -gt 0 ] || [ -n "$with_host" ] || continue
	kdir=$("$TOP/scripts/kernel.sh" "$kernel") || { give_up "$kernel" $?; continue; }
	case $kernel in
	builtin)
		modules=$results/builtin-modules
		mkdir -p "$modules"
		;;
	*)
		modules=$("$TOP/scripts/module.sh" "$kdir" TEST_MODULES=1) || { give_up "$kernel" $?; continue; }
		;;
	esac
	if [[ " ${selected[*]} " == *" cttimeout_kunit "* ]] && grep -qx 'CONFIG_KUNIT=y' "$kdir/.config"; then
		kunit=$("$TOP/scripts/module.sh" "$kdir" KUNIT=1) || exit
		mkdir -p "$modules/kunit"
		cp "$kunit/nfnetlink_cttimeout_rust.ko" "$modules/kunit/"
	fi
	if [ -n "$with_host" ]; then
		say "==> running the tests that need no guest, with the $kernel kernel"
		echo "# Host, $kernel kernel"
		"$TOP/tests/host.sh" "$kernel" "$kdir" $general 2>&1 | sed 's/^/  /' | tee "$results/host-$kernel.ktap"
		[ "${PIPESTATUS[0]}" -eq 0 ] || grep -q '^ *not ok' "$results/host-$kernel.ktap" ||
			echo "  not ok 1 host tests finished" | tee -a "$results/host-$kernel.ktap"
		[ "$kernel" = builtin ] || general=
	fi
	[ ${#selected[@]} -gt 0 ] || continue
	clients=$("$TOP/scripts/clients.sh" "$kdir") || { give_up "$kernel" $?; continue; }
	[[ " ${selected[*]} " != *" cttimeout_bpftrace "* ]] || need_commands bpftrace:bpftrace
	guests "$kernel" "$kdir" "$modules" "${selected[@]}"
done

# Leaves only: the results of whole test programs say nothing new, unless a
# program failed without a failed check.
count() { cat "$results"/*.ktap | grep -cE "$1"; }
skipped=$(count '^ +ok .*# SKIP')
failed=$(count '^ +not ok')
passed=$(($(count '^ +ok ') - skipped))
programs=$(count '^not ok')
[ "$failed" -gt 0 ] || failed=$programs
say "==> consoles and KTAP: $results"
echo "$passed passed, $failed failed, $skipped skipped"
[ "$passed" -gt 0 ] && [ "$failed" -eq 0 ]
