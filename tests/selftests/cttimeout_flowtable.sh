#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# check: debug
# needs: conntrack iptables-legacy nfct nft
#
# A router's flowtable takes over a flow that has a policy, and gives it back with the default
# timeout. The policy counts again from the next packet on. The C module does the same.
# shellcheck source-path=SCRIPTDIR/../lib

. ../lib/ktap.sh
. ../lib/netns.sh
. ../lib/conntrack.sh

R=cttimeout-router C=cttimeout-client S=cttimeout-server

# host NAME NUMBER: a host, and its link to the router, r1 or r2
host() {
	netns_add "$1" && ip link add "r$2" netns "$R" type veth peer name veth0 netns "$1" || return
	ip -n "$R" addr add "10.0.$2.1/24" dev "r$2"
	ip -n "$R" link set "r$2" up
	ip -n "$1" addr add "10.0.$2.2/24" dev veth0
	ip -n "$1" link set veth0 up
	ip -n "$1" route add default via "10.0.$2.1"
}

offloaded() { in_ns "$R" conntrack -L -p udp 2>/dev/null | grep -qF "[OFFLOAD]"; }
arrives() { traffic send client && traffic receive server; }
has() { check_flow "$1" "$R" "$2" -p udp --dport 90; }

if ! zgrep -q '^CONFIG_NFT_FLOW_OFFLOAD=' /proc/config.gz; then
	skip "a flow with a policy in a flowtable" "the kernel has no flowtables"
	finish
fi

# check_flowtable MODULE: with MODULE, which is loaded
check_flowtable() {
	netns_add "$R" && host "$C" 1 && host "$S" 2 || exit 1
	in_ns "$R" sysctl -qw net.ipv4.ip_forward=1
	in_ns "$R" nfct default-set timeout inet udp unreplied 5100 replied 5100
	in_ns "$R" nfct add timeout web inet udp unreplied 1100 replied 1100
	in_ns "$R" iptables-legacy -t raw -A PREROUTING -p udp --dport 90 -j CT --timeout web
	traffic_start
	traffic listen server "$S" udp 10.0.2.2 90
	traffic connect client "$C" udp 10.0.2.2 90 10.0.1.2 0

	traffic send client && traffic answer server && traffic receive client
	has "$1: a forwarded flow has the policy" 1100
	in_ns "$R" nft -f - <<-'END'
		table inet router {
			flowtable flows {
				hook ingress priority 0
				devices = { r1, r2 }
			}
			chain forward {
				type filter hook forward priority 0
				udp dport 90 flow add @flows
			}
		}
	END
	check "$1: the packet that meets the flowtable arrives" arrives
	check "$1: the flowtable takes the flow over" offloaded
	check "$1: a packet that the flowtable forwards arrives" arrives
	check "$1: the flowtable is deleted" in_ns "$R" nft delete table inet router
	has "$1: the flow comes back with the default" 5100
	check "$1: a packet of the routed flow arrives without the flowtable" arrives
	has "$1: the policy counts again from the next packet on" 1100
	traffic_stop
	netns_cleanup
	check "$1: the module can be unloaded after the flow" wait_until 60 unload "$1"
}

check_flowtable "$MODULE"
load nfnetlink_cttimeout
check_flowtable nfnetlink_cttimeout
finish
