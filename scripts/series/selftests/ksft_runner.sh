#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Runs one test, for kselftest, with nfnetlink_cttimeout_rust as it is installed or built into
# the kernel.
#
# The test is skipped if a command that its head names ("# needs: nfct ping") is not
# installed, or if it unloads the module and the module is built in.
#
# usage: ksft_runner.sh TEST

test=$(realpath "$1") lib=$(realpath "$(dirname "$0")/lib")
export MODULE=nfnetlink_cttimeout_rust MODCONF=/run/modprobe.d
export PATH=$PATH:/usr/sbin:/sbin LC_ALL=C PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=$lib

# skip REASON
skip() {
	echo "1..0 # SKIP $1"
	exit 4
}
load() { modprobe "$@"; }
unload() { modprobe -r "$@"; }
export -f load unload
built_in() { zgrep -qs '^CONFIG_NF_CT_NETLINK_TIMEOUT_RUST=y' /proc/config.gz; }

echo "TAP version 13"
for command in ip python3 unshare $(sed -n '/^#/!q; s/^# needs: //p' "$test"); do
	command -v "$command" >/dev/null || skip "$command is not installed"
done
[ "$(id -u)" -eq 0 ] || skip "only root can run the test"
if built_in; then
	! grep -qw unload "$test" || skip "$MODULE is built into the kernel"
else
	[ -d "/sys/module/$MODULE" ] || load "$MODULE" 2>/dev/null ||
		skip "$MODULE cannot be loaded"
fi

# The test finds the libraries in ../lib, from its working directory.
mkdir -p "$MODCONF" && cd "$lib" || exit
# A test in Python gets a namespace; a test in Bash makes its own ones. (Another shell than
# bash would drop the functions from the environment.)
case $test in
*.py) exec unshare -n bash -c 'ip link set lo up && exec python3 "$1"' bash "$test" ;;
*) exec bash "$test" ;;
esac
