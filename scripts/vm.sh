#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Boots a kernel in a virtual machine, with this machine's file system as its
# root (read-only, /tmp and /run are the guest's own), and runs a command there
# as root. Prints the guest's console; exits with the status that the guest's
# "--- exit status N ---" line tells, or 1 if there is none.
#
# usage: vm.sh [-c CPUS] [-m MEMORY] [-t SECONDS] [-i] [-q QEMU_OPTION]... [-a KERNEL_ARGUMENT]... BUILD_DIR COMMAND [ARG]...
#   -i  count instructions: one CPU, whose clock advances 1 ns per instruction

. "$(dirname "$0")/lib.sh"
. "$TOP/scripts/tools.sh"

# Five-level paging, which QEMU's largest CPU has, makes KASAN report a wild access
# in some boots: while the boot CPU is being identified, its feature bits are
# empty for a moment, and an interrupt then computes the wrong address range.
#
# Nobody changes the host's files that a guest reads, so it may keep what it has read:
# otherwise it fetches, and QEMU translates, each program anew whenever it is run.
#
# A kernel without block devices wants to be told what its root is; any other takes it.
#
# The kernel log is looked through in the end, so it must hold all that was said.
cpus=2 memory=2G seconds=900 icount= options=()
appends=(-a no5lvl -a log_buf_len=4M
	-a root=/dev/root -a rootflags=version=9p2000.L,trans=virtio,access=any,msize=524288,cache=loose)
always=${#appends[@]}
while getopts c:m:t:iq:a: opt; do
	case $opt in
	c) cpus=$OPTARG ;;
	m) memory=$OPTARG ;;
	t) seconds=$OPTARG ;;
	i) icount=y cpus=1 ;;
	q) options+=(-o="$OPTARG") ;;
	a) appends+=(-a "$OPTARG") ;;
	*) die "usage: vm.sh [-c CPUS] [-m MEMORY] [-t SECONDS] [-i] [-q QEMU_OPTION]... BUILD_DIR COMMAND [ARG]..." ;;
	esac
done
shift $((OPTIND - 1))
[ -z "$(arch_of "$1")" ] || {
	[ -z "$icount" ] && [ "${#options[@]}.${#appends[@]}" = "0.$always" ] ||
		die "only -c, -m and -t are for $(arch_of "$1"), too"
	exec "$TOP/scripts/vm-foreign.sh" "$cpus" "$memory" "$seconds" "$@"
}
kernel=$1/arch/x86/boot/bzImage
shift
[ -f "$kernel" ] || die "there is no kernel at $kernel"
need_vm_tools

# A /dev/kvm that opens does not always run a guest. Asking it to boot this
# kernel, which ends in a panic for want of a root file system, tells.
kvm_works() {
	local verdict=$CACHE/kvm-$(cat /proc/sys/kernel/random/boot_id)
	[ -w /dev/kvm ] || return 1
	if [ ! -f "$verdict" ]; then
		say "==> trying KVM"
		if timeout 20 qemu-system-x86_64 -accel kvm -cpu host -machine q35 -m 512 \
			-nodefaults -nographic -no-reboot -serial stdio -kernel "$kernel" \
			-append "console=ttyS0 panic=-1" </dev/null 2>/dev/null |
			grep -q 'Unable to mount root'; then
			echo yes >"$verdict"
		else
			echo no >"$verdict"
		fi
	fi
	grep -q yes "$verdict"
}

accel=()
if [ -n "$icount" ]; then
	accel=(--disable-kvm -o="-accel tcg,thread=single -icount shift=0,sleep=off")
elif ! kvm_works; then
	# On a busy machine the guest takes the TSC for many times slower than it
	# is, and all its clocks run as many times too fast. The HPET tells its own
	# rate. There, too, the guest may see no timer interrupt in the time that it
	# allows for one, and would give up.
	accel=(--disable-kvm -o="-accel tcg,thread=multi" -a clocksource=hpet -a tsc=unstable
		-a no_timer_check)
fi
# What is copied by "rep movsb" QEMU copies byte by byte.
[[ " ${accel[*]} " != *" --disable-kvm "* ]] || accel+=(-o="-cpu max,-erms")

console=$(mktemp "$CACHE/logs/console.XXXXXX")
trap 'rm -f "$console"' EXIT
# vng wants a directory of its own to run in, and no standard input.
run_guest "$console" "$seconds" "$VNG" --run "$kernel" --force-9p "${accel[@]}" "${options[@]}" "${appends[@]}" \
	-o="-nic none" --user root --cpus "$cpus" --memory "$memory" --verbose \
	--cwd "$TOP" -- "$@"
