#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Boots a kernel in a virtual machine, with this machine's file system as its root
# (read-only; /tmp and /run are the guest's own), and runs a command there as root. Prints
# the guest's console, and exits with the N of its line "--- exit status N ---", or with 1 if
# there is no such line.
#
# usage: vm.sh [-c CPUS] [-m MEMORY] [-t SECONDS] [-i] [-q QEMU_OPTION]... [-a KERNEL_ARGUMENT]... BUILD_DIR COMMAND [ARG]...
#   -i  count instructions: one CPU, whose clock advances 1 ns per instruction

. "$(dirname "$0")/lib.sh"
. "$TOP/scripts/tools.sh"

# no5lvl: with five-level paging, which QEMU's largest CPU has, KASAN reports a wild access in
# some boots. While the boot CPU is being identified, its feature bits are empty for a
# moment, and an interrupt then computes the wrong address range.
#
# log_buf_len: the log is searched in the end, so it must hold all messages.
#
# root: a kernel without block devices needs it.
#
# cache=loose: the guest may cache the host's files, which do not change. Otherwise it would
# fetch each program anew, and QEMU translate it anew, whenever it is run.
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

# kvm_works: whether KVM boots this kernel, up to the panic for want of a root file system.
# (Not every /dev/kvm that can be opened can run a guest.)
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
	# On a busy machine, the guest may measure a TSC rate that is many times too low, and then
	# all its clocks run too fast. The HPET reports its rate. The guest may also see no timer
	# interrupt within the time that it waits for one, and would give up.
	accel=(--disable-kvm -o="-accel tcg,thread=multi" -a clocksource=hpet -a tsc=unstable
		-a no_timer_check)
fi
# QEMU is slow with "rep movsb", which it executes byte by byte.
[[ " ${accel[*]} " != *" --disable-kvm "* ]] || accel+=(-o="-cpu max,-erms")

console=$(mktemp "$CACHE/logs/console.XXXXXX")
trap 'rm -f "$console"' EXIT
# vng needs a working directory for the guest, and no standard input. Older ones do not quote
# the words of the command.
run_guest "$console" "$seconds" vng --run "$kernel" --force-9p "${accel[@]}" "${options[@]}" "${appends[@]}" \
	-o="-nic none" --user root --cpus "$cpus" --memory "$memory" --verbose \
	--cwd "$TOP" -- "$(printf '%q ' "$@")"
