#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# check: plain debug; slow: 11
# needs: conntrack iptables iptables-legacy iptables-nft nfct sysctl
#
# Each network namespace has its own policies, which end with it whatever uses them, and a
# namespace without policies does not hold the module.
# shellcheck source-path=SCRIPTDIR/../lib

. ../lib/ktap.sh
. ../lib/netns.sh
. ../lib/conntrack.sh

A=cttimeout-a B=cttimeout-b
# Five rounds cover each way in which a namespace ends below; ten cover each with both back ends.
ROUNDS=10 IDLE=2000 WORKERS=4
# A kernel with KASAN is slow, and finds a fault in fewer rounds.
! zgrep -q '^CONFIG_KASAN=y' /proc/config.gz || ROUNDS=5 IDLE=100 WORKERS=2

references() { cat "/sys/module/$MODULE/refcnt"; }
unused() { [ "$(references)" = 0 ]; }
list() { in_ns "$1" nfct list timeout; }

# idle_namespaces NUMBER: makes namespaces without names, and keeps them until stdin ends
idle_namespaces() {
	python3 -c '
import ctypes, resource, sys
CLONE_NEWNET = 0x40000000
resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
kept = []
for i in range(int(sys.argv[1])):
    assert ctypes.CDLL(None).unshare(CLONE_NEWNET) == 0
    kept.append(open("/proc/self/ns/net"))
print(len(kept), flush=True)
sys.stdin.read()' "$1"
}

# worker NUMBER: namespaces one after another, with a policy each
worker() {
	local i ns
	for i in $(seq "$ROUNDS"); do
		ns=cttimeout-worker-$1-$i
		ip netns add "$ns" && in_ns "$ns" nfct add timeout web inet udp replied "$i" &&
			[[ $(list "$ns") == *"REPLIED = $i,"* ]] && ip netns del "$ns" || return
	done
}

parallel() {
	local n pids=()
	for n in $(seq "$WORKERS"); do
		worker "$n" &
		pids+=($!)
	done
	for n in "${pids[@]}"; do
		wait "$n" || return
	done
}

netns_pair "$A" "$B" || exit 1
traffic_start

# Two namespaces with policies of the same name
in_ns "$A" nfct add timeout web inet udp unreplied 1100
check_fails "a policy is unknown to nfct get in another namespace" "No such file or directory" \
	in_ns "$B" nfct get timeout web
check_eq "a policy is not listed in another namespace" "$(list "$B")" ""
check_fails "a rule in another namespace cannot name the policy" "" \
	in_ns "$B" iptables -t raw -A PREROUTING -p udp -j CT --timeout web
check "another namespace can have a policy of the same name" \
	in_ns "$B" nfct add timeout web inet udp unreplied 2100
in_ns "$A" iptables -t raw -A OUTPUT -p udp -j CT --timeout web
in_ns "$B" iptables -t raw -A PREROUTING -p udp -j CT --timeout web
traffic listen sb "$B" udp 10.0.0.2 90
traffic connect ca "$A" udp 10.0.0.2 90 10.0.0.1 4000
traffic send ca
check_flow "a flow has the policy of the sending namespace there" "$A" 1100 -p udp --dport 90
check_flow "a flow has the policy of the receiving namespace there" "$B" 2100 -p udp --dport 90
check_fails "a flush keeps the policy that a rule uses" "Device or resource busy" eval \
	'in_ns "$A" nfct flush timeout; in_ns "$A" nfct delete timeout web'
check "the rule in one of two namespaces is removed" in_ns "$B" iptables -t raw -F
check_use "the policy is not used without a rule" "$B" web 1
check "the policies of one namespace are flushed" in_ns "$B" nfct flush timeout
check_eq "a flush deletes the policies that no rule uses" "$(list "$B")" ""
check_use "a flush in one namespace keeps the policy of the other" "$A" web 2
check "a default is set in one namespace" in_ns "$B" nfct default-set timeout inet udp unreplied 77
check_eq "a default that is set in one namespace is not changed in the other" \
	"$(in_ns "$A" nfct default-get timeout inet udp | grep UNREPLIED | xargs)" \
	".UNREPLIED = 30,"

# The end of a namespace removes what was not removed before: flows, rules, policies.
traffic close ca
traffic close sb
netns_cleanup
NETNS_MADE=()
check "the module is not in use after the end of both namespaces" wait_until 60 unused

died=0
for round in $(seq "$ROUNDS"); do
	ipt=iptables-legacy
	[ $((round % 2)) = 0 ] || ipt=iptables-nft
	netns_pair "$A" "$B" || break
	for policy in web mail; do
		in_ns "$A" nfct add timeout "$policy" inet udp unreplied 1100
	done
	in_ns "$A" "$ipt" -t raw -A OUTPUT -p udp --dport 90 -j CT --timeout web
	traffic connect ca "$A" udp 10.0.0.2 90 10.0.0.1 4000 && traffic send ca &&
		wait_until 20 flow_has "$A" 1100 -p udp --dport 90 && died=$((died + 1))
	# A socket would keep its namespace.
	traffic close ca
	case $((round % 5)) in
	0) in_ns "$A" conntrack -F ;;
	1) in_ns "$A" "$ipt" -t raw -F ;;
	2) in_ns "$A" "$ipt" -t raw -F; in_ns "$A" nfct flush timeout ;;
	3) in_ns "$A" nfct flush timeout ;; # the rule stays, and so does web
	esac >/dev/null 2>&1
	netns_cleanup
	NETNS_MADE=()
done
traffic_stop
check_eq "$ROUNDS namespaces have ended with a flow that had a policy" "$died" "$ROUNDS"
check "the module is not in use after the end of $ROUNDS namespaces with flows" wait_until 60 unused
check "the module can be unloaded after the end of $ROUNDS namespaces" unload "$MODULE"
check "the module can be loaded again" load "$MODULE"

# Namespaces that never see a policy
coproc IDLERS { idle_namespaces "$IDLE"; }
read -r -t 1000 count <&"${IDLERS[0]}"
check_eq "$IDLE idle namespaces are made" "$count" "$IDLE"
check_eq "idle namespaces do not hold the module" "$(references)" 0
check "the module can be unloaded while there are idle namespaces" unload "$MODULE"
check "the module can be loaded while there are idle namespaces" load "$MODULE"
idlers=$IDLERS_PID
exec {IDLERS[1]}>&-
wait "$idlers"
check_eq "$IDLE idle namespaces end" $? 0

check "$WORKERS processes make and end $ROUNDS namespaces each, in parallel" parallel
check "the module is not in use after namespaces in parallel" wait_until 60 unused
check "the module can be unloaded after namespaces in parallel" unload "$MODULE"
finish
