#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The module at work, in a virtual machine: two hosts, three policies, real connections. Each
# step shows the command, its output, and an explanation.
#
# usage: demo.sh MODULE_DIR

. "$(dirname "$0")/lib/netns.sh"
cd "$1" || exit
export PATH=$PATH:/usr/sbin:/sbin LC_ALL=C
dmesg -n 1

status=0
bold=$(printf '\033[1m') plain=$(printf '\033[0m')

# show EXPECTED COMMAND MEANING: EXPECTED is "ok", or "fails" for a refusal
show() {
	printf '%s$ %s%s\n' "$bold" "$2" "$plain"
	bash -c "$2" 2>&1 | sed 's/^/  /'
	local rc=${PIPESTATUS[0]}
	printf '  # %s\n\n' "$3"
	if { [ "$1" = ok ] && [ "$rc" -ne 0 ]; } || { [ "$1" = fails ] && [ "$rc" -eq 0 ]; }; then
		echo "The demo went wrong here: exit status $rc."
		status=1
	fi
}

echo "--- demo begins ---"
show ok "insmod nfnetlink_cttimeout_rust.ko && modinfo -F alias ./nfnetlink_cttimeout_rust.ko" \
	"The module is loaded. Otherwise, nfct would have had the kernel load it, by its alias."

netns_pair client server
for port in 80 8080; do
	in_ns server python3 -m http.server --bind 10.0.0.2 "$port" >/dev/null 2>&1 &
done

# client COMMAND: runs in the client's namespace
client() { ip netns exec client "$@"; }
export -f client
show ok "client nfct add timeout web inet tcp established 100 time_wait 20
client nfct add timeout dns inet udp unreplied 7
client nfct add timeout ping inet icmp timeout 9" \
	"Three policies in the client's namespace, in seconds by state."
show ok "client nfct get timeout web" "Timeouts that were not given have the namespace's defaults."
show ok "client iptables-legacy -t raw -A OUTPUT -p tcp --dport 80 -j CT --timeout web
client iptables-legacy -t raw -A OUTPUT -p udp --dport 53 -j CT --timeout dns
client iptables-legacy -t raw -A OUTPUT -p icmp -j CT --timeout ping" \
	"Rules give connections their policies."
ip netns exec client python3 - <<'END' &
import socket, time
held = []
for port in (80, 8080):
    for attempt in range(50):
        try:
            held.append(socket.create_connection(("10.0.0.2", port)))
            break
        except OSError:
            time.sleep(0.1)
for port in (53, 5353):
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"query", ("10.0.0.2", port))
time.sleep(60)
END
flows() { client conntrack -L 2>/dev/null | grep -c -e ESTABLISHED -e UNREPLIED; }
for _ in $(seq 100); do
	[ "$(flows)" -ge 4 ] && break
	sleep 0.1
done
client ping -c 1 -W 1 10.0.0.2 >/dev/null
show ok "client conntrack -L 2>/dev/null | sed 's/ mark=.*//' | sort" \
	"Third column, seconds left: ports 80 and 53 and the ping by policy, the others by default."
show fails "client nfct delete timeout web" "Refused: a rule uses the policy."
show ok "client iptables-legacy -t raw -F && client nfct delete timeout web && client nfct list timeout | grep '^\.'" \
	"A policy without rules can be deleted. The other two are left."
show ok "client nfct flush timeout && rmmod nfnetlink_cttimeout_rust && ! grep cttimeout /proc/modules" \
	"Without policies, the module can be unloaded."
kill %1 %2 %3 2>/dev/null
echo "--- demo ends ---"
echo "--- kernel log begins ---"
dmesg --color=never
echo "--- kernel log ends ---"
echo "--- exit status $status ---"
