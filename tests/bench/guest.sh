#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Inside the virtual machine: measures the C module and this one in turns, and
# prints a line of raw figures for each run.
#
# usage: guest.sh MODULE_DIR CLIENT PAIRS POLICIES...

modules=$1 client=$2 pairs=$3
shift 3
status=0
dmesg -n 1
for policies in "$@"; do
	for pair in $(seq "$pairs"); do
		for module in nfnetlink_cttimeout nfnetlink_cttimeout_rust; do
			insmod "$modules/$module.ko" || status=1
			figures=$("$client" "$policies" 101) || status=1
			echo "FIGURES $module $pair $figures"
			rmmod "$module" || status=1
		done
	done
done
echo "--- kernel log begins ---"
dmesg --color=never
echo "--- kernel log ends ---"
echo "--- exit status $status ---"
