#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# make check: sets everything up, runs all tests, or those named, and prints KTAP. The last
# line is "N passed, N failed, N skipped".
#
# usage: check.sh [host] [TEST]...
#
# KERNELS="debug s390x" (the default) names the kernels to test on; "plain" is the one
# without checkers, "builtin" the one with the patch series. ARCH=s390x or ARCH=arm64 stands
# for the kernel for that architecture, and KVERSION= for another version (see kernel.sh).
# ALL=1 runs all tests on the debug kernel (an hour or two under emulation), and
# cttimeout_failslab lets every allocation fail. The amount of work can be set for some tests:
# ZONES= (cttimeout_ovs), ROUNDS= (cttimeout_races, cttimeout_order), SEED=, COUNT= and STEPS=
# (cttimeout_conformance*), SEED=, TIME= and MESSAGES= (cttimeout_fuzz). A test may take
# TEST_TIMEOUT=1800 seconds (5400 with ALL=1).
#
# Each test has a line in its head, such as "# check: plain/debug s390x; cpus: 4; slow: 3":
#
# - The kernels that run the test if no test is named. "plain/debug" is the plain kernel or,
#   in a run without it, the debug kernel. "s390x" includes arm64. If only one kernel is
#   listed, no other can run the test, and the test must not be skipped there.
# - The CPUs that the test needs, if not 2.
# - The minutes that the test takes under emulation, for an even distribution.

. "$(dirname "$0")/lib.sh"
. "$TOP/scripts/tools.sh"

# With a third kernel, a first run would take an hour and a half on two cores. The plain
# kernel, which finds the fewest faults, only stands in for s390x if the compiler does not
# support that.
stand_in=
[ -n "${KERNELS:-}${KDIR:-}${ARCH:-}" ] || { KERNELS="debug s390x" stand_in=plain; }
[ -z "${KDIR:-}" ] || KERNELS=plain
[ -z "${ARCH:-}" ] || KERNELS=$ARCH

[ -z "${ALL:-}" ] || TEST_TIMEOUT=${TEST_TIMEOUT:-5400}
knobs=()
for knob in ALL TEST_TIMEOUT ZONES ROUNDS SEED COUNT STEPS TIME MESSAGES; do
	[ -z "${!knob:-}" ] || knobs+=("$knob=${!knob}")
done

# The heads of all tests
declare -A file runs_on cpus slow
kernel="(builtin|plain|(plain/)?(debug|s390x))" number="([1-9][0-9]*)" all=()
for path in "$TOP"/tests/selftests/*; do
	name=${path##*/} test=$(basename "${path%.*}")
	head=$(sed -n '/^#/!q; s/^# check: //p' "$path")
	[[ $head =~ ^$kernel(" "$kernel)*("; cpus: "$number)?("; slow: "$number)?$ ]] ||
		die "tests/selftests/$name: its head has no line \"# check: ...\" as scripts/check.sh describes it"
	all+=("$test") file[$test]=$name runs_on[$test]=" ${head%%;*} "
	cpus[$test]=${BASH_REMATCH[-3]:-2} slow[$test]=${BASH_REMATCH[-1]:-0}
done

tests=() host='' named=$*
[ -n "$named" ] || set -- host "${all[@]}"
for test in "$@"; do
	case $test in
	host) host=y ;;
	*) [ -n "${file[$test]:-}" ] && tests+=("$test") || die "there is no test named $test" ;;
	esac
done
[ -z "${ARCH:-}" ] || [[ " $named " != *" host "* ]] || die "what needs no guest is tested without ARCH="
mkdir -p "$CACHE/results"
results=$(mktemp -d "$CACHE/results/$(date +%Y%m%d-%H%M%S).XXXX")

# guest NAME BUILD_DIR MODULE_DIR TEST...: runs tests in a virtual machine, with the
# results in NAME.ktap
guest() {
	local name=$1 kdir=$2 modules=$3 console=$results/$1.console ktap=$results/$1.ktap
	local files=() most=0 test status log
	shift 3
	for test in "$@"; do
		files+=("${file[$test]}")
		[ "${cpus[$test]}" -le "$most" ] || most=${cpus[$test]}
	done
	setpriv --pdeathsig TERM "$TOP/scripts/vm.sh" -c "$most" -t "$((${TEST_TIMEOUT:-1800} * 2))" "$kdir" \
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

# guests KERNEL BUILD_DIR MODULE_DIR TEST...: the same in two virtual machines at once,
# because a test rarely keeps more than one CPU busy. Of each four tests, beginning with
# the slowest, the first machine runs the first and the last.
guests() {
	local kernel=$1 kdir=$2 modules=$3 start=$SECONDS n=0 first=() second=() test
	shift 3
	for test in $(for name in "$@"; do echo "${slow[$name]} $name"; done | sort -snrk 1,1 | cut -d ' ' -f 2); do
		if [ $((n++ % 4 % 3)) -eq 0 ]; then first+=("$test"); else second+=("$test"); fi
	done
	say "==> running $# tests on the $kernel kernel (minutes; consoles: $results)"
	# The guests end with this script.
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
	for test in "$@"; do
		[ "${runs_on[$test]}" != " $kernel " ] || ! grep -qs "^ok [0-9]* $test # SKIP" "$results/$kernel"-?.ktap ||
			echo "  not ok 1 $test was not skipped on the $kernel kernel" >>"$results/$kernel-1.ktap"
	done
	cat "$results/$kernel"-?.ktap
}

# give_up KERNEL STATUS: a step of the set-up has failed, and has printed why. If only the
# compiler lacks the architecture (2), the other tests still run, unless ARCH= asked for it.
give_up() {
	[[ $1 == s390x || $1 == arm64 ]] && [ -z "${ARCH:-}" ] && [ "$2" -eq 2 ] || exit "$2"
	queue+=" $stand_in"
	echo "  ok 1 tests on $1 # SKIP the Rust compiler at hand cannot compile for it" | tee "$results/$1.ktap"
}

# runs KERNEL TEST: whether the kernel runs this test if no test is named
runs() {
	local on=${runs_on[$2]} without_plain='?(plain/)'
	[[ " $KERNELS " != *" plain "* ]] || without_plain=
	case $1 in
	plain) [[ $on == *" plain${stand_in:+/s390x}"* ]] ;;
	builtin) [[ $on == *" builtin "* ]] ;;
	debug) [[ -n ${ALL:-} && $on != " builtin " || $on == *" "${without_plain}debug" "* ]] ;;
	s390x | arm64) [[ -n ${ARCH:-} && $on != " builtin " || $on == *" "${without_plain}s390x" "* ]] ;;
	esac
}

queue=$KERNELS general=general
while read -r kernel queue <<<"$queue" && [ -n "$kernel" ]; do
	selected=()
	for test in "${tests[@]}"; do
		# A named test runs on any kernel but the built-in one, where few tests can run.
		if [ "$kernel" != builtin ] && [ -n "$named${KDIR:-}" ] || runs "$kernel" "$test"; then
			selected+=("$test")
		fi
	done
	with_host=$host
	# The host's tests are for x86-64.
	[[ $kernel != s390x && $kernel != arm64 ]] || with_host=
	[ ${#selected[@]} -gt 0 ] || [ -n "$with_host" ] || continue
	kdir=$("$TOP/scripts/kernel.sh" "$kernel") || { give_up "$kernel" $?; continue; }
	modules=$results/no-modules
	mkdir -p "$modules"
	[ "$kernel" = builtin ] || modules=$("$TOP/scripts/module.sh" "$kdir" TEST_MODULES=1) || exit
	if [[ " ${selected[*]} " == *" cttimeout_kunit "* ]] && grep -qx 'CONFIG_KUNIT=y' "$kdir/.config"; then
		kunit=$("$TOP/scripts/module.sh" "$kdir" KUNIT=1) || exit
		mkdir -p "$modules/kunit"
		cp "$kunit/nfnetlink_cttimeout_rust.ko" "$modules/kunit/"
	fi
	if [ -n "$with_host" ]; then
		say "==> running the tests that need no guest, with the $kernel kernel"
		echo "# Host, $kernel kernel"
		"$TOP/tests/host.sh" "$kernel" "$kdir" $general 2>&1 | sed 's/^/  /' | tee "$results/host-$kernel.ktap"
		# Without a plan, the tests did not finish, and the last line says why.
		grep -q '^  1\.\.' "$results/host-$kernel.ktap" || exit 1
		[ "$kernel" = builtin ] || general=
	fi
	[ ${#selected[@]} -gt 0 ] || continue
	clients=$("$TOP/scripts/clients.sh" "$kdir") || exit
	[[ " ${selected[*]} " != *" cttimeout_bpftrace "* ]] || need_commands bpftrace:bpftrace
	guests "$kernel" "$kdir" "$modules" "${selected[@]}"
done

# Only single checks are counted, and the results of test programs (at the start of a line)
# only if no check has failed.
count() { cat "$results"/*.ktap | grep -cE "$1"; }
skipped=$(count '^ +ok .*# SKIP')
failed=$(count '^ +not ok')
passed=$(($(count '^ +ok ') - skipped))
programs=$(count '^not ok')
[ "$failed" -gt 0 ] || failed=$programs
say "==> consoles and KTAP: $results"
echo "$passed passed, $failed failed, $skipped skipped"
[ "$passed" -gt 0 ] && [ "$failed" -eq 0 ]
