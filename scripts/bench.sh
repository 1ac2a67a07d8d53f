#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# make bench: this module beside the C module of the same kernel, measured in
# turns. Nearly everything is counted in instructions, in a guest whose clock
# advances by one for each, so other load on the machine does no harm. Prints a
# table in Markdown with each bound, and whether it holds.
#
# usage: bench.sh [profile]
#
# "profile" prints instead the functions that the instructions of a request are in.
#
# FULL=1     larger tables of the C module, and figures of the real processor, by
#            means of user-mode Linux
# UPDATE=1   puts the results into docs/
# PAIRS=3, WALL_PAIRS=15  how often both modules take turns, where instructions are
#            counted, and where the clock on the wall is read
# SEED=1     the seed of the guests' processors for random numbers

. "$(dirname "$0")/lib.sh"
. "$TOP/scripts/tools.sh"

PAIRS=${PAIRS:-3} WALL_PAIRS=${WALL_PAIRS:-15} SEED=${SEED:-1}
FLOWS=${FLOWS:-50000} NAMESPACES=${NAMESPACES:-500}
RUST_SIZES=${RUST_SIZES:-1,10,100,1000,10000,100000}
# The C module takes n^2 / 2 steps to make n policies.
C_SIZES=${C_SIZES:-1,10,100,1000,10000${FULL:+,20000}}
MEMORY_AT=${MEMORY_AT:-10000}

# build_for BUILD_DIR [MAKE_ARG]...: prints a directory with the modules and the client
build_for() {
	local kdir=$1 modules out
	shift
	modules=$("$TOP/scripts/module.sh" "$kdir" "$@") || exit
	[ -f "$modules/nfnetlink_cttimeout.ko" ] ||
		die "the kernel in $kdir has no C module to compare with (CONFIG_NF_CT_NETLINK_TIMEOUT=m)"
	out=$(dirname "$modules")/hookbench
	mkdir -p "$out"
	step "building the benchmark's own module" "5 s" "$out/build.log" \
		"${KMAKE[@]}" -C "$kdir" M="$TOP/tests/bench/hookbench" MO="$out" "$@" modules
	cp "$out/hookbench.ko" "$modules/"
	"$RUSTC" --edition 2021 -O -o "$modules/bench-client" "$TOP/tests/bench/client/main.rs" || exit
	echo "$modules"
}

# watch NAME COMMAND...: runs a guest, with its console in a file, and shows its
# progress
watch() {
	local name=$1 console=$results/$1.console
	shift
	"$@" 2>"$console.errors" | tee "$console" |
		sed -un "s/^PROGRESS /    $name: /p" >&2
	if [ "${PIPESTATUS[0]}" -ne 0 ] || ! "$TOP/scripts/check-log.sh" "$console" >&2; then
		grep -E '^(failed:|Error:)' "$console" >&2 || tail -n 30 "$console" "$console.errors" >&2
		die "the measurement failed: $console"
	fi
}

# profile: QEMU writes down the address of each instruction of a few requests.
profile() {
	local socket=$results/debugger log=$results/instructions vm
	say "==> following one request of each kind (about 1 min)"
	"$TOP/scripts/vm.sh" -i -t 900 -a nokaslr \
		-q "-gdb unix:path=$socket,server=on,wait=off -S -D $log" \
		"$kdir" "$guest" profile "$modules" 1 >"$results/profile.console" 2>&1 &
	vm=$!
	until [ -S "$socket" ]; do
		kill -0 "$vm" 2>/dev/null || die "the guest does not start: $results/profile.console"
		sleep 1
	done
	python3 "$TOP/tests/bench/profile.py" "$socket" "$log" "$results/profile.console" \
		"$kdir/System.map" "llvm-cxxfilt-$LLVM_MAJOR" >"$results/PROFILE.md" || exit
	wait "$vm" || die "the guest failed: $results/profile.console"
	rm -f "$log"
	cat "$results/PROFILE.md"
}

need_vm_tools
kdir=$("$TOP/scripts/kernel.sh" bench) || exit
need_build_tools
modules=$(build_for "$kdir") || exit
# The same without tracepoints, for the cost of those that are off.
untraced=$("$TOP/scripts/module.sh" "$kdir" NO_TRACE=1) || exit
mkdir -p "$modules/untraced"
cp "$untraced/nfnetlink_cttimeout_rust.ko" "$modules/untraced/"
mkdir -p "$CACHE/results"
results=$(mktemp -d "$CACHE/results/bench-$(date +%Y%m%d-%H%M%S).XXXX")
guest=$TOP/tests/bench/guest.sh
export PYTHONDONTWRITEBYTECODE=1

if [ "${1:-}" = profile ]; then
	profile
	exit
fi
need_files /usr/lib/python3/dist-packages/matplotlib:python3-matplotlib

if [ -n "${FULL:-}" ]; then
	uml=$(env -u KDIR "$TOP/scripts/kernel.sh" uml) || exit
	# This kernel's module loader knows no tables of addresses (GOT), which rustc
	# uses unless told otherwise. Without them, modules must be below 2 GiB, and
	# are if the machine is small.
	uml_modules=$(build_for "$uml" ARCH=um KRUSTFLAGS=-Crelocation-model=static) || exit
	native=(timeout 3600 "$uml/linux" mem=256M con=null con0=fd:0,fd:1 root=/dev/root
		rootfstype=hostfs rootflags=/ "init=$guest" -- native "$uml_modules")
	# Its memory is a file, in /dev/shm unless that has too little room.
	[ "$(df --output=avail -k /dev/shm 2>/dev/null | tail -n 1)" -gt 400000 ] 2>/dev/null || export TMPDIR=$results
	# Not every container lets a process trace another. Better now than in the end.
	watch native-try "${native[@]}" 0 1 1 </dev/null
fi
start=$SECONDS

say "==> measuring (about ${FULL:+1}8 min; consoles: $results)"
vm=("$TOP/scripts/vm.sh" -q "-seed $SEED" -t 7200)
# Two guests that count instructions do not disturb each other.
watch flows "${vm[@]}" -i "$kdir" "$guest" flows "$modules" "$PAIRS" "$FLOWS" "$NAMESPACES" &
flows=$!
[ "$JOBS" -gt 1 ] || wait "$flows" || exit
watch curve "${vm[@]}" -i "$kdir" "$guest" curve "$modules" "$PAIRS" "$MEMORY_AT" "$C_SIZES" "$RUST_SIZES" &
wait "$!" && wait "$flows" || exit
watch race "${vm[@]}" -c 2 "$kdir" "$guest" race "$modules" "$WALL_PAIRS" 500
watch neighbours "${vm[@]}" -c 2 "$kdir" "$guest" neighbours "$modules" "$WALL_PAIRS" 500 "$PAIRS"
if [ -n "${FULL:-}" ]; then
	watch native "${native[@]}" "$WALL_PAIRS" 1,10,100,1000,10000 "$RUST_SIZES" </dev/null
	# Here, the C module can be filled further in reasonable time. 100,000 policies
	# would still take minutes.
	watch native-large "${native[@]}" "$PAIRS" 1000,30000 1000,30000,100000 </dev/null
fi

for module in nfnetlink_cttimeout nfnetlink_cttimeout_rust; do
	"llvm-size-$LLVM_MAJOR" -A "$modules/$module.ko" >"$results/$module.sections"
	"llvm-nm-$LLVM_MAJOR" -S -C --defined-only "$modules/$module.ko" >"$results/$module.symbols"
done
python3 "$TOP/scripts/size.py" >"$results/size" || exit
{
	echo "Commit $(git -C "$TOP" describe --always --dirty 2>/dev/null || echo unknown). Linux $("${KMAKE[@]}" -s -C "$kdir" kernelrelease), $("$RUSTC" --version | cut -d' ' -f1,2)," \
		"clang $LLVM_MAJOR; QEMU $(qemu-system-x86_64 --version | sed -n "s/.*version \([0-9.]*\).*/\1/p"), machine with $(nproc) CPUs; seed $SEED."
	echo "Each figure is the median of $PAIRS runs, $WALL_PAIRS where it depends on a clock. Measured in $(((SECONDS - start + 59) / 60)) min: make bench${FULL:+ FULL=1}."
} >"$results/setup"
/usr/bin/python3 "$TOP/tests/bench/report.py" "$results" >"$results/BENCH.md" || exit
cat "$results/BENCH.md"
if [ -n "${UPDATE:-}" ]; then
	mkdir -p "$TOP/docs"
	cp "$results/BENCH.md" "$results"/*.svg "$TOP/docs/"
fi
say "==> table, plots and raw figures: $results"
