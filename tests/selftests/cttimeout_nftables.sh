#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# check: plain/debug; slow: 2
# needs: conntrack iptables-legacy iptables-nft nfct nft
#
# Policies beside the timeout objects of nftables: a flow has the policy of its iptables rule,
# if it is given both; either can be deleted first, and the module unloaded. The kernel
# destroys a deleted rule of nftables some time later; until then, its policy is in use.
# shellcheck source-path=SCRIPTDIR/../lib

. ../lib/ktap.sh
. ../lib/netns.sh
. ../lib/conntrack.sh

NS=cttimeout-nftables DEFAULT=5100

# next_packet PORT... / has TITLE PORT SECONDS: PORT is the server's
next_packet() {
	local port
	shorten "$NS"
	for port in "$@"; do traffic send "c$port"; done
}
has() { check_flow "$1" "$NS" "$3" -p udp --dport "$2"; }

# set_up IPTABLES: a policy for port 90, and nftables' object for ports 90 and 91
set_up() {
	in_ns "$NS" conntrack -F 2>/dev/null
	in_ns "$NS" nfct add timeout web inet udp unreplied 1100
	in_ns "$NS" "$1" -t raw -A OUTPUT -p udp --dport 90 -j CT --timeout web
	in_ns "$NS" nft -f - <<-'END'
		table ip objects {
			ct timeout object {
				protocol udp
				l3proto ip
				policy = { unreplied : 2100 }
			}
			chain output {
				type filter hook output priority filter
				udp dport 90-91 ct timeout set "object"
			}
		}
	END
	next_packet 90 91
	has "$1: a flow with both has the policy" 90 1100
	has "$1: a flow without a policy has nftables' object" 91 2100
}

# delete_policy IPTABLES / delete_object
delete_policy() { in_ns "$NS" "$1" -t raw -F && in_ns "$NS" nfct delete timeout web; }
delete_object() { in_ns "$NS" nft delete table ip objects; }

# delete_at_once MODE: deletes a rule through a socket that stays open, and then its policy,
# again and again ("retry"), or once after the socket is closed ("close")
delete_at_once() {
	in_ns "$NS" python3 - "$1" <<-'END'
		import errno, nfnl, sys
		from nfnl import attr, be16

		NFTABLES, BATCH_BEGIN, BATCH_END, DELRULE = 10, 16, 17, 8

		def edge(kind):
		    return nfnl.build(kind, nfnl.F_REQUEST, 0, b"")[:-2] + be16(NFTABLES)

		def attempt():
		    errors.append(other.delete("web").error)
		    return errors[-1]

		s, other = nfnl.Socket(), nfnl.Socket()
		delete = other.build(nfnl.DELETE, nfnl.name("web"))
		rules = s.build(DELRULE, attr(1, b"raw\0"), attr(2, b"OUTPUT\0"),
		                subsys=NFTABLES, family=nfnl.IPV4)
		s.send(edge(BATCH_BEGIN) + rules + edge(BATCH_END))
		if sys.argv[1] == "close":
		    s.sock.close()
		other.send(delete)
		errors = [other.collect().error]
		if sys.argv[1] == "retry":
		    assert not errors[0] or nfnl.settled(attempt, 0) == 0
		    print("#", len(errors) - 1, "times EBUSY", file=sys.stderr)
		    assert not s.collect(s.seq).error
		print({errno.errorcode[e] for e in errors[:-1]} - {"EBUSY"}, errors[-1])
	END
}

# check_delete TITLE MODE
check_delete() {
	in_ns "$NS" nfct add timeout web inet udp unreplied 1100
	in_ns "$NS" iptables-nft -t raw -A OUTPUT -p udp -j CT --timeout web
	check_eq "$1" "$(delete_at_once "$2")" "set() 0"
}

netns_add "$NS" || exit 1
traffic_start
in_ns "$NS" nfct default-set timeout inet udp unreplied "$DEFAULT"
# Conntrack sees the packets, whatever else is there.
in_ns "$NS" iptables-nft -A INPUT -m conntrack --ctstate INVALID -j DROP
for port in 90 91; do
	traffic listen "s$port" "$NS" udp 127.0.0.1 "$port"
	traffic connect "c$port" "$NS" udp 127.0.0.1 "$port" 127.0.0.1 0
done

set_up iptables-legacy
check "the policy is deleted before nftables' object" delete_policy iptables-legacy
next_packet 90
has "the flow of the deleted policy takes the default, and not nftables' object" 90 "$DEFAULT"
check "the module can be unloaded before nftables' object is deleted" unload "$MODULE"
next_packet 91
has "a flow keeps nftables' object without the module" 91 2100
check "nftables' object is deleted without the module" delete_object
next_packet 91
has "the flow of the deleted object takes the default" 91 "$DEFAULT"
check "the module is loaded again" load "$MODULE"

set_up iptables-nft
check "nftables' object is deleted before the policy" delete_object
next_packet 90 91
has "a flow keeps the policy without nftables' object" 90 1100
has "the flow of the object that was deleted first takes the default" 91 "$DEFAULT"
check "the policy is deleted after nftables' object" delete_policy iptables-nft
next_packet 90
has "the flow of the policy that was deleted last takes the default" 90 "$DEFAULT"
check "the module can be unloaded after nftables' object is deleted" unload "$MODULE"
next_packet 90
has "the flow has the default without the module" 90 "$DEFAULT"
check "the module is loaded in the end" load "$MODULE"

check_delete "a policy can be deleted some time after its rule, whose socket stays open" retry
check_delete "a policy can be deleted as soon as the socket that deleted its rule is closed" close
finish
