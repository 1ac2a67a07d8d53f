#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Shows, in a virtual machine, that the installed package does what it is for:
# whoever asks for timeout policies gets this module and, on a kernel that does
# not have it, the C module.
#
# usage: packaging.sh ROOT PACKAGE/VERSION
#   ROOT  a Debian that the package is installed in

. "$(dirname "$0")/lib/ktap.sh"
export PATH=$PATH:/usr/sbin:/sbin LC_ALL=C
package=$2
root=/run/root
dmesg -n 1

# The file system of the machine is read-only. What is written is kept in memory.
mkdir -p $root /run/changes
mount -t tmpfs changes /run/changes && mkdir /run/changes/{upper,work}
mount -t overlay -o "lowerdir=$1,upperdir=/run/changes/upper,workdir=/run/changes/work" root $root || exit
mount -t proc proc $root/proc
mount -t sysfs sys $root/sys
mount --bind /dev $root/dev

installed() { chroot $root "$@"; }
loaded() { lsmod | awk '/^nfnetlink_cttimeout/ { print $1 }' | xargs; }
unload() { installed modprobe -r nfnetlink_cttimeout_rust; }
policies() { installed nfct list timeout | sed -n 's/^\.\(.*\) = {/\1/p'; }

# When the kernel loads modules on demand, it runs the installed modprobe.
printf '#!/bin/sh\nexec chroot %s /sbin/modprobe "$@"\n' $root >/run/modprobe
chmod +x /run/modprobe
echo /run/modprobe >/proc/sys/kernel/modprobe

echo "--- tests begin ---"
check_eq "no module is loaded" "$(loaded)" ""
check "nfct adds a policy" installed nfct add timeout web inet tcp established 100
check_eq "because the kernel has loaded this module, and no other" "$(loaded)" nfnetlink_cttimeout_rust
check_eq "nfct lists it" "$(policies)" web
check "nfct deletes it" installed nfct delete timeout web
check "the module can be unloaded" unload
check "who loads the C module by its name" installed modprobe nfnetlink_cttimeout
check_eq "gets this one" "$(loaded)" nfnetlink_cttimeout_rust
check "which can be unloaded" unload
check "who insists on the C module" installed modprobe --ignore-install nfnetlink_cttimeout
check_eq "gets it" "$(loaded)" nfnetlink_cttimeout
check "and can unload it" rmmod nfnetlink_cttimeout

check "dkms removes the module from this kernel" installed dkms remove "$package" -k "$(uname -r)"
check "nfct adds a policy all the same" installed nfct add timeout web inet tcp established 100
check_eq "because the kernel has loaded the C module" "$(loaded)" nfnetlink_cttimeout
check "nfct deletes it there" installed nfct delete timeout web
check "the C module can be unloaded" rmmod nfnetlink_cttimeout
printf '1..%d\n' "$KTAP_N"
echo "--- kernel log begins ---"
dmesg --color=never
echo "--- kernel log ends ---"
echo "--- exit status $((KTAP_FAILED > 0)) ---"
