#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# check: plain/s390x
#
# A program that is linked with the unchanged libnetfilter_cttimeout (tests/lib/cttimeout.c)
# can use all that the kernel offers, including what nfct does not use.
# shellcheck source-path=SCRIPTDIR/../lib

. ../lib/ktap.sh
. ../lib/netns.sh
. ../lib/conntrack.sh

NS=cttimeout-library
EXISTS="File exists" BUSY="Device or resource busy" INVALID="Invalid argument"
NOT_FOUND="No such file or directory"

if [ ! -x "$CLIENTS/cttimeout" ]; then
	skip "libnetfilter_cttimeout" "libnetfilter-cttimeout-dev cannot be installed here"
	finish
fi

client() { in_ns "$NS" "$CLIENTS/cttimeout" "$@"; }

# printed NAME L3 L4 STATE=SECONDS...: a policy as the library prints it; without NAME,
# defaults
printed() {
	[ -z "$1" ] || printf '.%s = {\n' "$1"
	printf '\t.l3proto = %s,\n\t.l4proto = %s,\n\t.policy = {\n' "$2" "$3"
	printf '\t\t.%s,\n' "${@:4}" | sed 's/=/ = /'
	printf '\t},\n};\n'
}

netns_add "$NS" || exit 1

# All protocols: their numbers and their states
declare -A STATES=(
	[6]="SYN_SENT SYN_RECV ESTABLISHED FIN_WAIT CLOSE_WAIT LAST_ACK TIME_WAIT CLOSE
	     SYN_SENT2 RETRANS UNACKNOWLEDGED"
	[17]="UNREPLIED REPLIED" [1]="TIMEOUT" [58]="TIMEOUT" [47]="UNREPLIED REPLIED"
	[132]="CLOSED COOKIE_WAIT COOKIE_ECHOED ESTABLISHED SHUTDOWN_SENT SHUTDOWN_RECD
	       SHUTDOWN_ACK_SENT"
	[255]="TIMEOUT"
)
list=
for l4 in 1 6 17 47 58 132 255; do
	for l3 in 2 10; do
		values=() n=$((l4 * 100 + l3))
		for state in ${STATES[$l4]}; do
			values+=("$state=$((n++))")
		done
		name=policy-$l4-$l3
		check "new: protocol $l4, family $l3" \
			client new create excl "name=$name" "l3=$l3" "l4=$l4" "${values[@]}"
		expected=$(printed "$name" "$l3" "$l4" "${values[@]}")
		check_eq "get: protocol $l4, family $l3" "$(client get "name=$name")" "$expected"
		list+=$expected$'\n'
	done
	check "default-set: protocol $l4" client default-set "l4=$l4" "${values[@]}"
	check_eq "default-get: protocol $l4" "$(client default-get l3=10 "l4=$l4")" \
		"$(printed "" 10 "$l4" "${values[@]}")"
done
check_eq "list: all, in the order of their creation" "$(client list)" "${list%$'\n'}"

# Flags. (A replace takes the defaults that were set above.)
udp=(name=policy-17-2 l3=2 l4=17)
check_fails "new excl: the name exists" "$EXISTS" client new excl "${udp[@]}" REPLIED=1
check_fails "new: the name exists" "$BUSY" client new "${udp[@]}" REPLIED=1
check_fails "new replace excl: the name exists" "$EXISTS" \
	client new replace excl "${udp[@]}" REPLIED=1
check_fails "new replace: another family" "$INVALID" \
	client new replace name=policy-17-2 l3=10 l4=17 REPLIED=1
check_fails "new replace: another protocol" "$INVALID" \
	client new replace name=policy-17-2 l3=2 l4=47 REPLIED=1
check_eq "refused requests change no policy" "$(client list)" "${list%$'\n'}"
check "new replace: one of two timeouts" client new replace "${udp[@]}" REPLIED=4321
check_eq "new replace: timeouts that are not given take the defaults" "$(client get name=policy-17-2)" \
	"$(printed policy-17-2 2 17 UNREPLIED=1710 REPLIED=4321)"
check "new: no flag, and a new name" client new name=plain l3=2 l4=17 REPLIED=4321

# Requests that lack an attribute, or name an unknown policy or protocol
check_fails "new: no name" "$INVALID" client new l3=2 l4=17 REPLIED=1
check_fails "new: no family" "$INVALID" client new name=other l4=17 REPLIED=1
check_fails "new: no timeouts" "$INVALID" client new name=other l3=2 l4=17
check_fails "new: a protocol that is not tracked" "Operation not supported" \
	client new name=other l3=2 l4=136 REPLIED=1
check_fails "get: no name" "$INVALID" client get
check_fails "get: no such name" "$NOT_FOUND" client get name=other
check_fails "delete: no such name" "$NOT_FOUND" client delete name=other
check_fails "default-set: no timeouts" "$INVALID" client default-set l4=17
check_fails "default-get: no family" "$INVALID" client default-get l4=17

# Deleting
check "iptables: a rule names a policy" \
	in_ns "$NS" iptables -t raw -A OUTPUT -p tcp -j CT --timeout policy-6-2
check_fails "delete: a rule uses it" "$BUSY" client delete name=policy-6-2
check "delete: no rule uses the policy" client delete name=plain
check_fails "get: a deleted policy is unknown" "$NOT_FOUND" client get name=plain
check "delete all: a rule uses one policy" client delete
check_eq "delete all: the policy that a rule uses is kept" \
	"$(client list | grep '^\.')" ".policy-6-2 = {"
in_ns "$NS" iptables -t raw -F
check_use "a removed rule does not use the policy" "$NS" policy-6-2 1
check "delete all: no rule uses a policy" client delete
check_eq "delete all: no policy is left" "$(client list)" ""
finish
