#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# check: plain debug; slow: 6
# needs: conntrack iptables-nft nfct sysctl
#
# The module parameter detach_in_use: a policy can be deleted although a rule uses it; the
# rule goes on applying the policy, and its flows take the defaults.
# shellcheck source-path=SCRIPTDIR/../lib

. ../lib/ktap.sh
. ../lib/netns.sh
. ../lib/conntrack.sh

C=cttimeout-client S=cttimeout-server
UNREPLIED=1 # the number of the timeout in a policy for UDP
DEFAULT=5100

# new_flow PORT / next_packet PORT: PORT is the client's
new_flow() { traffic connect "c$1" "$C" udp 10.0.0.2 "${2:-90}" 10.0.0.1 "$1" && next_packet "$1"; }
next_packet() { shorten "$C"; traffic send "c$1"; }
has() { check_flow "$1" "$C" "$3" -p udp --sport "$2"; }
# (nft: the legacy back end looks up all policies of a table with each change.)
rule() { in_ns "$C" iptables-nft -t raw "$1" OUTPUT -p udp --dport "$2" -j CT --timeout web; }
unused() { [ "$(cat "/sys/module/$MODULE/refcnt")" = 0 ]; }

unload "$MODULE"
check "the module loads with detach_in_use" load "$MODULE" detach_in_use=1

netns_pair "$C" "$S" || exit 1
# Conntrack sees the packets also when no rule has a policy.
in_ns "$C" iptables-nft -A INPUT -m conntrack --ctstate INVALID -j DROP
traffic_start
in_ns "$C" nfct default-set timeout inet udp unreplied "$DEFAULT"
traffic listen s90 "$S" udp 10.0.0.2 90
traffic listen s91 "$S" udp 10.0.0.2 91

in_ns "$C" nfct add timeout web inet udp unreplied 1100
check "a rule names the policy" rule -A 90
check_use "the policy counts its rule" "$C" web 2
new_flow 4001
has "a flow has the policy's timeout" 4001 1100

check "the policy is deleted although a rule uses it" in_ns "$C" nfct delete timeout web
check_fails "the deleted policy is unknown to nfct" \
	"No such file or directory" in_ns "$C" nfct get timeout web
check_fails "a new rule cannot name the deleted policy" "" rule -A 91
has "a flow of the deleted policy keeps its timeout until the next packet" 4001 1100
next_packet 4001
has "a flow of the deleted policy takes the default with the next packet" 4001 "$DEFAULT"
new_flow 4002
has "the rule gives new flows the deleted policy" 4002 1100

check "a new policy can have the name of the deleted one" \
	in_ns "$C" nfct add timeout web inet udp unreplied 2100
check_use "no rule uses the new policy" "$C" web 1
new_flow 4003
has "the old rule goes on with the deleted policy" 4003 1100
check "a new rule names the new policy" rule -A 91
check_use "the new policy counts the new rule only" "$C" web 2
new_flow 4004 91
has "the new rule gives new flows the new policy" 4004 2100

check "the new policy's values can be replaced" policy_replace "$C" web 2 17 "$UNREPLIED=3100"
next_packet 4004
has "a flow of the new policy has the replaced value" 4004 3100
next_packet 4003
has "a flow of the deleted policy keeps its value" 4003 1100

check "the rule with the deleted policy is removed" rule -D 90
check_use "the new policy still counts the new rule" "$C" web 2
next_packet 4003
has "a flow keeps the deleted policy that no rule has" 4003 1100

in_ns "$C" nfct add timeout idle inet udp unreplied 4100
check_eq "a flush keeps no policy, and has nothing to report" \
	"$(in_ns "$C" python3 -c 'import nfnl; print(nfnl.Socket().flush().text)')" None
check_eq "no policy is left after the flush" "$(in_ns "$C" nfct list timeout)" ""
next_packet 4004
has "a flow of the flushed policy takes the default" 4004 "$DEFAULT"
new_flow 4005 91
has "the rule gives new flows the flushed policy" 4005 3100

check_fails "the module stays as long as a rule has a policy" "in use" unload "$MODULE"
check "the rule with the flushed policy is removed" rule -D 91
check "the module is not in use without a rule" unused
# Two flows still have policies. They need the memory of these, and no code.
next_packet 4005
has "a flow keeps a policy that has neither a name nor a rule" 4005 3100
check "the module can be unloaded while a flow has a policy" unload "$MODULE"
next_packet 4005
has "a flow keeps its policy after the module is unloaded" 4005 3100
finish
