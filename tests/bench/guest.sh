#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Inside the virtual machine: measures the C module and this one in turns, and
# prints raw figures. A line "RUN MODULE PAIR" names the module of those that follow.
#
# usage: guest.sh curve DIR PAIRS MEMORY_AT C_SIZES RUST_SIZES
#        guest.sh flows DIR PAIRS FLOWS NAMESPACES
#        guest.sh race DIR PAIRS MILLISECONDS
#        guest.sh neighbours DIR PAIRS MILLISECONDS RUNS
#        guest.sh native DIR PAIRS C_SIZES RUST_SIZES
#        guest.sh profile DIR 1
#
# DIR holds the modules and the client; SIZES are joined by commas.

mode=$1 dir=$2 pairs=$3
shift 3
client=$dir/bench-client
c=nfnetlink_cttimeout rust=nfnetlink_cttimeout_rust
export PATH=$PATH:/usr/sbin:/sbin LC_ALL=C
status=0

try() {
	"$@" || {
		echo "failed: $*"
		status=1
	}
}

# in_turns PAIRS COMMAND...: runs it for both modules, PAIRS times; each is first in
# every other pair, because what comes second may be faster, or slower, for that alone
in_turns() {
	local pair module order count=$1
	shift
	for pair in $(seq "$count"); do
		order="$c $rust"
		[ $((pair % 2)) -eq 1 ] || order="$rust $c"
		for module in $order; do
			echo "PROGRESS $*: $module, $pair of $count"
			try insmod "$dir/$module.ko"
			echo "RUN $module $pair"
			"$@" $module
			try rmmod $module
		done
	done
}

# curve MEMORY_AT C_SIZES RUST_SIZES MODULE
curve() {
	local sizes=$3
	[ "$4" = $rust ] || sizes=$2
	# shellcheck disable=SC2086
	try "$client" curve 101 "$1" ${sizes//,/ }
}

# zones POLICIES MODULE: the policies of Open vSwitch, so many, and those of all zones
# that there can be, which would take the C module hours
zones() {
	try "$client" zones $(($1 / 6))
	[ "$2" = $c ] || try "$client" zones 65535
}

# untraced: this module without tracepoints
untraced() {
	echo "PROGRESS untraced"
	try insmod "$dir/untraced/$rust.ko"
	echo "RUN untraced 1"
	try "$client" curve 101 0 1 10
	try rmmod $rust
}

# race MILLISECONDS MODULE: two readers; then beside a writer, on a machine that
# tracks some flows, as those do that have policies
race() {
	try "$client" race "$1" 10 0
	try "$client" flood 5000 10.99.0.100
	try "$client" race "$1" 10 1
	try "$client" forget
}

# neighbours MILLISECONDS MODULE: two namespaces at work at the same time. The C module
# takes n^2 / 2 steps to fill a table, so it gets a smaller one.
neighbours() {
	local size sizes="1000 10000"
	[ "$2" = $rust ] || sizes=1000
	try "$client" two "$1"
	for size in $sizes; do
		try "$client" pair "$1" "$size"
	done
}

# flushes MODULE: a neighbour of a namespace that flushes its table
flushes() {
	local policies=200000
	[ "$1" = $rust ] || policies=10000
	try "$client" wait $policies
}

# ends MODULE: the end of an empty namespace, alone, and at the same time as that of a
# full one; and that of a full one
ends() {
	local policies=1000000
	[ "$1" = $rust ] || policies=10000
	try "$client" end end-alone $policies 0 0
	try "$client" end end-beside $policies 0 $policies
	try "$client" end end-full $policies $policies 0
}

# flood FLOWS POLICY...: lets flows use the policies, each as many
flood() {
	local count=$1 i
	shift
	for i in "$@"; do
		try iptables-legacy -t raw -A OUTPUT -p udp -d "10.99.0.10$i" -j CT --timeout "policy$i"
		try "$client" flood $((count / $#)) "10.99.0.10$i"
	done
	# From here on, flows use the policies, and no rule does.
	try iptables-legacy -t raw -F
}

# flows FLOWS MODULE: deletes and flushes beside tracked flows
flows() {
	local flows=$1 policies=10000
	# The C module walks the conntrack table for each policy, so fewer will do.
	[ "$2" = $rust ] || policies=100

	try "$client" create 1
	try "$client" unused 21 0
	flood "$flows" 1
	try "$client" unused 21 "$flows"
	try "$client" delete 1
	try "$client" forget

	try "$client" fill "$policies"
	try "$client" flush "$policies"
	try "$client" create 0 1 2 3 4
	flood "$flows" 0 1 2 3 4
	try "$client" fill "$policies"
	try "$client" flush "$policies"
	try "$client" forget
}

# profile MODULE: one request of each kind, for tests/bench/profile.py to watch
profile() {
	local operation index
	grep '\[' /proc/kallsyms | sed "s/^/SYMBOL $1 /"
	for index in 0 1 2 3 4 5 6 7 8 9; do
		try "$client" once create "$index"
	done
	# The first time, caches are filled.
	for _ in 1 2; do
		for operation in delete create get replace dump default-get; do
			try "$client" once "$operation" 9
		done
	done
	echo "10 1 10" >/sys/module/hookbench/parameters/run
	try "$client" once flush 0
}

# A network where packets go nowhere, and whose flows last.
network() {
	ip link add dummy0 type dummy
	ip address add 10.99.0.1/24 dev dummy0
	ip link set dummy0 up
	iptables-legacy -A OUTPUT -m conntrack --ctstate INVALID -j DROP
	cd /proc/sys/net/netfilter && echo 200000 >nf_conntrack_max && echo 65536 >nf_conntrack_buckets &&
		echo 3000 >nf_conntrack_udp_timeout
}

if [ "$mode" = native ]; then
	# This is init, of a kernel that has nothing but the host's root.
	mount -t proc proc /proc
	mount -t sysfs sysfs /sys
fi
dmesg -n 1
case $mode in
curve)
	try insmod "$dir/hookbench.ko"
	in_turns "$pairs" curve "$1" "$2" "$3"
	in_turns 1 zones "$1"
	untraced
	;;
flows)
	try network
	in_turns "$pairs" flows "$1"
	echo "PROGRESS namespaces $2"
	try "$client" namespaces "$2" "$dir/$c.ko" "$dir/$rust.ko"
	;;
race)
	try network
	in_turns "$pairs" race "$1"
	;;
neighbours)
	in_turns "$pairs" neighbours "$1"
	in_turns "$2" flushes
	in_turns "$2" ends
	;;
profile)
	try insmod "$dir/hookbench.ko"
	in_turns "$pairs" profile
	;;
native)
	try insmod "$dir/hookbench.ko"
	in_turns "$pairs" curve 0 "$1" "$2"
	;;
esac
echo "--- kernel log begins ---"
dmesg --color=never
echo "--- kernel log ends ---"
echo "--- exit status $status ---"
[ "$mode" != native ] || "$client" poweroff
