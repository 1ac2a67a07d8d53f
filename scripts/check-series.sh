#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# make check-series: makes the patch series, applies it to the kernel source as it is,
# and builds the kernel after each patch, without a warning, and its Rust parts with
# options off that the patches depend on; then lets clippy and rustdoc look at it,
# boots it with the module built in and as a module, and runs the series' selftests
# as the kernel runs its own. Prints KTAP.
#
# The kernel is the "builtin" one of kernel.sh, in whose directory all this is done:
# first as it was, then with one patch after the other. KDIR= names another, built
# in a copy of the source that may be changed; KSRC= is the source as it is then.
#
# usage: check-series.sh [patches|options|lint|builtin|module]...   (only that)

. "$(dirname "$0")/lib.sh"
. "$TOP/scripts/tools.sh"
. "$TOP/scripts/series/install.sh"
. "$TOP/tests/lib/ktap.sh"
. "$TOP/tests/lib/series.sh"

need_build_tools
need_commands bpftrace:bpftrace
source=$("$TOP/scripts/kernel.sh" --source) || exit
build=$("$TOP/scripts/kernel.sh" builtin) || exit
tree=$(sed -n 's/^include \(.*\)\/Makefile$/\1/p' "$build/Makefile")
target=net/netfilter/cttimeout_rust
mkdir -p "$CACHE/results"
results=$(mktemp -d "$CACHE/results/series-$(date +%Y%m%d-%H%M%S).XXXX")
say "==> logs: $results"

# Nobody else builds there meanwhile.
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

# checkout COMMIT: the kernel with the patches up to that one
checkout() {
	series_git -C "$applied" checkout -q --detach "$1" && install_files "$applied" "$source" "$tree"
}

# configure OPTION=VALUE...: and they take effect
configure() {
	local item
	for item in "$@"; do
		"$tree/scripts/config" --file "$build/.config" --set-val "${item%=*}" "${item#*=}" || return
	done
	kmake olddefconfig >/dev/null || return
	for item in "$@"; do
		grep -x -e "CONFIG_$item" -e "# CONFIG_${item%=n} is not set" "$build/.config" || return
	done
}

# with NAME SYMBOLS GOAL OPTION=VALUE...: a kernel that has little but these options
# compiles: its Rust parts, and then everything up to GOAL. Neither those parts nor the
# module, if it is there, refer to a symbol that matches SYMBOLS, which would be undefined
# in the end.
with() {
	local name=$1 symbols=$2 goal=$3 other_build=$results/options fragment=$results/options.config
	shift 3
	mkdir -p "$other_build"
	printf 'CONFIG_%s\n' 64BIT=y MODULES=y RUST=y "$@" >"$fragment"
	KCONFIG_ALLCONFIG=$fragment kmake allnoconfig >/dev/null
	check "can be configured: $name" "$TOP/scripts/kernel.sh" --check-config "$fragment" "$other_build/.config"
	check "compiles: $name" silently "options-${name// /-}" prepare $goal
	check_eq "refers to nothing that is not there: $name" \
		"$(nm -u "$other_build"/rust/{kernel,helpers/helpers}.o \
			$(compgen -G "$other_build/$target/*.o") | grep -E "^ +U ($symbols)")" ""
}

# kselftest NAME SKIPPED: boots the kernel, and has it run the tests; so many skip
kselftest() {
	local console=$results/$1.console modules=$results/$1-modules status line
	mkdir "$modules"
	find "$build/net" -name '*.ko' -exec cp -t "$modules" {} +
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
	done < <(sed -n '/^--- tests begin/,/^--- tests end/p' "$console" |
		grep -E "^(not )?ok [0-9]+ selftests: $target: ")
	# Those that load and unload the module have nothing to do where it is built in; no other may skip.
	check_eq "$1: what had to be skipped" "$(grep -cE "^ok [0-9]+ selftests: $target: .*# SKIP" "$console")" "$2"
	check_eq "$1: all tests have a result" \
		"$(grep -cE "^(not )?ok [0-9]+ selftests: $target: " "$console")" "$(programs)"
	check_eq "$1: the guest finished" "$status" 0
	check "$1: the kernel log is clean" "$TOP/scripts/check-log.sh" "$console"
}
programs() { find "$tree/tools/testing/selftests/$target" -type f -name 'cttimeout_*' | wc -l; }

# examples: those in the documentation of what the series adds have run, as part of a
# suite of all of the kernel crate's, which passes. The kernel tells where each is.
examples() {
	local log=$results/built-in.log file fences others
	# The console ends with the whole log once more.
	sed '/^--- kernel log begins/,$d' "$results/built-in.console" >"$log"
	check "the examples in the documentation pass" \
		grep -E '# rust_doctests_kernel: pass:[1-9][0-9]* fail:0 ' "$log"
	for file in $(git -C "$applied" diff --name-only -G '//[/!] ```' base clean -- rust/kernel); do
		# An example has two plain fences; what is marked as something else has only one.
		fences=$(grep -cE '^ *//[/!] ```$' "$applied/$file")
		others=$(grep -cE '^ *//[/!] ```[a-z]' "$applied/$file")
		check_eq "so many of $file have run" "$(grep -cF "location: $file:" "$log")" \
			$(((fences - others) / 2))
	done
}

work=$results/work applied=$results/work/applied
mkdir "$work"
check_series "$source" "$work"
[ "$KTAP_FAILED" -eq 0 ] || finish

if wanted patches; then
	say "==> building the kernel as it was, then with one patch more each time (each about 1 min)"
	number=0
	for commit in base $(git -C "$applied" rev-list --reverse base..clean); do
		title=$(git -C "$applied" log -1 --format=%s "$commit")
		checkout "$commit" || die "cannot change $tree"
		! grep -q NF_CT_NETLINK_TIMEOUT_RUST "$tree/net/netfilter/Kconfig" ||
			check "can be configured: $title" configure NF_CT_NETLINK_TIMEOUT_RUST=y
		! grep -q NF_CT_NETLINK_TIMEOUT_RUST_KUNIT_TEST "$tree/net/netfilter/Kconfig" ||
			check "with unit tests: $title" configure NF_CT_NETLINK_TIMEOUT_RUST_KUNIT_TEST=y
		start=$SECONDS
		check "builds: $title" silently "build-$number" all
		comment "$((SECONDS - start)) s"
		number=$((number + 1))
	done
fi
checkout clean || die "cannot change $tree"

if wanted options; then
	say "==> building the Rust parts with other options (each about 1 min)"
	filters=(NET=y INET=y NETFILTER=y NETFILTER_ADVANCED=y)
	with "no network" "nf|nla_|__nla|nlmsg|netlink|sk_|skb|.*pernet" "" NET=n
	with "no netfilter" "nf" "" NET=y NETFILTER=n
	with "conntrack as a module" "nf_" net/netfilter/ \
		"${filters[@]}" NF_CONNTRACK=m NF_CONNTRACK_TIMEOUT=y NF_CT_NETLINK_TIMEOUT=m
	with "conntrack without timeouts" "nf_" "" "${filters[@]}" NF_CONNTRACK=y NF_CONNTRACK_TIMEOUT=n
	with "no tracepoints" "__tracepoint_|rust_do_trace_" "$target/" \
		"${filters[@]}" NF_CONNTRACK=y NF_CONNTRACK_TIMEOUT=y NF_CT_NETLINK_TIMEOUT_RUST=y TRACEPOINTS=n
	rm -rf "$results/options"
fi

if wanted lint; then
	check "can be configured, with unit tests" \
		configure NF_CT_NETLINK_TIMEOUT_RUST=y KUNIT=y NF_CT_NETLINK_TIMEOUT_RUST_KUNIT_TEST=y
	check "clippy has nothing to say" silently clippy CLIPPY=1 rust/kernel.o net/netfilter/cttimeout_rust/
	check "rustdoc has nothing to say" silently rustdoc rustdoc
fi

if wanted builtin; then
	check "can be built in, with unit tests" \
		configure NF_CT_NETLINK_TIMEOUT_RUST=y KUNIT=y NF_CT_NETLINK_TIMEOUT_RUST_KUNIT_TEST=y \
		RUST_KERNEL_DOCTESTS=y KUNIT_DEFAULT_ENABLED=y KUNIT_AUTORUN_ENABLED=y
	check "builds so" silently build-y all
	kselftest built-in "$(grep -l need_loadable "$tree/tools/testing/selftests/$target"/cttimeout_* | wc -l)"
	check "the unit tests pass" \
		grep -E '# nfnetlink_cttimeout_rust: pass:[1-9][0-9]* fail:0 skip:0' "$results/built-in.console"
	check "built-in: a policy that was there before the tests still is" \
		grep 'UNREPLIED = 77' <(sed '1,/^--- tests end/d' "$results/built-in.console")
	examples
fi

if wanted module; then
	check "can be a module" configure NF_CT_NETLINK_TIMEOUT_RUST=m
	check "builds so" silently build-m all
	kselftest module 0
fi
finish
