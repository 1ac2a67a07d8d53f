#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# check: plain/debug; slow: 12
#
# 32-bit programs on a 64-bit kernel: other tests run once more with 32-bit nfct, iptables
# and Python, and rules of 32-bit iptables are the same to 64-bit iptables, and vice versa.
# shellcheck source-path=SCRIPTDIR/../lib

. ../lib/ktap.sh
. ../lib/netns.sh
. ../lib/conntrack.sh

A=cttimeout-a B=cttimeout-b

if [ ! -f "$CLIENTS/i386.tar" ]; then
	skip "32-bit programs" "Debian's for i386 cannot be had here"
	finish
fi
if ! zgrep -q '^CONFIG_NETFILTER_XTABLES_COMPAT=y' /proc/config.gz; then
	skip "32-bit programs" "this kernel does not run them, or not all (CONFIG_NETFILTER_XTABLES_COMPAT)"
	finish
fi

# (/run: /tmp is an overlay of the host's, which is slow.)
I386=$(mktemp -d -p /run)
export I386
tar -C "$I386" -b 1024 -xf "$CLIENTS/i386.tar"
# Links to the programs, for the beginning of PATH
bin=$I386/links
mkdir "$bin"
for program in nfct python3 {ip,ip6}tables-{legacy,nft}{,-save,-restore}; do
	ln -s "$PWD/../lib/i386.sh" "$bin/$program"
done
# on_i386 COMMAND...: runs the command with these programs
on_i386() { PATH=$bin:$PATH "$@"; }
# ipt NS ARG...: 32-bit iptables
ipt() { on_i386 in_ns "$1" iptables-legacy -t raw "${@:2}"; }

# bits FILE: 32 or 64, from the header of the program
bits() { case $(od -An -t x1 -N 5 "$1") in *01) echo 32 ;; *02) echo 64 ;; esac; }
for program in nfct python3 iptables-legacy ip6tables-nft; do
	check_eq "$program is a 32-bit program" "$(bits "$I386"/usr/*bin/"$program")" 32
done
check_eq "32-bit python3 runs, with pointers of 4 bytes" \
	"$(on_i386 python3 -c 'import struct; print(struct.calcsize("P"))')" 4

# again FILE [ARG]...: runs a test with these programs, and repeats its results
again() {
	local test=${1%.*} run=$KTAP_N planned='' result number title
	while read -r result number title; do
		case $result in
		ok) pass "$test: $title" ;;
		not) fail "$test: ${title#* }" ;;
		1..*) planned=${result#1..} ;;
		*) comment "${result#\#} $number $title" ;;
		esac
	done < <(on_i386 "./$1" "${@:2}" 2>&1)
	check_eq "$test has run to its end" "$((KTAP_N - run))" "${planned:-none}"
}
# Each family and each back end once; the two other combinations would show nothing new.
again cttimeout_rules.sh iptables-legacy ip6tables-nft
again cttimeout_policies.py
again cttimeout_errors.py
again cttimeout_sockets.py

# Rules of one iptables as the other one sees them
web=a234567890123456789012345678901
netns_pair "$A" "$B" || exit 1
traffic_start
check "32-bit nfct adds a policy" on_i386 in_ns "$A" nfct add timeout "$web" inet udp unreplied 1100
check_eq "32-bit nfct gets the same policy as 64-bit nfct" \
	"$(on_i386 in_ns "$A" nfct get timeout "$web")" \
	"$(in_ns "$A" nfct get timeout "$web")"
check "32-bit nfct sets a default" on_i386 in_ns "$A" nfct default-set timeout inet udp replied 4321
check_eq "32-bit nfct gets the same defaults as 64-bit nfct" \
	"$(on_i386 in_ns "$A" nfct default-get timeout inet udp)" \
	"$(in_ns "$A" nfct default-get timeout inet udp)"
check "64-bit nfct gets the default that 32-bit nfct has set" grep -q '\.REPLIED = 4321' \
	<(in_ns "$A" nfct default-get timeout inet udp)
rule="-A OUTPUT -p udp -m udp --dport 90 -j CT --timeout $web"
# shellcheck disable=SC2086 # the rule is words
check "32-bit iptables adds a rule" ipt "$A" $rule
check_use "the policy counts the rule of 32-bit iptables" "$A" "$web" 2
check_eq "64-bit iptables lists the rule of 32-bit iptables" \
	"$(in_ns "$A" iptables-legacy -t raw -S OUTPUT | grep -e -A)" "$rule"
traffic listen sb "$B" udp 10.0.0.2 90
traffic connect ca "$A" udp 10.0.0.2 90 10.0.0.1 4000
traffic send ca
check_flow "a flow of the rule of 32-bit iptables has the policy" "$A" 1100 -p udp --dport 90
check_fails "32-bit nfct cannot delete a policy in use" "Device or resource busy" \
	on_i386 in_ns "$A" nfct delete timeout "$web"
check "64-bit iptables removes the rule of 32-bit iptables" \
	in_ns "$A" iptables-legacy -t raw -D OUTPUT 1
check_use "the policy does not count the rule that 64-bit iptables has removed" "$A" "$web" 1
# shellcheck disable=SC2086
check "64-bit iptables adds a rule" in_ns "$A" iptables-legacy -t raw $rule
check_eq "32-bit iptables lists the rule of 64-bit iptables" \
	"$(ipt "$A" -S OUTPUT | grep -e -A)" "$rule"
check "32-bit iptables removes the rule of 64-bit iptables" ipt "$A" -F
check_use "the policy does not count the rule that 32-bit iptables has removed" "$A" "$web" 1
check "32-bit nfct deletes the policy" on_i386 in_ns "$A" nfct delete timeout "$web"
check_eq "after 32-bit clients, no policy is left" "$(in_ns "$A" nfct list timeout)" ""
traffic_stop
rm -r "$I386"
finish
