#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# make check-series: writes the patches, applies them to the kernel source, builds the kernel
# after each, without a warning, and with other options; lets clippy look at the result; boots
# it with the module built in, and with the module and conntrack as modules; and runs the
# selftests there as the kernel runs its own. Prints KTAP.
#
# The kernel is the "builtin" one of kernel.sh, in whose directory all this is done: first
# without the module, then with one patch after the other. KDIR= names another, built in a
# copy of the source that may be changed. KSRC= names the source without the module.
#
# usage: check-series.sh [patches|options|lint|builtin|module]...   (only these parts)

. "$(dirname "$0")/lib.sh"
. "$TOP/scripts/tools.sh"
. "$TOP/tests/lib/ktap.sh"
. "$TOP/tests/lib/series.sh"

need_build_tools
need_vm_tools
need_commands bpftrace:bpftrace
source=$("$TOP/scripts/kernel.sh" --source) || exit
build=$("$TOP/scripts/kernel.sh" builtin) || exit
tree=$(sed -n 's/^include \(.*\)\/Makefile$/\1/p' "$build/Makefile")
target=net/netfilter/cttimeout_rust
mkdir -p "$CACHE/results"
results=$(mktemp -d "$CACHE/results/series-$(date +%Y%m%d-%H%M%S).XXXX")
say "==> logs: $results"

# Only one process at a time builds there.
[ -n "${KDIR:-}" ] || {
	exec 9>"$CACHE/build-$(basename "$build").lock"
	flock 9
}
parts=${*:-patches options lint builtin module}
wanted() { [[ " $parts " == *" $1 "* ]]; }

kmake() { "${KMAKE[@]}" -C "$tree" O="${other_build:-$build}" -j "$JOBS" "$@"; }

# silently NAME MAKE_ARG...: make succeeds, and warns of nothing
silently() {
	local log=$results/$1.log
	shift
	kmake "$@" >"$log" 2>&1 </dev/null || {
		tail -n 25 "$log"
		return 1
	}
	! grep -E -A 8 '\bwarning\b' "$log"
}

# has BUILD OPTION=VALUE...: the options have these values, in a build directory
has() {
	local config=$1/.config item
	shift
	for item in "$@"; do
		grep -x -e "CONFIG_$item" -e "# CONFIG_${item%=n} is not set" "$config" || return
	done
}

# configure OPTION=VALUE...: and they take effect
configure() {
	local item
	for item in "$@"; do
		"$tree/scripts/config" --file "$build/.config" --set-val "${item%=*}" "${item#*=}" || return
	done
	kmake olddefconfig >/dev/null && has "$build" "$@"
}

# changes COMMIT: what a patch does beside adding files of the module
changes() {
	git -C "$applied" diff --name-status "$1^" "$1" | grep -vE "^A	$target/|^M	MAINTAINERS$"
}

# follow COMMIT: gives the tree the files that the commit adds or changes
follow() {
	git -C "$applied" diff --name-only "$1^" "$1" | while read -r file; do
		mkdir -p "$tree/$(dirname "$file")" && rm -f "$tree/$file" || return
		git -C "$applied" show "$1:$file" >"$tree/$file" || return
	done
}

# with NAME GOAL OPTION=VALUE...: a kernel that has little but these options compiles up to
# GOAL. Without a GOAL, it is only configured.
with() {
	local name=$1 goal=$2 other_build=$results/options fragment=$results/options.config
	shift 2
	mkdir -p "$other_build"
	printf 'CONFIG_%s\n' 64BIT=y MODULES=y RUST=y NET=y INET=y NETFILTER=y NETFILTER_ADVANCED=y \
		NF_CONNTRACK_TIMEOUT=y "$@" >"$fragment"
	KCONFIG_ALLCONFIG=$fragment kmake allnoconfig >/dev/null
	check "options: $name can be configured" has "$other_build" "$@"
	[ -z "$goal" ] || check "options: $name compiles" silently "options-${name// /-}" $goal
}

# kselftest NAME: boots the kernel, and has it run the tests
kselftest() {
	local console=$results/$1.console modules=$results/$1-modules status line tests="selftests: $target"
	mkdir "$modules"
	find "$build/net" "$build/lib" -name '*.ko' -exec cp -t "$modules" {} +
	# "make kselftest" begins with that.
	check "$1: the headers are there" silently "$1-headers" headers
	say "==> running the selftests, $1 (minutes; console: $console)"
	"$TOP/scripts/vm.sh" -t 3600 -a log_buf_len=8M "$build" "$TOP/tests/kselftest.sh" "$modules" "$tree" "$build" \
		"$target" "${KMAKE[@]:1}" >"$console" 2>&1
	status=$?
	while read -r line; do
		case $line in
		*"# SKIP"*) line=${line%% # SKIP*} && skip "$1: ${line#*: *: }" "see $console" ;;
		"not ok"*) fail "$1: ${line#*: *: }" "see $console" ;;
		*) pass "$1: ${line#*: *: }" ;;
		esac
	done < <(sed -n '/^--- tests begin/,/^--- tests end/p' "$console" | grep -E "^(not )?ok [0-9]+ $tests: ")
	check_eq "$1: all tests have a result" "$(grep -cE "^(not )?ok [0-9]+ $tests: " "$console")" \
		"$(find "$tree/tools/testing/selftests/$target" -name 'cttimeout_*' | wc -l)"
	# A test that unloads the module cannot do so if the module is built in. No other may be skipped.
	check_eq "$1: tests are skipped only if the module cannot be unloaded" \
		"$(grep -F '1..0 # SKIP' "$console" | grep -vF "$unloadable")" ""
	check_eq "$1: so many tests are skipped" "$(grep -cE "^ok [0-9]+ $tests: .*# SKIP" "$console")" "$2"
	check_eq "$1: the guest finished" "$status" 0
	check "$1: the kernel log is clean" "$TOP/scripts/check-log.sh" "$console"
}
unloadable="nfnetlink_cttimeout_rust is built into the kernel"

work=$results/work applied=$results/work/applied
mkdir "$work"
check_series "$source" "$work"
[ "$KTAP_FAILED" -eq 0 ] || finish

if wanted patches; then
	"$TOP/scripts/series.sh" --remove "$tree" || die "cannot change $tree"
	say "==> building the kernel without the module, then after each patch that can make a difference (each about 1 min)"
	check "patches: the kernel without the module builds" silently build-0 all
	number=0 built=
	for commit in $(git -C "$applied" rev-list --reverse base..series); do
		number=$((number + 1))
		title=$(git -C "$applied" log -1 --format=%s "$commit")
		follow "$commit" || die "cannot change $tree"
		[ -z "$(changes "$commit")" ] || built=y
		if [ -z "$built" ]; then
			pass "patches: only adds files that nothing builds yet: $title"
			continue
		fi
		check "patches: can be configured: $title" configure NF_CT_NETLINK_TIMEOUT_RUST=y
		check "patches: builds: $title" silently "build-$number" all
		check "patches: the module is in the kernel: $title" grep -q "/nfnetlink_cttimeout_rust.ko" "$build/modules.builtin"
	done
	check "patches: the last one leaves the same files as --into" diff -r "$applied/$target" "$tree/$target"
fi
"$TOP/scripts/series.sh" --into "$tree" || die "cannot change $tree"

if wanted options; then
	say "==> building the module with other options (each about 1 min)"
	with "conntrack as a module" "prepare net/netfilter/" \
		NF_CONNTRACK=m NF_CT_NETLINK_TIMEOUT=m NF_CT_NETLINK_TIMEOUT_RUST=m
	with "the module without tracepoints" "prepare net/netfilter/cttimeout_rust/" \
		NF_CONNTRACK=y NF_CT_NETLINK_TIMEOUT_RUST=y TRACEPOINTS=n
	check_eq "options: without tracepoints, nothing refers to them" \
		"$(nm -u "$results/options/$target/"*.o | grep -E "__tracepoint_|rust_do_trace_")" ""
	with "the C module built in, and so not this one" "" \
		NF_CONNTRACK=y NF_CT_NETLINK_TIMEOUT=y
	check_eq "options: this module cannot be selected then" \
		"$(grep NF_CT_NETLINK_TIMEOUT_RUST "$results/options/.config")" ""
	other_build=$results/options kmake allmodconfig >/dev/null
	check "options: allmodconfig has both as modules" has "$results/options" \
		RUST=y NF_CONNTRACK=m NF_CT_NETLINK_TIMEOUT=m NF_CT_NETLINK_TIMEOUT_RUST=m
	other_build=$results/options kmake allyesconfig >/dev/null
	check "options: allyesconfig has the C module" has "$results/options" RUST=y NF_CT_NETLINK_TIMEOUT=y
	check_eq "options: allyesconfig does not have this module" \
		"$(grep NF_CT_NETLINK_TIMEOUT_RUST "$results/options/.config")" ""
	rm -rf "$results/options"
fi

if wanted lint; then
	check "lint: can be configured, with unit tests" \
		configure NF_CT_NETLINK_TIMEOUT_RUST=y KUNIT=y NF_CT_NETLINK_TIMEOUT_RUST_KUNIT_TEST=y
	check "lint: clippy has nothing to say" silently clippy CLIPPY=1 "$target/"
fi

if wanted builtin; then
	check "built-in: can be configured, with unit tests" \
		configure NF_CT_NETLINK_TIMEOUT_RUST=y KUNIT=y NF_CT_NETLINK_TIMEOUT_RUST_KUNIT_TEST=y \
		KUNIT_DEFAULT_ENABLED=y KUNIT_AUTORUN_ENABLED=y
	check "built-in: builds" silently build-y all
	kselftest built-in "$(cd "$tree/tools/testing/selftests/$target" && grep -lw unload cttimeout_* | wc -l)"
	check "built-in: the unit tests pass" \
		grep -E '# nfnetlink_cttimeout_rust: pass:[1-9][0-9]* fail:0 skip:0' "$results/built-in.console"
	check "built-in: a policy that was there before the tests still is" \
		grep 'UNREPLIED = 77' <(sed '1,/^--- tests end/d' "$results/built-in.console")
fi

if wanted module; then
	check "module: can be configured, with conntrack as a module" configure NF_CONNTRACK=m \
		NF_CT_NETLINK_TIMEOUT_RUST=m NF_CT_NETLINK_TIMEOUT=m NF_CT_NETLINK_TIMEOUT_RUST_KUNIT_TEST=n
	check "module: builds" silently build-m all
	kselftest module 0
fi
finish
