# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Shared by scripts that run tests in a virtual machine: the directory of the modules, and
# the output that the host checks in the end.

# guest_modules DIRECTORY: makes modprobe find the .ko files there, also when the kernel
# loads modules on demand. The root file system is the host's, and read-only, so the modules
# get a tree of their own. Sets MODROOT and, unless it is set, MODCONF.
guest_modules() {
	dmesg -n 1
	echo 1 >/proc/sys/kernel/printk_ratelimit 2>/dev/null
	export MODROOT=/run/cttimeout-modules
	mkdir -p "$MODROOT/lib/modules/$(uname -r)"
	cp "$1"/*.ko "$MODROOT/lib/modules/$(uname -r)/" 2>/dev/null
	touch "$MODROOT/lib/modules/$(uname -r)"/modules.{order,builtin,builtin.modinfo}
	depmod -b "$MODROOT"
	# The administrator chooses the implementation that the kernel loads on demand. The tests
	# choose this one.
	export MODCONF=${MODCONF:-/run/cttimeout-modprobe.d}
	mkdir -p "$MODCONF"
	echo "blacklist nfnetlink_cttimeout" >$MODCONF/choice.conf
	cat >/run/cttimeout-modprobe <<-END
		#!/bin/sh
		exec /sbin/modprobe -d $MODROOT -C $MODCONF "\$@"
	END
	chmod +x /run/cttimeout-modprobe
	echo /run/cttimeout-modprobe >/proc/sys/kernel/modprobe
}

# guest_end STATUS: prints leaks and the kernel log, for the host to check
guest_end() {
	if zgrep -q '^CONFIG_DEBUG_KMEMLEAK=y' /proc/config.gz; then
		# An object counts as leaked when two scans in a row find no pointer to it.
		for _ in 1 2; do
			sleep 6
			echo scan >/sys/kernel/debug/kmemleak || echo "WARNING: kmemleak cannot scan" >/dev/kmsg
		done
		echo "--- kmemleak begins ---"
		cat /sys/kernel/debug/kmemleak
		echo "--- kmemleak ends ---"
	fi
	echo "--- kernel log begins ---"
	dmesg --color=never
	echo "--- kernel log ends ---"
	echo "--- exit status $1 ---"
}
