#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# vm.sh for a kernel of another architecture, always emulated. The root file system is from
# root.sh; this project and the cache directory have the same paths as here. All of these
# are read-only; /tmp and /run are the guest's own.
#
# usage: vm-foreign.sh CPUS MEMORY SECONDS BUILD_DIR COMMAND [ARG]...

. "$(dirname "$0")/lib.sh"
. "$TOP/scripts/tools.sh"

cpus=$1 memory=$2 seconds=$3 kdir=$4
shift 4
arch=$(arch_of "$kdir")
need_foreign_vm_tools "$arch"
root=$("$TOP/scripts/root.sh" "$arch") || exit
mkdir -p "$root$TOP" "$root$CACHE"
work=$(mktemp -d "$CACHE/run.XXXXXX")
trap 'rm -rf "$work"' EXIT

case $arch in
s390x)
	# QEMU 7.2 has a bug in a vector instruction that the kernel computes checksums with, so
	# that all packets would be dropped whose checksum is not left to the device.
	qemu=(qemu-system-s390x -machine s390-ccw-virtio -cpu max,vx=off,vxeh=off -kernel "$kdir/arch/s390/boot/bzImage")
	bus=ccw console=ttysclp0
	;;
arm64)
	qemu=(qemu-system-aarch64 -machine virt -cpu neoverse-n1 -kernel "$kdir/arch/arm64/boot/Image")
	bus=device console=ttyAMA0
	;;
esac

# The command is in a file, because a kernel's command line is short, and has no quotes.
{
	echo '#!/bin/bash'
	printf 'cd %q || exit\nexec' "$TOP"
	printf ' %q' "$@"
	echo
} >"$work/run"
chmod +x "$work/run"

# share TAG DIRECTORY
share() {
	qemu+=(-fsdev "local,id=$1,path=$2,security_model=none,readonly=on,multidevs=remap"
		-device "virtio-9p-$bus,fsdev=$1,mount_tag=$1")
}
share root "$root"
share top "$TOP"
share cache "$CACHE"

run_guest "$work/console" "$seconds" "${qemu[@]}" -accel tcg,thread=multi -smp "$cpus" -m "$memory" \
	-nodefaults -nographic -no-reboot -serial stdio \
	-object rng-random,filename=/dev/urandom,id=rng -device "virtio-rng-$bus,rng=rng" \
	-append "console=$console panic=-1 log_buf_len=4M root=root rootfstype=9p ro \
rootflags=trans=virtio,version=9p2000.L,msize=512000,cache=loose init=/sbin/init \
MOUNT=top:$TOP,cache:$CACHE RUN=$work/run"
