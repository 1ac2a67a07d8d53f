#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# check: plain/s390x; slow: 3
# needs: conntrack ip6tables iptables nfct sysctl
#
# A TCP connection has the timeout of its policy in each state, a connection without a policy
# has the defaults, and a change or a delete of a policy takes effect with the next packet.
#
# The policy is the client's. The client's conntrack sees an incoming packet before the
# client's INPUT chain drops it; so a connection can be held in a given state.
# shellcheck source-path=SCRIPTDIR/../lib

. ../lib/ktap.sh
. ../lib/netns.sh
. ../lib/conntrack.sh

C=cttimeout-client S=cttimeout-server

# drop NS... / let_pass: what arrives at NS is dropped, or not any more
drop() { local ns; for ns in "$@"; do in_ns "$ns" "$ipt" -I INPUT -p tcp -j DROP; done; }
let_pass() { in_ns "$C" "$ipt" -F INPUT; in_ns "$S" "$ipt" -F INPUT; }

# start_connecting PORT SERVER_PORT / open_connection PORT [SERVER_PORT]:
# PORT is the client's, and names the sockets: c$PORT and s$PORT
start_connecting() { traffic connect "c$1" "$C" tcp "$server" "$2" "$client" "$1"; }
open_connection() { start_connecting "$1" "${2:-80}" && traffic accept "s$1" "l${2:-80}" "$1"; }

# check_state PORT STATE SECONDS [NAME]
check_state() {
	check_flow "$family: ${4:-$2}" "$C" "$3" -f "$family" -p tcp --sport "$1" --state "$2"
}

check_family() {
	local family=$1 ipt=$2 inet=$3 l3num=$4 client=$5 server=$6
	local port flow

	# Any two values, and any value and a default, differ by more than a minute.
	check "$family: a policy with a value for each state" in_ns "$C" \
		nfct add timeout web "$inet" tcp syn_sent 1100 syn_recv 1200 \
		established 1300 fin_wait 1400 close_wait 1500 last_ack 1600 \
		time_wait 1700 close 1800 syn_sent2 1900 retrans 9000 unacknowledged 9100
	check "$family: a policy for another port" in_ns "$C" \
		nfct add timeout short "$inet" tcp established 2500
	in_ns "$C" "$ipt" -t raw -A OUTPUT -p tcp --dport 80:81 -j CT --timeout web
	in_ns "$C" "$ipt" -t raw -A OUTPUT -p tcp --dport 83 -j CT --timeout short
	for port in 80 82 83; do
		traffic listen "l$port" "$S" tcp "$server" "$port"
	done

	drop "$S"
	start_connecting 4001 80
	check_state 4001 SYN_SENT 1100

	# Both ends open the connection at the same time.
	drop "$C"
	start_connecting 4002 81
	check_state 4002 SYN_SENT 1100 "SYN_SENT before the other's SYN"
	traffic connect s4002 "$S" tcp "$client" 4002 "$server" 81
	check_state 4002 SYN_SENT2 1900

	let_pass; drop "$C"
	start_connecting 4003 80
	check_state 4003 SYN_RECV 1200
	let_pass

	open_connection 4004
	check_state 4004 ESTABLISHED 1300
	drop "$S"
	traffic finish c4004
	check_state 4004 FIN_WAIT 1400
	let_pass

	open_connection 4005
	traffic finish c4005
	check_state 4005 CLOSE_WAIT 1500
	drop "$C"
	traffic finish s4005
	check_state 4005 LAST_ACK 1600
	let_pass

	open_connection 4006
	traffic finish c4006
	check_state 4006 CLOSE_WAIT 1500 "CLOSE_WAIT before the other's FIN"
	traffic finish s4006
	check_state 4006 TIME_WAIT 1700

	open_connection 4007
	traffic reset c4007
	check_state 4007 CLOSE 1800

	# A port without a rule
	open_connection 4008 82
	check_state 4008 ESTABLISHED 432000 "the default without a policy"

	# Values are replaced: the next packet counts.
	open_connection 4009
	check_state 4009 ESTABLISHED 1300 "ESTABLISHED before the replacement"
	check "$family: a policy that flows have is replaced" \
		policy_replace "$C" web "$l3num" 6 3=2300 10=2000 11=2100
	check_state 4009 ESTABLISHED 1300 "no change without a packet after the replacement"
	traffic send c4009 && traffic receive s4009
	check_state 4009 ESTABLISHED 2300 "the replaced value with the next packet"

	# These two are not states, but limits to the timeout of a state.
	drop "$S"
	traffic send c4009
	check_state 4009 ESTABLISHED 2100 "data that is not acknowledged"
	let_pass
	in_ns "$C" sysctl -qw net.ipv4.tcp_rto_min_us=200000
	open_connection 4010
	drop "$S"
	traffic send c4010
	check_state 4010 ESTABLISHED 2000 "data that is sent over and over"
	let_pass
	in_ns "$C" sysctl -qw net.ipv4.tcp_rto_min_us=60000000

	# The policy is deleted: the flow takes the default with the next packet.
	open_connection 4011
	in_ns "$C" "$ipt" -t raw -D OUTPUT -p tcp --dport 80:81 -j CT --timeout web
	check "$family: a policy that flows have is deleted" in_ns "$C" nfct delete timeout web
	check_state 4011 ESTABLISHED 2300 "no change without a packet after the delete"
	traffic send c4011 && traffic receive s4011
	check_state 4011 ESTABLISHED 432000 "the default with the next packet after the delete"

	# A flow ends with its timeout.
	open_connection 4012 83
	check_state 4012 ESTABLISHED 2500 "the policy of another port"
	policy_replace "$C" short "$l3num" 6 3=2
	traffic send c4012 && traffic receive s4012
	flow=(-f "$family" -p tcp --sport 4012)
	check "$family: a flow with 2 seconds is gone" wait_until 60 flow_gone "$C" "${flow[@]}"
	check_state 4008 ESTABLISHED 432000 "a flow with the default is still there"

	in_ns "$C" "$ipt" -t raw -F
	check "$family: the policy of the other port is deleted" \
		in_ns "$C" nfct delete timeout short
	for port in 80 82 83; do
		traffic close "l$port"
	done
}

netns_pair "$C" "$S" || exit 1
traffic_start
# A retransmitted FIN counts as a second one, and would end FIN_WAIT.
for ns in "$C" "$S"; do
	in_ns "$ns" sysctl -qw net.ipv4.tcp_early_retrans=0 net.ipv4.tcp_rto_min_us=60000000
done

check_family ipv4 iptables inet 2 10.0.0.1 10.0.0.2
check_family ipv6 ip6tables inet6 10 fd00::1 fd00::2
finish
