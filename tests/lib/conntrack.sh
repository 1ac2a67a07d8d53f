# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Policies and flows for shell tests: querying them, and sending packets that change them.
# To be sourced after ktap.sh and netns.sh.

# policy_use NS NAME: the policy's "use", which nfct does not print
policy_use() {
	in_ns "$1" python3 -c '
import nfnl, sys
policy = nfnl.Socket().get(sys.argv[1])
print(policy and policy.use)' "$2"
}

# check_use TITLE NS POLICY EXPECTED
check_use() { check_eq "$1" "$(policy_use "$2" "$3")" "$4"; }

# policy_replace NS NAME L3NUM L4PROTO ATTRIBUTE=SECONDS...: NLM_F_REPLACE, which nfct does
# not offer. ATTRIBUTE is the number of the timeout in the protocol.
policy_replace() {
	in_ns "$1" python3 -c '
import nfnl, sys
name, l3, l4, *values = sys.argv[1:]
values = {int(k): int(v) for k, v in (value.split("=") for value in values)}
answer = nfnl.Socket().create(name, int(l4), values, int(l3), nfnl.F_REPLACE)
sys.exit(answer.text or answer.error)' "${@:2}"
}

# flow_timeout NS FILTER...: the seconds that a flow has left
flow_timeout() { in_ns "$1" conntrack -L "${@:2}" 2>/dev/null | awk '{ print $3 }'; }

# flow_has NS SECONDS FILTER...: whether a flow's timeout was set to SECONDS within the last
# 99 seconds. Timeouts that a test has to distinguish differ by more than that (shorter ones
# are distinguished by the upper bound).
flow_has() {
	local left
	left=$(flow_timeout "$1" "${@:3}")
	[ -n "$left" ] && [ "$left" -le "$2" ] && [ "$left" -gt $(($2 - 99)) ]
}

# flow_gone NS FILTER...
flow_gone() { [ -z "$(flow_timeout "$@")" ]; }

# check_flow TITLE NS SECONDS FILTER...: waits for the packets on their way
check_flow() {
	if wait_until 20 flow_has "${@:2}"; then
		pass "$1"
	else
		fail "$1" "expected $3; $(in_ns "$2" conntrack -L "${@:4}" 2>&1)"
	fi
}

# shorten NS: gives all flows a timeout that no test expects, so that the next packet has to
# set the right one
shorten() {
	in_ns "$1" python3 -c '
import nfnl
s = nfnl.Socket()
s.send(s.build(1, flags=nfnl.F_DUMP, subsys=1))
for flow in s.collect(s.seq).messages:
    answer = s.request(0, nfnl.nest(1, flow.attrs[1]), nfnl.attr(7, nfnl.be32(60)), subsys=1,
                       family=flow.payload[0])
    assert not answer.error, answer.errno_name'
}

# traffic_start: a process to send and receive packets; it ends with traffic_stop or with
# the script
traffic_start() {
	coproc TRAFFIC { exec python3 ../lib/traffic.py; }
}
traffic_stop() {
	local pid=$TRAFFIC_PID
	exec {TRAFFIC[1]}>&-
	wait "$pid"
}

# traffic COMMAND...: see traffic.py
traffic() {
	local answer
	echo "$*" >&"${TRAFFIC[1]}" && read -r answer <&"${TRAFFIC[0]}" || return
	[ "$answer" = ok ] || { comment "traffic $*: $answer"; return 1; }
}
