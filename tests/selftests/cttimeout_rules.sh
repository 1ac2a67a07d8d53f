#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# check: plain/s390x; slow: 9
# needs: conntrack ip6tables-legacy ip6tables-nft iptables-legacy iptables-nft nfct
#
# Rules of all four iptables commands can name a policy, and are refused if the policy does
# not fit; a policy counts its rules, and can be deleted if, and only if, there are none. The
# policy's name is as long as names can be, and no command cuts it.
#
# usage: cttimeout_rules.sh [COMMAND]...   (iptables-legacy...; by default, all four)
# shellcheck source-path=SCRIPTDIR/../lib

. ../lib/ktap.sh
. ../lib/netns.sh
. ../lib/conntrack.sh

# refused NAME REASON RULE...: the rule is refused, with REASON as the message
refused() {
	check_fails "$ipt: $1 is refused" "$2" \
		in_ns "$ns" "$ipt" -t raw -A OUTPUT "${@:3}"
}

# listed: the rules that the command shows
listed() { in_ns "$ns" "$ipt" -t raw -S OUTPUT 2>/dev/null | grep -e '^-A'; }

# names: the names of all policies
names() { in_ns "$ns" nfct list timeout | sed -n 's/^\.\(.*\) = {/\1/p' | xargs; }

check_rules() {
	local ipt=$1 family=$2 other=$3 l3num=$4 lo=$5 unknown=$6 ns=cttimeout-$1
	local web=a234567890123456789012345678901
	local rule="-A OUTPUT -p tcp -m tcp --dport 80 -j CT --timeout $web"
	local save
	netns_add "$ns" || exit 1

	in_ns "$ns" nfct add timeout "$web" "$family" tcp syn_sent 250 established 1234
	in_ns "$ns" nfct add timeout foreign "$other" tcp established 1234
	in_ns "$ns" nfct add timeout udp "$family" udp replied 1234
	check_use "$ipt: a policy without rules is not used" "$ns" "$web" 1

	# shellcheck disable=SC2086 # the rule is words
	check "$ipt: a rule that names a policy is accepted" in_ns "$ns" "$ipt" -t raw $rule
	check_eq "$ipt: the rule is listed" "$(listed)" "$rule"
	check_use "$ipt: the policy counts its rule" "$ns" "$web" 2

	refused "another protocol" "Invalid argument" -p udp -j CT --timeout "$web"
	refused "no protocol" "Invalid argument" -j CT --timeout "$web"
	refused "any but this protocol" "Invalid argument" ! -p tcp -j CT --timeout "$web"
	check_use "$ipt: the policy does not count refused rules" "$ns" "$web" 2
	refused "another family" "Invalid argument" -p tcp -j CT --timeout foreign
	check_use "$ipt: a policy of another family does not count refused rules" "$ns" foreign 1
	refused "an unknown policy" "$unknown" -p tcp -j CT --timeout unknown
	check_eq "$ipt: no refused rule is listed" "$(listed)" "$rule"

	check "$ipt: a second rule is accepted" \
		in_ns "$ns" "$ipt" -t raw -A PREROUTING -p tcp -j CT --timeout "$web"
	check_use "$ipt: the policy counts both rules" "$ns" "$web" 3
	check_fails "$ipt: a policy with rules is not deleted" "Device or resource busy" \
		in_ns "$ns" nfct delete timeout "$web"
	check_use "$ipt: a refused delete does not change the use of the policy" "$ns" "$web" 3
	check "$ipt: the second rule is removed" in_ns "$ns" "$ipt" -t raw -D PREROUTING 1
	check_use "$ipt: the policy does not count the removed rule" "$ns" "$web" 2

	check "$ipt: the values of a policy with a rule can be replaced" \
		policy_replace "$ns" "$web" "$l3num" 6 1=250 3=4321
	check_eq "$ipt: the replaced values of a policy with a rule are shown" \
		"$(in_ns "$ns" nfct get timeout "$web" | grep ESTABLISHED | xargs)" \
		".ESTABLISHED = 4321,"
	check_use "$ipt: a replace does not change the use of the policy" "$ns" "$web" 2

	save=$(in_ns "$ns" "$ipt-save" -t raw 2>/dev/null)
	check "$ipt: the table is flushed" in_ns "$ns" "$ipt" -t raw -F
	check_use "$ipt: the policy counts no rule of the flushed table" "$ns" "$web" 1
	check "$ipt: the table is restored" in_ns "$ns" "$ipt-restore" <<<"$save"
	check_eq "$ipt: the restored rule is listed" "$(listed)" "$rule"
	check_use "$ipt: the policy counts the restored rule" "$ns" "$web" 2
	# The connection stays in its first state.
	in_ns "$ns" "$ipt" -A INPUT -p tcp -j DROP
	in_ns "$ns" bash -c ": >/dev/tcp/$lo/80" >/dev/null 2>&1 &
	check_flow "$ipt: a flow of the restored rule has the policy" \
		"$ns" 250 -p tcp -d "$lo" --dport 80
	check "$ipt: the table is restored over the same rule" \
		in_ns "$ns" "$ipt-restore" <<<"$save"
	check_use "$ipt: the policy counts the rule once after a second restore" "$ns" "$web" 2

	check "$ipt: the policies are flushed" in_ns "$ns" nfct flush timeout
	check_eq "$ipt: a flush keeps only the policy that a rule uses" "$(names)" "$web"
	check_use "$ipt: a flush does not change the use of the policy" "$ns" "$web" 2

	check "$ipt: the last rule is removed" in_ns "$ns" "$ipt" -t raw -F
	check_use "$ipt: the policy is not used without its last rule" "$ns" "$web" 1
	check "$ipt: a policy without rules can be deleted" in_ns "$ns" nfct delete timeout "$web"
	check_eq "$ipt: no policy is left" "$(names)" ""
}

[ $# -gt 0 ] || set -- iptables-legacy iptables-nft ip6tables-legacy ip6tables-nft
for ipt in "$@"; do
	case $ipt in
	*-legacy) unknown="No chain/target/match by that name" ;;
	*) unknown="No such file or directory" ;;
	esac
	case $ipt in
	ip6*) check_rules "$ipt" inet6 inet 10 ::1 "$unknown" ;;
	*) check_rules "$ipt" inet inet6 2 127.0.0.1 "$unknown" ;;
	esac
done
finish
