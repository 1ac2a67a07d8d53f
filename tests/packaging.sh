#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# In a virtual machine with the installed package, programs that use timeout policies get
# this module and, on a kernel that does not have it, the C module.
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

# The kernel loads modules on demand by the installed modprobe.
printf '#!/bin/sh\nexec chroot %s /sbin/modprobe "$@"\n' $root >/run/modprobe
chmod +x /run/modprobe
echo /run/modprobe >/proc/sys/kernel/modprobe

# in_use MODULE: which is loaded
in_use() {
	installed nfct add timeout web inet tcp established 100
	check_fails "modprobe -r of the C module fails while a policy needs $1" "in use" \
		installed modprobe -r nfnetlink_cttimeout
	check_eq "$1 stays loaded then" "$(loaded) $(policies)" "$1 web"
	installed nfct delete timeout web
}

echo "--- tests begin ---"
check_eq "no module is loaded" "$(loaded)" ""
check "nfct adds a policy, with the module installed" installed nfct add timeout web inet tcp established 100
check_eq "nfct has had the kernel load this module, and no other" "$(loaded)" nfnetlink_cttimeout_rust
check_eq "nfct lists the policy of this module" "$(policies)" web
check "nfct deletes the policy of this module" installed nfct delete timeout web
check "this module can be unloaded after nfct" unload
check "modprobe of the C module succeeds" installed modprobe nfnetlink_cttimeout
check_eq "modprobe of the C module loads this module" "$(loaded)" nfnetlink_cttimeout_rust
in_use nfnetlink_cttimeout_rust
check "modprobe -r of the C module succeeds with this module loaded" installed modprobe -r nfnetlink_cttimeout
check_eq "modprobe -r of the C module unloads this module" "$(loaded)" ""
check "modprobe -r of the C module succeeds with no module loaded" installed modprobe -r nfnetlink_cttimeout
check "modprobe --ignore-install of the C module succeeds" installed modprobe --ignore-install nfnetlink_cttimeout
check_eq "modprobe --ignore-install of the C module loads the C module" "$(loaded)" nfnetlink_cttimeout
in_use nfnetlink_cttimeout
check "modprobe -r of the C module succeeds with the C module loaded" installed modprobe -r nfnetlink_cttimeout
check_eq "modprobe -r of the C module unloads the C module" "$(loaded)" ""

check "dkms removes the module from this kernel" installed dkms remove "$package" -k "$(uname -r)"
check "nfct adds a policy, with the module removed" installed nfct add timeout web inet tcp established 100
check_eq "nfct has had the kernel load the C module" "$(loaded)" nfnetlink_cttimeout
check "nfct deletes the policy of the C module" installed nfct delete timeout web
check "modprobe -r unloads the C module, with this module removed" installed modprobe -r nfnetlink_cttimeout
check_eq "no module is loaded in the end" "$(loaded)" ""
printf '1..%d\n' "$KTAP_N"
echo "--- kernel log begins ---"
dmesg --color=never
echo "--- kernel log ends ---"
echo "--- exit status $((KTAP_FAILED > 0)) ---"
