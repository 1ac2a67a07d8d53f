#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# check: plain/s390x
# needs: nfct
#
# Unchanged nfct works with this module: each subcommand, each protocol, each state, for IPv4
# and IPv6.
# shellcheck source-path=SCRIPTDIR/../lib

. ../lib/ktap.sh
. ../lib/netns.sh

NS=cttimeout-nfct

# The protocols, their numbers and their states, as nfct knows them.
PROTOCOLS="tcp udp icmp icmpv6 sctp gre generic"
declare -A NUMBER=([tcp]=6 [udp]=17 [icmp]=1 [icmpv6]=58 [sctp]=132 [gre]=47 [generic]=255)
declare -A FAMILY=([inet]=2 [inet6]=10)
declare -A STATES=(
	[tcp]="SYN_SENT SYN_RECV ESTABLISHED FIN_WAIT CLOSE_WAIT LAST_ACK TIME_WAIT
	       CLOSE SYN_SENT2 RETRANS UNACKNOWLEDGED"
	[udp]="UNREPLIED REPLIED"
	[icmp]="TIMEOUT"
	[icmpv6]="TIMEOUT"
	[sctp]="CLOSED COOKIE_WAIT COOKIE_ECHOED ESTABLISHED SHUTDOWN_SENT
	        SHUTDOWN_RECD SHUTDOWN_ACK_SENT"
	[gre]="UNREPLIED REPLIED"
	[generic]="TIMEOUT"
	[dccp]="REQUEST RESPOND PARTOPEN OPEN CLOSEREQ CLOSING TIMEWAIT"
	[udplite]="UNREPLIED REPLIED"
)

nfct() { in_ns "$NS" nfct "$@"; }

# values PROTOCOL FIRST: each state with a number of its own, as arguments
values() {
	local state n=$2
	for state in ${STATES[$1]}; do
		echo "${state,,} $n"
		n=$((n + 1))
	done
}

# printed FAMILY PROTOCOL FIRST [NAME]: a policy, or defaults, as nfct prints them
printed() {
	local state n=$3
	[ -z "${4:-}" ] || printf '.%s = {\n' "$4"
	printf '\t.l3proto = %d,\n\t.l4proto = %d,\n\t.policy = {\n' \
		"${FAMILY[$1]}" "${NUMBER[$2]}"
	for state in ${STATES[$2]}; do
		printf '\t\t.%s = %d,\n' "$state" "$n"
		n=$((n + 1))
	done
	printf '\t},\n};\n'
}

netns_add "$NS" || exit 1

first=1000 all=
for proto in $PROTOCOLS; do
	for family in inet inet6; do
		name=$family-$proto first=$((first + 100))
		# shellcheck disable=SC2046 # the values are words
		check "add $family $proto" \
			nfct add timeout "$name" "$family" "$proto" $(values "$proto" "$first")
		check_eq "get $family $proto" "$(nfct get timeout "$name")" \
			"$(printed "$family" "$proto" "$first" "$name")"
		all+=$(printed "$family" "$proto" "$first" "$name")$'\n'
	done
done
check_eq "list shows all policies, in the order of their creation" \
	"$(nfct list timeout)" "${all%$'\n'}"

check_fails "add refuses a name that exists" "Device or resource busy" \
	nfct add timeout inet-tcp inet tcp established 1
check_eq "a refused add does not change the policy" "$(nfct get timeout inet-tcp)" \
	"$(printed inet tcp 1100 inet-tcp)"
check_fails "get refuses an unknown name" "No such file or directory" nfct get timeout unknown
check_fails "delete refuses an unknown name" "No such file or directory" \
	nfct delete timeout unknown

for proto in $PROTOCOLS; do
	name=inet6-$proto
	check "delete $proto" nfct delete timeout "$name"
	check_fails "get finds no deleted policy for $proto" \
		"No such file or directory" nfct get timeout "$name"
done
check_eq "delete leaves the other policies" "$(nfct list timeout | grep -c l3proto)" 7
check "flush of 7 policies" nfct flush timeout
check_eq "flush leaves no policy" "$(nfct list timeout)" ""

# 31 characters and the NUL fill the attribute.
longest=a234567890123456789012345678901
check "add takes a name of 31 characters" nfct add timeout "$longest" inet udp replied 77
check_eq "list shows a name of 31 characters in full" \
	"$(nfct list timeout | head -n 1)" ".$longest = {"
check "delete takes a name of 31 characters" nfct delete timeout "$longest"

# nfct knows seven of the nine timeouts of SCTP.
check_eq "the two timeouts of sctp that nfct does not know can be set" "$(in_ns "$NS" python3 -c '
import nfnl
s = nfnl.Socket()
s.create("nine", 132, {k: 1999 + k for k in range(1, 8)} | {8: 11, 9: 12})
print(s.get("nine").values)')" \
	"{1: 2000, 2: 2001, 3: 2002, 4: 2003, 5: 2004, 6: 2005, 7: 2006, 8: 11, 9: 12}"
check_eq "get prints the seven timeouts of sctp that nfct knows" "$(nfct get timeout nine)" \
	"$(printed inet sctp 2000 nine)"
nfct delete timeout nine

# The defaults belong to a protocol, not to a family. A policy that exists keeps its values
# when the defaults change; a new policy takes the new defaults.
first=5000
for proto in $PROTOCOLS; do
	first=$((first + 100))
	first_state=${STATES[$proto]%% *}
	nfct add timeout "old-$proto" inet "$proto" "${first_state,,}" 42
	before=$(nfct get timeout "old-$proto")
	# shellcheck disable=SC2046
	check "default-set $proto" \
		nfct default-set timeout inet "$proto" $(values "$proto" "$first")
	for family in inet inet6; do
		check_eq "default-get $family $proto" \
			"$(nfct default-get timeout "$family" "$proto")" \
			"$(printed "$family" "$proto" "$first")"
	done
	check_eq "a policy for $proto keeps its values" "$(nfct get timeout "old-$proto")" "$before"
	nfct add timeout "new-$proto" inet "$proto" "${first_state,,}" 42
	check_eq "a new policy for $proto takes the rest from the defaults" \
		"$(nfct get timeout "new-$proto")" \
		"$(printed inet "$proto" "$first" "new-$proto" |
			sed "s/\.$first_state = .*/.$first_state = 42,/")"
done
check "default-set changes one value" nfct default-set timeout inet tcp close_wait 4321
check_eq "default-set leaves the other values" "$(nfct default-get timeout inet tcp)" \
	"$(printed inet tcp 5100 | sed 's/\.CLOSE_WAIT = .*/.CLOSE_WAIT = 4321,/')"

# The largest value that VyOS allows, and a word that nfct takes for 0
limit=$(python3 -c 'import nfnl; print(nfnl.largest())')
check "add takes a timeout that is too long" nfct add timeout long inet tcp established 21474836
check_eq "get shows a timeout that is too long as the largest possible one" \
	"$(nfct get timeout long | grep ESTABLISHED | xargs)" \
	".ESTABLISHED = $((limit < 21474836 ? limit : 21474836)),"
check "add takes a timeout that is no number" nfct add timeout zero inet udp unreplied abc
check_eq "get shows a timeout that is no number as 0" \
	"$(nfct get timeout zero | grep UNREPLIED | xargs)" ".UNREPLIED = 0,"

# nfct still accepts two protocols that the kernel does not track any more.
for proto in dccp udplite; do
	# shellcheck disable=SC2046
	check_fails "add refuses $proto" "Operation not supported" \
		nfct add timeout "no-$proto" inet6 "$proto" $(values "$proto" 10)
	check_fails "get finds no $proto" "No such file or directory" nfct get timeout "no-$proto"
	# shellcheck disable=SC2046
	check_fails "default-set refuses $proto" "Operation not supported" \
		nfct default-set timeout inet "$proto" $(values "$proto" 10)
	check_fails "default-get refuses $proto" "Operation not supported" \
		nfct default-get timeout inet "$proto"
done

nfct flush timeout
finish
