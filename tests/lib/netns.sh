# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Network namespaces for shell tests: two hosts on a veth pair, with IPv4 and IPv6. The
# namespaces end with the script.

NETNS_MADE=()

# netns_add NAME: a namespace with its loopback up
netns_add() {
	ip netns add "$1" || return
	NETNS_MADE+=("$1")
	ip -n "$1" link set lo up
}

netns_cleanup() {
	local ns
	for ns in "${NETNS_MADE[@]}"; do
		ip netns pids "$ns" 2>/dev/null | xargs -r kill -9 2>/dev/null
		ip netns del "$ns" 2>/dev/null
	done
}
trap netns_cleanup EXIT

# netns_pair A B: A has 10.0.0.1 and fd00::1, B has 10.0.0.2 and fd00::2
netns_pair() {
	netns_add "$1" && netns_add "$2" || return
	ip link add veth0 netns "$1" type veth peer name veth0 netns "$2" || return
	local ns n=0
	for ns in "$1" "$2"; do
		n=$((n + 1))
		ip netns exec "$ns" sysctl -qw net.ipv6.conf.all.accept_dad=0 \
			net.ipv6.conf.veth0.accept_dad=0 net.ipv6.conf.veth0.accept_ra=0
		ip -n "$ns" addr add "10.0.0.$n/24" dev veth0
		ip -n "$ns" addr add "fd00::$n/64" dev veth0 nodad
		ip -n "$ns" link set veth0 up
	done
}

# in_ns NAME COMMAND...
in_ns() { ip netns exec "$@"; }
