#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# check: plain/debug
#
# Shows that each tracepoint fires once for what it stands for, with the right
# values, and that none fires for what was refused.
# shellcheck source-path=SCRIPTDIR/../lib

. ../lib/ktap.sh
. ../lib/netns.sh
. ../lib/conntrack.sh

NS=cttimeout-trace
T=/sys/kernel/tracing
mountpoint -q $T || mount -t tracefs tracefs $T 2>/dev/null
if [ ! -e $T/events ]; then
	skip "tracepoints" "this kernel has none"
	finish
fi

nfct() { in_ns "$NS" nfct "$@"; }
# told: the events since the last call, without process, CPU and time
told() { sed -n 's/^.*: \(cttimeout_[a-z]*\): /\1 /p' $T/trace; : >$T/trace; }
iptables() { in_ns "$NS" iptables-legacy -t raw "$@"; }

netns_add "$NS" || exit 1
inode=$(in_ns "$NS" stat -L -c %i /proc/self/ns/net)
where="netns=$inode"

check_eq "the events that there are" "$(cd $T/events/cttimeout && echo */)" \
	"cttimeout_create/ cttimeout_delete/ cttimeout_hold/ cttimeout_release/ cttimeout_replace/"
nfct add timeout before inet tcp established 1
check_eq "nobody traces: nothing is told" "$(told)" ""
echo 1 >$T/events/cttimeout/enable

nfct add timeout web inet6 tcp established 100
check_eq "create" "$(told)" "cttimeout_create $where name=web l3num=10 l4proto=6"
check_fails "the same again is refused" "busy" nfct add timeout web inet6 tcp established 100
check_eq "and not told" "$(told)" ""
policy_replace "$NS" web 10 6 3=200
check_eq "replace" "$(told)" "cttimeout_replace $where name=web l3num=10 l4proto=6"
nfct add timeout dns inet udp replied 5
told >/dev/null

iptables -A OUTPUT -p udp -j CT --timeout dns
check_eq "hold" "$(told)" "cttimeout_hold name=dns use=2"
check_fails "a policy in use is not deleted" "busy" nfct delete timeout dns
check_eq "which is not told" "$(told)" ""
nfct flush timeout
check_eq "deleting all: those that are deleted" "$(told | sort)" \
	"cttimeout_delete $where name=before l3num=2 l4proto=6
cttimeout_delete $where name=web l3num=10 l4proto=6"
iptables -F
check_eq "release" "$(told)" "cttimeout_release name=dns use=1"
nfct delete timeout dns
check_eq "delete" "$(told)" "cttimeout_delete $where name=dns l3num=2 l4proto=17"

echo 0 >$T/events/cttimeout/enable
nfct add timeout web inet tcp established 100
nfct delete timeout web
check_eq "when tracing is over, nothing is told" "$(told)" ""
finish
