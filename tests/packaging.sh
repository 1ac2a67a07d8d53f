#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# In a virtual machine with the installed packages, programs that use timeout policies get
# this module and, on a kernel that does not have it, the C module; and policies outlast a
# reboot.
#
# usage: packaging.sh ROOT PACKAGE/VERSION first|second
#   ROOT  a Debian that the packages are installed in

. "$(dirname "$0")/lib/ktap.sh"
export PATH=$PATH:/usr/sbin:/sbin LC_ALL=C
package=$2 boot=$3
root=/run/root
dmesg -n 1

# The file system of the machine is read-only. What is written is kept in memory, except for
# one directory.
mkdir -p $root /run/changes
mount -t tmpfs changes /run/changes && mkdir /run/changes/{upper,work}
mount -t overlay -o "lowerdir=$1,upperdir=/run/changes/upper,workdir=/run/changes/work" root $root || exit
mount -t proc proc $root/proc
mount -t sysfs sys $root/sys
mount --bind /dev $root/dev
mkdir -p $root/etc/iptables
mount -t 9p -o trans=virtio,version=9p2000.L state $root/etc/iptables || exit

installed() { chroot $root "$@"; }
loaded() { lsmod | awk '/^nfnetlink_cttimeout/ { print $1 }' | xargs; }
unload() { installed modprobe -r nfnetlink_cttimeout_rust; }
policies() { installed nfct list timeout | sed -n 's/^\.\(.*\) = {/\1/p'; }

# The kernel loads modules on demand by the installed modprobe.
printf '#!/bin/sh\nexec chroot %s /sbin/modprobe "$@"\n' $root >/run/modprobe
chmod +x /run/modprobe
echo /run/modprobe >/proc/sys/kernel/modprobe

rules() { for ipt in iptables ip6tables; do installed $ipt-save -t raw | grep '^-A'; done; }
# state: policies, default timeouts, and rules
state() {
	installed nfct list timeout
	for protocol in $protocols; do installed nfct default-get timeout inet "$protocol"; done
	rules
}

# fill: something for each of these
protocols="tcp udp icmp icmpv6 sctp gre generic"
fill() {
	local protocol family values n=100
	for protocol in $protocols; do
		n=$((n + 100))
		values=$(installed nfct default-get timeout inet "$protocol" |
			awk -v n=$n '/^\t\t/ { print tolower(substr($1, 2)), n++ }')
		# shellcheck disable=SC2086 # the values are words
		for family in inet inet6; do
			installed nfct add timeout "$family-$protocol" "$family" "$protocol" $values || return
		done
		# shellcheck disable=SC2086
		installed nfct default-set timeout inet "$protocol" ${values##*$'\n'}0 || return
	done
	installed iptables -t raw -A OUTPUT -p tcp -j CT --timeout inet-tcp &&
		installed ip6tables -t raw -A OUTPUT -p sctp -j CT --timeout inet6-sctp
}

# as_says DOCUMENT LINES: runs the commands that are there
as_says() {
	local command
	while read -r command; do
		check "as $1 says: $command" installed sh -c "$command" </dev/null
	done < <(sed -n "$2s/^    //p" "$(dirname "$0")/../$1")
}

# in_use MODULE: which is loaded
in_use() {
	installed nfct add timeout web inet tcp established 100
	check_fails "modprobe -r of the C module fails while a policy needs $1" "in use" \
		installed modprobe -r nfnetlink_cttimeout
	check_eq "$1 stays loaded then" "$(loaded) $(policies)" "$1 web"
	installed nfct delete timeout web
}

first_boot() {
	check_eq "no module is loaded" "$(loaded)" ""
	check "nfct adds a policy, with the module installed" installed nfct add timeout web inet tcp established 100
	check_eq "nfct made the kernel load this module, and no other" "$(loaded)" nfnetlink_cttimeout_rust
	check_eq "nfct lists the policy of this module" "$(policies)" web
	check "nfct deletes the policy of this module" installed nfct delete timeout web
	check "this module can be unloaded after nfct" unload
	as_says README.md '/^    modprobe/'
	as_says README.md '1,/^## /'
	check_eq "the commands of README.md have made a policy and a rule" "$(policies; rules)" "web
-A PREROUTING -p tcp -m tcp --dport 80 -j CT --timeout web"
	installed iptables -t raw -F
	installed nfct flush timeout
	as_says README.md '/^    rmmod/'
	check_eq "the commands of README.md have changed from this module to the C module" "$(loaded)" nfnetlink_cttimeout
	installed modprobe -r nfnetlink_cttimeout
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

	installed modprobe --ignore-install nfnetlink_cttimeout
	check "policies, default timeouts and rules with the C module" fill
	state >$root/etc/iptables/expected
	as_says docs/INSTALL.md '/^## Switching/,/^## /'
	check_eq "the commands of docs/INSTALL.md have changed from the C module to this one" "$(loaded)" nfnetlink_cttimeout_rust
	check_eq "policies, default timeouts and rules are those of the C module" "$(state)" "$(cat $root/etc/iptables/expected)"
	check "netfilter-persistent flush succeeds while rules use policies" installed netfilter-persistent flush
	check_eq "netfilter-persistent flush leaves neither policies nor rules" "$(policies; rules)" ""
	check "this module can be unloaded after the flush" unload

	check "dkms removes the module from this kernel" installed dkms remove "$package" -k "$(uname -r)"
	check "nfct adds a policy, with the module removed" installed nfct add timeout web inet tcp established 100
	check_eq "nfct made the kernel load the C module" "$(loaded)" nfnetlink_cttimeout
	check "nfct deletes the policy of the C module" installed nfct delete timeout web
	check "modprobe -r unloads the C module, with this module removed" installed modprobe -r nfnetlink_cttimeout
	check_eq "no module is loaded in the end" "$(loaded)" ""
}

second_boot() {
	check_eq "no module is loaded after a reboot" "$(loaded)" ""
	check "netfilter-persistent start succeeds after a reboot" installed netfilter-persistent start
	check_eq "netfilter-persistent start made the kernel load this module" "$(loaded)" nfnetlink_cttimeout_rust
	check_eq "policies, default timeouts and rules are as before the reboot" \
		"$(state)" "$(cat $root/etc/iptables/expected)"
}

echo "--- tests begin ---"
"${boot}_boot"
printf '1..%d\n' "$KTAP_N"
echo "--- kernel log begins ---"
dmesg --color=never
echo "--- kernel log ends ---"
echo "--- exit status $((KTAP_FAILED > 0)) ---"
