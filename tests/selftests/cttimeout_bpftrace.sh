#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# check: builtin
# needs: bpftrace iptables-legacy nfct
#
# bpftrace can watch each tracepoint, with lines that users may type, and prints the right
# names and numbers.
# shellcheck source-path=SCRIPTDIR/../lib

. ../lib/ktap.sh
. ../lib/netns.sh
. ../lib/conntrack.sh

NS=cttimeout-bpftrace
if ! zgrep -qs '^CONFIG_BPF_EVENTS=y' /proc/config.gz || ! command -v bpftrace >/dev/null; then
	skip "bpftrace" "this kernel has no CONFIG_BPF_EVENTS, or bpftrace is not installed"
	finish
fi

# watched COMMAND EVENT ACTION: prints what bpftrace prints while the command runs. bpftrace
# starts the command when it is ready, and ends with the command.
watched() {
	echo "$1" >"$steps"
	bpftrace -qe "tracepoint:cttimeout:cttimeout_$2 { $3 }" -c "/bin/bash $steps" 2>&1 | grep .
}
steps=$(mktemp) || exit
nfct() { in_ns "$NS" nfct "$@"; }
iptables() { in_ns "$NS" iptables-legacy -t raw "$@"; }
export NS
export -f in_ns nfct iptables policy_replace

# A kernel that is built outside of its source has headers in both directories.
build=/lib/modules/$(uname -r)/build
[ ! -d "$build/source" ] || export BPFTRACE_KERNEL_SOURCE=$build/source BPFTRACE_KERNEL_BUILD=$build

netns_add "$NS" || exit 1
check_eq "bpftrace: a policy is created" \
	"$(watched "nfct add timeout web inet tcp established 100" \
	create 'printf("%s %u\n", str(args->name), args->netns)')" \
	"web $(in_ns "$NS" stat -L -c %i /proc/self/ns/net)"
check_eq "bpftrace: a policy is replaced" "$(watched 'policy_replace "$NS" web 2 6 3=200' \
	replace 'printf("%s by %s\n", str(args->name), comm)')" "web by python3"
check_eq "bpftrace: a rule takes a policy" \
	"$(watched "iptables -A OUTPUT -p tcp -j CT --timeout web" \
	hold 'printf("%s use=%u\n", str(args->name), args->use)')" "web use=2"
check_eq "bpftrace: a rule releases a policy" "$(watched "iptables -F" \
	release 'printf("%s use=%u\n", str(args->name), args->use)')" "web use=1"
check_eq "bpftrace: a policy is deleted" "$(watched "nfct delete timeout web" \
	delete 'printf("%s by %s\n", str(args->name), comm)')" "web by nfct"
rm "$steps"
finish
