#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# check: plain/s390x; slow: 9
#
# Shows that rules of all four iptables commands can name a policy, that they
# are refused when the policy does not fit, that a policy counts its rules, and
# that it can be deleted when, and only when, there are none.
#
# usage: cttimeout_rules.sh [COMMAND]...   (iptables-legacy...; by default, all four)
# shellcheck source-path=SCRIPTDIR/../lib

. ../lib/ktap.sh
. ../lib/netns.sh
. ../lib/conntrack.sh

# refused NAME REASON RULE...: the rule is refused for that reason
refused() {
	check_fails "$ipt: $1 is refused" "$2" \
		in_ns "$ns" "$ipt" -t raw -A OUTPUT "${@:3}"
}

# listed: the rules that the command shows
listed() { in_ns "$ns" "$ipt" -t raw -S OUTPUT 2>/dev/null | grep -e '^-A'; }

# names: the policies that there are
names() { in_ns "$ns" nfct list timeout | sed -n 's/^\.\(.*\) = {/\1/p' | xargs; }

check_rules() {
	local ipt=$1 family=$2 other=$3 l3num=$4 unknown=$5 ns=cttimeout-$1
	local rule="-A OUTPUT -p tcp -m tcp --dport 80 -j CT --timeout web"
	local save
	netns_add "$ns" || exit 1

	in_ns "$ns" nfct add timeout web "$family" tcp established 1234
	in_ns "$ns" nfct add timeout foreign "$other" tcp established 1234
	in_ns "$ns" nfct add timeout udp "$family" udp replied 1234
	check_use "$ipt: a policy without rules" "$ns" web 1

	# shellcheck disable=SC2086 # the rule is words
	check "$ipt: a rule is accepted" in_ns "$ns" "$ipt" -t raw $rule
	check_eq "$ipt: it is listed" "$(listed)" "$rule"
	check_use "$ipt: it counts" "$ns" web 2

	refused "another protocol" "Invalid argument" -p udp -j CT --timeout web
	refused "no protocol" "Invalid argument" -j CT --timeout web
	refused "any but this protocol" "Invalid argument" ! -p tcp -j CT --timeout web
	check_use "$ipt: refused rules do not count" "$ns" web 2
	refused "another family" "Invalid argument" -p tcp -j CT --timeout foreign
	check_use "$ipt: neither do they for a foreign policy" "$ns" foreign 1
	refused "an unknown policy" "$unknown" -p tcp -j CT --timeout unknown
	check_eq "$ipt: no refused rule is listed" "$(listed)" "$rule"

	check "$ipt: a second rule" \
		in_ns "$ns" "$ipt" -t raw -A PREROUTING -p tcp -j CT --timeout web
	check_use "$ipt: counts, too" "$ns" web 3
	check_fails "$ipt: a policy with rules is not deleted" "Device or resource busy" \
		in_ns "$ns" nfct delete timeout web
	check_use "$ipt: and stays as it was" "$ns" web 3
	check "$ipt: the second rule goes" in_ns "$ns" "$ipt" -t raw -D PREROUTING 1
	check_use "$ipt: and counts no more" "$ns" web 2

	check "$ipt: values can be replaced under a rule" \
		policy_replace "$ns" web "$l3num" 6 3=4321
	check_eq "$ipt: and are" "$(in_ns "$ns" nfct get timeout web | grep ESTABLISHED | xargs)" \
		".ESTABLISHED = 4321,"
	check_use "$ipt: which changes nothing for the rule" "$ns" web 2

	save=$(in_ns "$ns" "$ipt-save" -t raw 2>/dev/null)
	check "$ipt: flush of the table" in_ns "$ns" "$ipt" -t raw -F
	check_use "$ipt: all rules are gone" "$ns" web 1
	check "$ipt: restore" in_ns "$ns" "$ipt-restore" <<<"$save"
	check_eq "$ipt: the rule is back" "$(listed)" "$rule"
	check_use "$ipt: and counts" "$ns" web 2
	check "$ipt: restore again, in place of the same rule" \
		in_ns "$ns" "$ipt-restore" <<<"$save"
	check_use "$ipt: counts once" "$ns" web 2

	check "$ipt: flush of the policies" in_ns "$ns" nfct flush timeout
	check_eq "$ipt: keeps what a rule uses, and nothing else" "$(names)" web
	check_use "$ipt: and the rule keeps it" "$ns" web 2

	check "$ipt: the last rule goes" in_ns "$ns" "$ipt" -t raw -F
	check_use "$ipt: nothing is left but the policy" "$ns" web 1
	check "$ipt: which can be deleted now" in_ns "$ns" nfct delete timeout web
	check_eq "$ipt: and is" "$(names)" ""
}

[ $# -gt 0 ] || set -- iptables-legacy iptables-nft ip6tables-legacy ip6tables-nft
for ipt in "$@"; do
	case $ipt in
	*-legacy) unknown="No chain/target/match by that name" ;;
	*) unknown="No such file or directory" ;;
	esac
	case $ipt in
	ip6*) check_rules "$ipt" inet6 inet 10 "$unknown" ;;
	*) check_rules "$ipt" inet inet6 2 "$unknown" ;;
	esac
done
finish
