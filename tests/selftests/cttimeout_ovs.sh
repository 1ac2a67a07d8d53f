#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# check: plain/s390x; slow: 9
#
# Unchanged Open vSwitch uses the module for the timeouts of its zones: it makes and deletes
# policies with the zones, also many at once; a policy that the datapath still uses stays
# until Open vSwitch tries again; ovs-vswitchd can be restarted; and packets pass although
# somebody else deletes a policy (with detach_in_use=1).
#
# ZONES=255 is the number of zones that are made at once.
# shellcheck source-path=SCRIPTDIR/../lib

. ../lib/ktap.sh
. ../lib/netns.sh
. ../lib/conntrack.sh
. ../lib/ovs.sh

S=cttimeout-switch A=cttimeout-a B=cttimeout-b
ZONES=${ZONES:-255}
# The kernel's policies for a zone, without the common start of their names
PARTS="icmp4 icmpv6 tcp4 tcp6 udp4 udp6"

# host NAME PORT NUMBER: a host at a port of the switch; it has addresses in two
# networks, one for each of the zones 5 and 6
host() {
	local zone
	netns_add "$1" || return
	ip link add "$2" netns "$S" type veth peer name veth0 netns "$1" || return
	ip -n "$S" link set "$2" up
	in_ns "$1" sysctl -qw net.ipv6.conf.veth0.accept_dad=0 net.ipv6.conf.veth0.accept_ra=0
	for zone in 5 6; do
		ip -n "$1" addr add "10.0.$zone.$3/24" dev veth0
		ip -n "$1" addr add "fd0$zone::$3/64" dev veth0 nodad
	done
	ip -n "$1" link set veth0 up
}

switch() {
	ovs-vsctl --id=@system create Datapath datapath_version=0 \
		-- set Open_vSwitch . datapaths:system=@system &&
		# Flows of the datapath are to end when the test says so.
		ovs-vsctl set Open_vSwitch . other_config:max-idle=3600000 &&
		ovs-vsctl add-br br0 -- set-fail-mode br0 secure \
			-- add-port br0 port-a -- add-port br0 port-b
}

# openflow: the flows of the bridge, which do not survive the daemon
openflow() {
	ovs-ofctl add-flows br0 - <<-END
		priority=2,arp,actions=NORMAL
		priority=2,icmp6,icmp_type=135,actions=NORMAL
		priority=2,icmp6,icmp_type=136,actions=NORMAL
		priority=1,ip,nw_dst=10.0.5.0/24,actions=ct(commit,zone=5),NORMAL
		priority=1,ip,nw_dst=10.0.6.0/24,actions=ct(commit,zone=6),NORMAL
		priority=1,ipv6,ipv6_dst=fd05::/64,actions=ct(commit,zone=5),NORMAL
		priority=1,ipv6,ipv6_dst=fd06::/64,actions=ct(commit,zone=6),NORMAL
	END
}

nfct() { in_ns "$S" nfct "$@"; }
names() { nfct list timeout | sed -n 's/^\.\(.*\) = {/\1/p'; }
# numbers: the numbers in the names of the policies
numbers() { names | sed 's/^ovs_tp_\([0-9]*\)_.*/\1/' | sort -nu | xargs; }
count_is() { [ "$(names | wc -l)" -eq "$1" ]; }

# flow NAME ZONE SECONDS FILTER...
flow() { check_flow "$family: zone $2: $1" "$S" "$3" -w "$2" -f "$family" "${@:4}"; }

# check_zone FAMILY ICMP ZONE A B UDP PING TCP: UDP, ping and TCP from A to B, and their
# timeouts
check_zone() {
	local family=$1 icmp=$2 zone=$3 a=$4 b=$5

	traffic listen "lu$b" "$B" udp "$b" 90
	traffic connect "cu$b" "$A" udp "$b" 90 "$a" 4000
	traffic send "cu$b"
	flow "udp, unreplied" "$zone" "$6" -p udp
	in_ns "$A" ping -q -c 1 -W 20 "$b" >/dev/null
	flow "$icmp" "$zone" "$7" -p "$icmp"
	traffic listen "lt$b" "$B" tcp "$b" 80
	traffic connect "ct$b" "$A" tcp "$b" 80 "$a" 4001
	traffic accept "st$b" "lt$b" 4001
	flow tcp "$zone" "$8" -p tcp --state ESTABLISHED
}

# new_flow PORT SECONDS ZONE: a new UDP flow from PORT has a timeout of SECONDS
new_flow() {
	local family=ipv4
	traffic connect "n$1" "$A" udp "10.0.$3.2" 90 "10.0.$3.1" "$1"
	traffic send "n$1"
	flow "a new flow" "$3" "$2" -p udp --sport "$1"
}

# used POLICY: whether the datapath's flow for UDP to zone 5 uses it
used() { [ "$(policy_use "$S" "$1")" -gt 1 ]; }

# stale NUMBER: a zone's policies, as an earlier ovs-vswitchd may have left them
stale() {
	local part l3num
	for part in $PARTS; do
		l3num=inet
		[[ $part != *6 ]] || l3num=inet6
		case $part in
		tcp*) set -- "$1" "$l3num" tcp established ;;
		udp*) set -- "$1" "$l3num" udp replied ;;
		*) set -- "$1" "$l3num" "${part%4}" timeout ;;
		esac
		nfct add timeout "ovs_tp_$1_$part" "${@:2}" 1 || return
	done
}

# restart: ovs-vswitchd ends and starts. It deletes what it has found from its main loop,
# which answers a request once it is done.
restart() { vswitchd_stop && vswitchd_start && ovs-appctl version; }
none_stale() { ovs-appctl version && ! names | grep -q ovs_tp_; }
numbers_are() { ovs-appctl version && [ "$(numbers)" = "$1" ]; }

misses() { ovs-appctl dpctl/show | sed -n 's/.* missed:\([0-9]*\).*/\1/p'; }

# check_twenty TITLE: twenty packets, one by one, on the connection to port 91. A few of those
# for which the datapath asks ovs-vswitchd what to do are ARP.
check_twenty() {
	local before arrived=0
	before=$(misses)
	while [ "$arrived" -lt 20 ] && traffic send c91 && traffic receive l91; do
		arrived=$((arrived + 1))
	done
	check_eq "$1: twenty packets arrive" "$arrived" 20
	check "$1: ovs-vswitchd is not asked about each of them" \
		[ $(($(misses) - before)) -lt 10 ]
}
flow_id() { in_ns "$S" conntrack -L -o id -w 5 -p udp --sport "$1" 2>/dev/null | sed 's/.* id=//'; }

if ! ovs_installed; then
	skip "Open vSwitch" "openvswitch-switch cannot be installed here"
	finish
fi
netns_add "$S" && host "$A" port-a 1 && host "$B" port-b 2 && load openvswitch || exit 1
ovs_in "$S" "$(mktemp -d /tmp/ovs.XXXXXX)"
check "Open vSwitch's daemons start" ovs_start
comment "$(ovs-vsctl --version | head -n 1)"
check "a bridge is made in the kernel's datapath" switch
check "the bridge takes flows through two zones" openflow
traffic_start

# A zone with policies
check "four timeouts of a zone are set" ovs-vsctl add-zone-tp system zone=5 \
	udp_single=2100 icmp_first=2300 icmp_reply=2300 tcp_established=2400
check "a fifth timeout of the zone is set" zones_stir 2200
# Open vSwitch may delete the policies of before the change a little later.
wait_until 90 count_is 6
number=$(numbers)
check_eq "the zone has a policy for each protocol and family" "$(names | sort | xargs)" \
	"$(for part in $PARTS; do echo "ovs_tp_${number}_$part"; done | xargs)"
for family in 4 6; do
	check_eq "the zone's policy for UDP has its timeouts, IPv$family" \
		"$(nfct get timeout "ovs_tp_${number}_udp$family" | grep REPLIED | xargs)" \
		".UNREPLIED = 2100, .REPLIED = 2200,"
done
check_zone ipv4 icmp 5 10.0.5.1 10.0.5.2 2100 2300 2400
check_zone ipv6 icmpv6 5 fd05::1 fd05::2 2100 2300 2400
check_zone ipv4 icmp 6 10.0.6.1 10.0.6.2 30 30 432000
check_zone ipv6 icmpv6 6 fd06::1 fd06::2 30 30 432000
check_eq "Open vSwitch shows six flows with the zone's timeouts" \
	"$(ovs-appctl dpctl/dump-conntrack -s zone=5 | grep -cw 'timeout=2[0-4]..')" 6

# The daemon starts again. It takes policies with names like its own for old ones of its
# own, and deletes them.
check "ovs-vswitchd stops" vswitchd_stop
check_eq "the policies stay without ovs-vswitchd" "$(numbers)" "$number"
nfct add timeout "ovs_tp_$((number + 100))_udp4" inet udp unreplied 1
check "ovs-vswitchd starts again" vswitchd_start
check "the zone's timeouts are changed after the restart" zones_stir 2201
check "ovs-vswitchd has found its old policies, and deleted them" wait_until 90 count_is 6
check_eq "the zone's policies have the new timeouts after the restart" \
	"$(nfct list timeout | grep -w REPLIED | xargs)" \
	".REPLIED = 2201, .REPLIED = 2201,"
check "the bridge takes the flows again after the restart" openflow
new_flow 4010 2100 5

# A policy is in use
number=$(numbers) policy=ovs_tp_$(numbers)_udp4
check "the datapath uses the policy" wait_until 20 used "$policy"
# The datapath's flows stay as they are until the revalidators resume.
ovs-appctl revalidator/pause
ovs_log_mark
check "the zone's timeouts are removed while the datapath uses a policy" \
	ovs-vsctl del-zone-tp system zone=5
check "Open vSwitch logs that the policy is busy" wait_until 90 \
	ovs_log_has "failed to delete timeout policy $policy (Device or resource busy)"
check_eq "the policy that the datapath uses stays" "$(names | grep "udp4")" "$policy"
new_flow 4011 2100 5
ovs-appctl revalidator/resume
check "the policy is deleted once the datapath has released it" wait_until 90 count_is 0
new_flow 4012 30 5

# Many zones, no two of them alike
last=$((5 + ZONES)) add=() delete=()
for zone in $(seq 6 "$last"); do
	add+=(-- add-zone-tp system "zone=$zone" "udp_single=$((3000 + zone))")
	delete+=(-- del-zone-tp system "zone=$zone")
done
start=$SECONDS
check "timeouts of $ZONES zones are set" ovs-vsctl "${add[@]}"
check "timeouts of $ZONES zones are changed" zones_stir 2202
check "each of $ZONES zones has its six policies" wait_until 300 count_is $((6 * ZONES))
check_eq "each of $ZONES zones has its own values, for both families" \
	"$(nfct list timeout | sed -n 's/.*UNREPLIED = \(.*\),/\1/p' | sort -n | xargs)" \
	"$(for zone in $(seq 6 "$last"); do echo $((3000 + zone)) $((3000 + zone)); done | xargs)"
new_flow 4013 3006 6
check "timeouts of $ZONES zones are removed" ovs-vsctl "${delete[@]}"
check "the policies of $ZONES zones are deleted" wait_until 300 count_is 0
comment "$ZONES zones: $((SECONDS - start)) s"
new_flow 4014 30 6

# Zones are removed at once, while Open vSwitch still has to delete the policies of before the
# change, and while the datapath uses one of the new ones.
start=$SECONDS
check "$ZONES zones come" ovs-vsctl "${add[@]}"
zones_stir 2203
check "each of $ZONES zones has new policies" [ "$(names | wc -l)" -ge $((6 * ZONES)) ]
new_flow 4015 3006 6
check "$ZONES zones go at once" ovs-vsctl "${delete[@]}"
comment "$ZONES zones came and went in $((SECONDS - start)) s"
check "no policy is left of $ZONES zones that came and went" wait_until 300 count_is 0
new_flow 4016 30 6

# A policy for another protocol than those of zones ends the list that Open vSwitch makes when
# it starts. That is the same with the C module.
stale 400 && nfct add timeout foreign inet gre unreplied 1 && stale 500
check "ovs-vswitchd starts with a foreign policy among stale ones" restart
check "stale policies before the foreign one are deleted" \
	wait_until 90 numbers_are "foreign 500"
check_eq "stale policies after the foreign one stay" \
	"$(ovs-appctl version >/dev/null && names | grep -c ovs_tp_500_)" 6
nfct delete timeout foreign
check "ovs-vswitchd starts without the foreign policy" restart
check "the remaining stale policies are deleted" wait_until 90 count_is 0

# ovs-vswitchd lists stale policies while another process creates and deletes a policy.
for number in $(seq 600 649); do stale "$number"; done
check_eq "300 stale policies are there" "$(names | grep -c ovs_tp_)" 300
ip netns exec "$S" python3 -c 'from processes import *; come_and_go(["comes and goes"], Number())' &
churn=$!
check "ovs-vswitchd starts while a policy comes and goes" restart
check "ovs-vswitchd has found all 300 stale policies, and deleted them" wait_until 90 none_stale
check "a policy came and went until all 300 were deleted" kill "$churn"
wait "$churn"
nfct flush timeout

# The other way to delete
check "the module is free while no zone has timeouts" wait_until 60 unload "$MODULE"
check "the module loads with detach_in_use" load "$MODULE" detach_in_use=1
check "the bridge takes the flows again" openflow

# A policy of Open vSwitch is deleted behind its back.
check "timeouts of a zone are set, with detach_in_use" \
	ovs-vsctl add-zone-tp system zone=5 udp_single=2100
zones_stir 2204
check "the zone has its policies, with detach_in_use" wait_until 90 count_is 6
policy=ovs_tp_$(numbers)_udp4
traffic listen l91 "$B" udp 10.0.5.2 91
traffic connect c91 "$A" udp 10.0.5.2 91 10.0.5.1 4020
check_twenty "before a policy is deleted"
check "the datapath uses the policy that is to be deleted" wait_until 20 used "$policy"
id=$(flow_id 4020)
check "a policy is deleted behind Open vSwitch's back" nfct delete timeout "$policy"
check_twenty "after the policy was deleted"
check "the connection still has the same flow" [ "$(flow_id 4020)" = "${id:-none}" ]
check "Open vSwitch makes its flows in the datapath again" ovs-appctl revalidator/purge
check_twenty "with flows that name the deleted policy"
check "the connection has the same flow after the purge" [ "$(flow_id 4020)" = "${id:-none}" ]
new_flow 4021 30 5
check "timeouts of the zone without that policy are removed" ovs-vsctl del-zone-tp system zone=5
check "the zone's other policies are deleted" wait_until 90 count_is 0

# The largest timeout that ovs-vsctl takes is too large for the kernel.
check "a zone has the largest timeout that ovs-vsctl takes" \
	ovs-vsctl add-zone-tp system zone=5 tcp_established=2147483647
zones_stir 2205
check "the zone with the largest timeout has all six policies" wait_until 90 count_is 6
largest=$(python3 -c 'import nfnl; print(nfnl.largest())')
check_eq "the largest timeout is the kernel's largest" \
	"$(nfct get timeout "ovs_tp_$(numbers)_tcp4" | sed -n 's/.*ESTABLISHED = \(.*\),/\1/p')" "$largest"
traffic connect large "$A" tcp 10.0.5.2 80 10.0.5.1 4022
traffic accept large-end lt10.0.5.2 4022
family=ipv4
flow "a TCP connection with the largest timeout" 5 "$largest" \
	-p tcp --sport 4022 --state ESTABLISHED
check "the largest timeout is removed" ovs-vsctl del-zone-tp system zone=5
check "the policies with the largest timeout are deleted" wait_until 90 count_is 0

traffic_stop
check "Open vSwitch's daemons stop" ovs_stop
check "the datapath's module can be unloaded" wait_until 60 unload openvswitch
finish
