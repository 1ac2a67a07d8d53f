#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# check: plain debug; slow: 11
#
# Shows that each network namespace has its own policies, that they go with it
# whatever is attached to them, and that namespaces without any cost nothing.
# shellcheck source-path=SCRIPTDIR/../lib

. ../lib/ktap.sh
. ../lib/netns.sh
. ../lib/conntrack.sh

A=cttimeout-a B=cttimeout-b
# Five rounds cover each way in which a namespace ends below; ten cover each with both back ends.
ROUNDS=10 IDLE=2000 WORKERS=4
# A kernel that checks every access is slow, and needs less of it to find a fault.
! zgrep -q '^CONFIG_KASAN=y' /proc/config.gz || ROUNDS=5 IDLE=100 WORKERS=2

references() { cat "/sys/module/$MODULE/refcnt"; }
unused() { [ "$(references)" = 0 ]; }
list() { in_ns "$1" nfct list timeout; }

# Namespaces without names, all at once, from creation to end.
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

# One after another, with a policy each
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

# Each to its own
in_ns "$A" nfct add timeout web inet udp unreplied 1100
check_fails "a policy is unknown elsewhere" "No such file or directory" \
	in_ns "$B" nfct get timeout web
check_eq "and not listed there" "$(list "$B")" ""
check_fails "and not for rules there" "" \
	in_ns "$B" iptables -t raw -A PREROUTING -p udp -j CT --timeout web
check "elsewhere the name is free" in_ns "$B" nfct add timeout web inet udp unreplied 2100
in_ns "$A" iptables -t raw -A OUTPUT -p udp -j CT --timeout web
in_ns "$B" iptables -t raw -A PREROUTING -p udp -j CT --timeout web
traffic listen sb "$B" udp 10.0.0.2 90
traffic connect ca "$A" udp 10.0.0.2 90 10.0.0.1 4000
traffic send ca
check_flow "a flow has the one policy on the one side" "$A" 1100 -p udp --dport 90
check_flow "and the other on the other" "$B" 2100 -p udp --dport 90
check_fails "flush keeps what a rule uses" "Device or resource busy" eval \
	'in_ns "$A" nfct flush timeout; in_ns "$A" nfct delete timeout web'
check "the rule goes" in_ns "$B" iptables -t raw -F
check_use "the policy has no rule" "$B" web 1
check "flush" in_ns "$B" nfct flush timeout
check_eq "deletes all that there is" "$(list "$B")" ""
check_use "which is nothing to the other namespace" "$A" web 2
check "a default is set" in_ns "$B" nfct default-set timeout inet udp unreplied 77
check_eq "and remains as it was elsewhere" \
	"$(in_ns "$A" nfct default-get timeout inet udp | grep UNREPLIED | xargs)" \
	".UNREPLIED = 30,"

# A namespace ends with everything that is in it: whatever was not removed beforehand
# is removed by its end.
traffic close ca
traffic close sb
netns_cleanup
NETNS_MADE=()
check "the end of a namespace is the end of its policies" wait_until 60 unused

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
	# The sockets of a namespace keep it, so they have to go.
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
check_eq "$ROUNDS namespaces with a flow that has a policy" "$died" "$ROUNDS"
check "no end of a namespace leaves a reference" wait_until 60 unused
check "the module can be unloaded" unload "$MODULE"
check "and loaded" load "$MODULE"

# Namespaces that never see a policy
coproc IDLERS { idle_namespaces "$IDLE"; }
read -r -t 1000 count <&"${IDLERS[0]}"
check_eq "$IDLE idle namespaces" "$count" "$IDLE"
check_eq "do not hold the module" "$(references)" 0
check "it can be unloaded from under them" unload "$MODULE"
check "and loaded" load "$MODULE"
idlers=$IDLERS_PID
exec {IDLERS[1]}>&-
wait "$idlers"
check_eq "their end" $? 0

check "$WORKERS times $ROUNDS namespaces, in parallel" parallel
check "leave no reference" wait_until 60 unused
check "the module can be unloaded after all that" unload "$MODULE"
finish
