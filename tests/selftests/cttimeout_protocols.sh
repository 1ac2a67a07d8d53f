#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# check: plain/s390x
# needs: conntrack ip6tables iptables nfct ping sysctl
#
# Flows of each tracked protocol but TCP (see cttimeout_tcp.sh) have the timeouts of their
# policies, with real packets over IPv4 and IPv6. A GRE flow copies the timeouts when it
# begins; after that, a change or a delete of the policy does not reach the flow.
#
# The client's conntrack sees a packet before the client's INPUT chain drops it.
# shellcheck source-path=SCRIPTDIR/../lib

. ../lib/ktap.sh
. ../lib/netns.sh
. ../lib/conntrack.sh

C=cttimeout-client S=cttimeout-server

# drop NS MATCH... / let_pass: what arrives at NS is dropped, or not any more
drop() { in_ns "$1" "$ipt" -I INPUT "${@:2}" -j DROP; }
let_pass() { in_ns "$C" "$ipt" -F INPUT; in_ns "$S" "$ipt" -F INPUT; }

# policy NAME PROTOCOL MATCH STATE SECONDS...: a policy, and a rule for it
policy() {
	check "$family: a policy for $2" in_ns "$C" nfct add timeout "$1" "$inet" "$2" "${@:4}"
	check "$family: a rule for $2" \
		in_ns "$C" "$ipt" -t raw -A OUTPUT -p "$3" -j CT --timeout "$1"
}

# flow NAME SECONDS FILTER...
flow() { check_flow "$family: $1" "$C" "$2" -f "$family" "${@:3}"; }

# exchange: a packet each way, and whether the flow counts as a stream by now
exchange() {
	traffic send cu && traffic answer su && flow_has "$C" 2200 -f "$family" -p udp --dport 90
}

# start_associating PORT / associate PORT: an association from the client's port,
# which names the sockets: c$PORT and s$PORT
start_associating() { traffic connect "c$1" "$C" sctp "$server" 80 "$client" "$1"; }
associate() { start_associating "$1" && traffic accept "s$1" ls "$1"; }
association() { flow "sctp $2${4:+ $4}" "$3" -p sctp --sport "$1" --state "$2"; }

# check_raw NUMBER UNREPLIED REPLIED: packets of a protocol that has no ports
check_raw() {
	traffic listen sr "$S" "$1" "$server" 0
	traffic connect cr "$C" "$1" "$server" 0 "$client" 0
	traffic send cr
	flow "protocol $1, unreplied" "$2" -p "$1"
	# The reply's own packet still counts as one of an unreplied flow.
	traffic answer sr && traffic receive cr && traffic send cr
	flow "protocol $1, replied" "$3" -p "$1"
	traffic close cr
	traffic close sr
}

# gre_flow TITLE SECONDS: what timeout the flow has after one more packet
gre_flow() {
	shorten "$C"
	traffic send cr && traffic receive sr
	flow "gre, $1" "$2" -p 47
}
forget_gre() { in_ns "$C" conntrack -D -f "$family" -p 47 >/dev/null 2>&1; }

# check_gre L3NUM: what the flow that check_raw has left keeps of its policy
check_gre() {
	traffic listen sr "$S" 47 "$server" 0
	traffic connect cr "$C" 47 "$server" 0 "$client" 0
	check "$family: the policy for gre is replaced" \
		policy_replace "$C" gre "$1" 47 1=5300 2=5400
	gre_flow "a flow keeps its timeouts when its policy is replaced" 5200
	forget_gre
	gre_flow "a new flow has the replaced timeouts" 5300
	in_ns "$C" "$ipt" -t raw -D OUTPUT -p gre -j CT --timeout gre
	check "$family: the policy for gre is deleted" in_ns "$C" nfct delete timeout gre
	gre_flow "a flow keeps its timeouts when its policy is deleted" 5300
	forget_gre
	gre_flow "a new flow has the default when the policy is deleted" 30
	traffic close cr
	traffic close sr
}

check_family() {
	local family=$1 ipt=$2 inet=$3 client=$4 server=$5 icmp=$6 icmp_timeout=$7 l3num=$8

	policy udp udp udp unreplied 2100 replied 2200
	policy icmp "$icmp" "$icmp" timeout "$icmp_timeout"
	policy sctp sctp sctp closed 4100 cookie_wait 4200 cookie_echoed 4300 \
		established 4400 shutdown_sent 4500 shutdown_recd 4600 shutdown_ack_sent 4700
	policy gre gre gre unreplied 5100 replied 5200
	policy any generic 253 timeout 6100
	policy long generic 252 timeout 4294967295

	traffic listen su "$S" udp "$server" 90
	traffic connect cu "$C" udp "$server" 90 "$client" 4000
	traffic send cu
	flow "udp, unreplied" 2100 -p udp --dport 90
	# Packets both ways for two seconds make a stream.
	traffic answer su
	check "$family: udp, replied" wait_until 30 exchange

	in_ns "$C" ping -q -c 1 -W 20 "$server" >/dev/null
	flow "$icmp" "$icmp_timeout" -p "$icmp" -d "$server"

	traffic listen ls "$S" sctp "$server" 80
	drop "$S" -p sctp
	start_associating 4001
	association 4001 CLOSED 4100
	let_pass
	drop "$C" -p sctp
	start_associating 4002
	association 4002 COOKIE_WAIT 4200
	let_pass
	# To the server, the COOKIE ECHO is the first packet after its own reply.
	drop "$S" -p sctp -m conntrack --ctstate ESTABLISHED
	start_associating 4003
	association 4003 COOKIE_ECHOED 4300
	let_pass
	associate 4004
	association 4004 ESTABLISHED 4400
	drop "$S" -p sctp
	traffic finish c4004
	association 4004 SHUTDOWN_SENT 4500
	let_pass
	associate 4005
	drop "$C" -p sctp
	traffic finish s4005
	association 4005 SHUTDOWN_RECD 4600
	let_pass
	associate 4006
	drop "$C" -p sctp
	traffic finish c4006
	association 4006 SHUTDOWN_ACK_SENT 4700
	let_pass
	associate 4007
	traffic reset c4007
	association 4007 CLOSED 4100 "after an abort"

	check_raw 47 5100 5200
	check_gre "$l3num"
	check_raw 253 6100 6100
	# A timeout that is too long is the largest possible one, and flows with it live.
	check_raw 252 "$limit" "$limit"
	# The generic policy is for the protocol that the rule names, not for all unknown ones.
	traffic connect other "$C" 254 "$server" 0 "$client" 0
	traffic send other
	flow "protocol 254 has the default beside a policy for 253" 600 -p 254

	in_ns "$C" "$ipt" -t raw -F
	in_ns "$C" nfct flush timeout
	check_eq "$family: a flush deletes all policies once the rules are gone" \
		"$(in_ns "$C" nfct list timeout)" ""
}

limit=$(python3 -c 'import nfnl; print(nfnl.largest())')
netns_pair "$C" "$S" || exit 1
traffic_start
check_family ipv4 iptables inet 10.0.0.1 10.0.0.2 icmp 3100 2
check_family ipv6 ip6tables inet6 fd00::1 fd00::2 icmpv6 3200 10
finish
