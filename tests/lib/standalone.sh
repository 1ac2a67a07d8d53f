# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# For shell tests that run on a machine that was not prepared for them, as the kernel's
# own selftests do: the module is installed there as usual, or built into the kernel. If
# anything is missing, the test is skipped. To be sourced after ktap.sh.

# skip_all REASON: ends the test, in the way that kselftest understands
skip_all() {
	echo "1..0 # SKIP $1"
	exit 4
}

# need COMMAND...: skips the test unless these are installed
need() {
	local command
	for command in "$@"; do
		command -v "$command" >/dev/null || skip_all "$command is not installed"
	done
}

built_in() { zgrep -qs '^CONFIG_NF_CT_NETLINK_TIMEOUT_RUST=y' /proc/config.gz; }

# need_loadable: the test loads and unloads the module
need_loadable() { ! built_in || skip_all "$MODULE is built into the kernel"; }

load() { modprobe "$@"; }
unload() { modprobe -r "$@"; }
export -f load unload
export MODULE=nfnetlink_cttimeout_rust PATH=$PATH:/usr/sbin:/sbin
export PYTHONDONTWRITEBYTECODE=1 LC_ALL=C

echo "TAP version 13"
[ "$(id -u)" -eq 0 ] || skip_all "only root can do this"
built_in || [ -d "/sys/module/$MODULE" ] || load "$MODULE" 2>/dev/null ||
	skip_all "$MODULE cannot be loaded"
