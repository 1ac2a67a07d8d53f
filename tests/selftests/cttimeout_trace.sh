#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# check: plain/debug
# needs: iptables-legacy nfct
#
# Each tracepoint fires once for its event, with the right values, and none fires for a
# refused request.
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
# traced: the events since the last call, without process, CPU and time
traced() { sed -n 's/^.*: \(cttimeout_[a-z]*\): /\1 /p' $T/trace; : >$T/trace; }
iptables() { in_ns "$NS" iptables-legacy -t raw "$@"; }

netns_add "$NS" || exit 1
inode=$(in_ns "$NS" stat -L -c %i /proc/self/ns/net)
where="netns=$inode"

check_eq "trace: the list of events" "$(cd $T/events/cttimeout && echo */)" \
	"cttimeout_create/ cttimeout_delete/ cttimeout_hold/ cttimeout_release/ cttimeout_replace/"
nfct add timeout before inet tcp established 1
check_eq "trace: no event before tracing is enabled" "$(traced)" ""
echo 1 >$T/events/cttimeout/enable

nfct add timeout web inet6 tcp established 100
check_eq "create: one event with the right values" \
	"$(traced)" "cttimeout_create $where name=web l3num=10 l4proto=6"
check_fails "create: a second policy of the same name is refused" \
	"busy" nfct add timeout web inet6 tcp established 100
check_eq "create: a refused request is not traced" "$(traced)" ""
policy_replace "$NS" web 10 6 3=200
check_eq "replace: one event with the right values" \
	"$(traced)" "cttimeout_replace $where name=web l3num=10 l4proto=6"
nfct add timeout dns inet udp replied 5
traced >/dev/null

iptables -A OUTPUT -p udp -j CT --timeout dns
check_eq "hold: one event with the right values" "$(traced)" "cttimeout_hold name=dns use=2"
check_fails "delete: a policy in use is refused" "busy" nfct delete timeout dns
check_eq "delete: a refused request is not traced" "$(traced)" ""
nfct flush timeout
check_eq "flush: one event for each deleted policy, none for a policy in use" "$(traced | sort)" \
	"cttimeout_delete $where name=before l3num=2 l4proto=6
cttimeout_delete $where name=web l3num=10 l4proto=6"
iptables -F
check_eq "release: one event with the right values" "$(traced)" "cttimeout_release name=dns use=1"
nfct delete timeout dns
check_eq "delete: one event with the right values" \
	"$(traced)" "cttimeout_delete $where name=dns l3num=2 l4proto=17"

echo 0 >$T/events/cttimeout/enable
nfct add timeout web inet tcp established 100
nfct delete timeout web
check_eq "trace: no event after tracing is disabled" "$(traced)" ""
finish
