#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# check: plain debug; slow: 6
#
# Shows what the module parameter detach_in_use does: a policy can be deleted
# although a rule uses it; the rule goes on applying it, its flows do not.
# shellcheck source-path=SCRIPTDIR/../lib

. ../lib/ktap.sh
. ../lib/netns.sh
. ../lib/conntrack.sh

C=cttimeout-client S=cttimeout-server
UNREPLIED=1 # the number of the timeout in a policy for UDP
DEFAULT=5100

# new_flow PORT / next_packet PORT: PORT is the client's
new_flow() { traffic connect "c$1" "$C" udp 10.0.0.2 "${2:-90}" 10.0.0.1 "$1" && next_packet "$1"; }
next_packet() { traffic send "c$1"; }
has() { check_flow "$1" "$C" "$3" -p udp --sport "$2"; }
# Each change to a table of the legacy back end looks all its policies up anew.
rule() { in_ns "$C" iptables-nft -t raw "$1" OUTPUT -p udp --dport "$2" -j CT --timeout web; }
unused() { [ "$(cat "/sys/module/$MODULE/refcnt")" = 0 ]; }

unload "$MODULE"
check "the module loads with detach_in_use" load "$MODULE" detach_in_use=1

netns_pair "$C" "$S" || exit 1
traffic_start
in_ns "$C" nfct default-set timeout inet udp unreplied "$DEFAULT"
traffic listen s90 "$S" udp 10.0.0.2 90
traffic listen s91 "$S" udp 10.0.0.2 91

in_ns "$C" nfct add timeout web inet udp unreplied 1100
check "a rule for the policy" rule -A 90
check_use "the policy counts it" "$C" web 2
new_flow 4001
has "a flow has the policy's timeout" 4001 1100

check "the policy is deleted although a rule uses it" in_ns "$C" nfct delete timeout web
check_fails "its name is unknown" "No such file or directory" in_ns "$C" nfct get timeout web
check_fails "no other rule can have it" "" rule -A 91
has "without a packet the flow keeps what is left" 4001 1100
next_packet 4001
has "with a packet it takes the default" 4001 "$DEFAULT"
new_flow 4002
has "the rule gives new flows the policy" 4002 1100

check "the same name is free for a new policy" \
	in_ns "$C" nfct add timeout web inet udp unreplied 2100
check_use "no rule uses it" "$C" web 1
new_flow 4003
has "the old rule does not know it" 4003 1100
check "a new rule" rule -A 91
check_use "uses the new policy" "$C" web 2
new_flow 4004 91
has "and gives new flows its timeout" 4004 2100

check "the new policy's values can be replaced" policy_replace "$C" web 2 17 "$UNREPLIED=3100"
next_packet 4004
has "a flow of the new policy follows" 4004 3100
next_packet 4003
has "a flow of the old one does not" 4003 1100

check "the old rule goes" rule -D 90
check_use "which is nothing to the new policy" "$C" web 2
next_packet 4003
has "the flow keeps the policy that nobody else has" 4003 1100

in_ns "$C" nfct add timeout idle inet udp unreplied 4100
check_eq "flush keeps none" \
	"$(in_ns "$C" python3 -c 'import nfnl; print(nfnl.Socket().flush().text)')" None
check_eq "nothing is left" "$(in_ns "$C" nfct list timeout)" ""
next_packet 4004
has "the flow takes the default" 4004 "$DEFAULT"
new_flow 4005 91
has "the rule gives new flows the policy" 4005 3100

check_fails "the module stays as long as a rule has a policy" "in use" unload "$MODULE"
check "the rule goes" rule -D 91
check "the module is not in use any more" unused
# Two flows still have policies. All that they need of these is the memory.
next_packet 4005
has "a flow keeps a policy of which no name is left" 4005 3100
check "the module can be unloaded meanwhile" unload "$MODULE"
next_packet 4005
has "and the flow keeps it even then" 4005 3100
finish
