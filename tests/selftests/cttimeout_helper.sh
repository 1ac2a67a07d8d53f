#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# check: plain/debug; slow: 2
# needs: conntrack iptables-legacy iptables-nft nfct
#
# A rule can name a zone and a helper beside the policy; if one of the names is wrong, the
# rule is refused, and no count changes. A flow that a helper expects does not have the
# policy of the connection that the helper is for.
# shellcheck source-path=SCRIPTDIR/../lib

. ../lib/ktap.sh
. ../lib/netns.sh
. ../lib/conntrack.sh

NS=cttimeout-helper

# counts: the uses of the policies, and the references to this module and the helper's, if
# these are modules
counts() {
	in_ns "$NS" python3 -c '
import nfnl
print(*((p.name, p.use) for p in nfnl.Socket().dump().policies))'
	cat "/sys/module/$MODULE/refcnt" /sys/module/nf_conntrack_pptp/refcnt 2>/dev/null
}

# rule ARG... / refused NAME REASON ARG...
rule() { in_ns "$NS" "$ipt" -t raw -A OUTPUT "$@"; }
refused() {
	check_fails "$ipt: $1 is refused" "$2" rule -p tcp --dport 1723 -j CT --zone 7 "${@:3}"
	check_eq "$ipt: $1 changes no count" "$(counts)" "$before"
}

# start_connecting PORT: the connection stays in its first state
start_connecting() { traffic connect "c$1" "$NS" tcp 127.0.0.1 "$1" 127.0.0.1 4000; }
listed() { in_ns "$NS" conntrack -L -w 7 -p tcp --dport "$@" 2>/dev/null; }

# expect: the connection to port 1723 now expects another one, to port 2000
expect() {
	in_ns "$NS" python3 - <<-'END'
		import nfnl, sys
		from nfnl import attr, be16, be32, nest

		def flow(kind, address, source, target):
		    """CTA_EXPECT_MASTER, CTA_EXPECT_TUPLE or CTA_EXPECT_MASK for TCP"""
		    ports = attr(2, be16(source)), attr(3, be16(target))
		    return nest(kind, nest(1, attr(1, address), attr(2, address)),
		                nest(2, attr(1, b"\6"), *ports))

		lo = bytes([127, 0, 0, 1])
		attrs = (flow(1, lo, 4000, 1723), flow(2, lo, 0, 2000),
		         flow(3, b"\xff" * 4, 0, 0xffff),
		         attr(4, be32(600)), attr(7, be16(7)))  # the timeout, the zone
		sys.exit(nfnl.Socket().request(0, *attrs, subsys=2, family=nfnl.IPV4,
		                               flags=nfnl.F_CREATE).errno_name)
	END
}

check_rules() {
	local ipt=$1 unknown=$2 before port
	before=$(counts)

	refused "a policy of another protocol" "Invalid argument" --helper pptp --timeout udp
	refused "an unknown policy" "$unknown" --helper pptp --timeout unknown
	refused "an unknown helper" "$unknown" --helper unknown --timeout web
	check "$ipt: a rule with a zone, a helper and a policy is accepted" \
		rule -p tcp --dport 1723 -j CT --zone 7 --helper pptp --timeout web
	check_use "$ipt: the policy counts the rule" "$NS" web 2
	start_connecting 1723
	check_flow "$ipt: a connection of the rule has the zone and the policy" \
		"$NS" 250 -w 7 -p tcp --dport 1723
	check "$ipt: a connection of the rule has the helper" grep -q helper=pptp <(listed 1723)

	check "$ipt: the connection expects another one" expect
	rule -p tcp --dport 2000 -j CT --zone 7
	start_connecting 2000
	check_flow "$ipt: the expected connection has the default" \
		"$NS" 120 -w 7 -p tcp --dport 2000
	check_eq "$ipt: the connection with the default is the expected one" \
		"$(listed 2000 -u EXPECTED | wc -l)" 1

	check "$ipt: the rules are removed" in_ns "$NS" "$ipt" -t raw -F
	check_eq "$ipt: all counts are as before the rules" "$(counts)" "$before"
	for port in 1723 2000; do traffic close "c$port"; done
	in_ns "$NS" conntrack -F 2>/dev/null
}

netns_add "$NS" || exit 1
traffic_start
in_ns "$NS" nfct add timeout web inet tcp syn_sent 250
in_ns "$NS" nfct add timeout udp inet udp unreplied 250
in_ns "$NS" iptables-nft -A INPUT -p tcp -j DROP
check_rules iptables-legacy "No chain/target/match by that name"
check_rules iptables-nft "No such file or directory"
finish
