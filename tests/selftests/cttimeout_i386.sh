#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# check: plain/debug; slow: 12
#
# Shows that 32-bit programs on a 64-bit kernel do all that others do: other tests
# run once more with 32-bit nfct, iptables and Python in place of this machine's;
# and rules that one kind of program has made are the other's, too.
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

# /tmp is laid over that of the host, and so slow.
I386=$(mktemp -d -p /run)
export I386
tar -C "$I386" -b 1024 -xf "$CLIENTS/i386.tar"
# They come first on the PATH of whoever shall not notice.
bin=$I386/links
mkdir "$bin"
for program in nfct python3 {ip,ip6}tables-{legacy,nft}{,-save,-restore}; do
	ln -s "$PWD/../lib/i386.sh" "$bin/$program"
done
# on_i386 COMMAND...: where the programs are those
on_i386() { PATH=$bin:$PATH "$@"; }
# ipt NS ARG...: 32-bit iptables
ipt() { on_i386 in_ns "$1" iptables-legacy -t raw "${@:2}"; }

# bits FILE: what the header of the program says
bits() { case $(od -An -t x1 -N 5 "$1") in *01) echo 32 ;; *02) echo 64 ;; esac; }
for program in nfct python3 iptables-legacy ip6tables-nft; do
	check_eq "$program has 32 bits" "$(bits "$I386"/usr/*bin/"$program")" 32
done
check_eq "and runs: pointers of so many bytes" \
	"$(on_i386 python3 -c 'import struct; print(struct.calcsize("P"))')" 4

# again FILE [ARG]...: runs a test with those programs, and tells what it tells
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
# A family and a back end each; the two others would tell nothing new.
again cttimeout_rules.sh iptables-legacy ip6tables-nft
again cttimeout_policies.py
again cttimeout_errors.py
again cttimeout_sockets.py

# A rule that is put in by the one, and what becomes of it
netns_pair "$A" "$B" || exit 1
traffic_start
check "nfct add" on_i386 in_ns "$A" nfct add timeout web inet udp unreplied 1100
check_eq "nfct get, by 32 bits and by 64" "$(on_i386 in_ns "$A" nfct get timeout web)" \
	"$(in_ns "$A" nfct get timeout web)"
check "nfct default-set" on_i386 in_ns "$A" nfct default-set timeout inet udp replied 4321
check_eq "nfct default-get, by both" "$(on_i386 in_ns "$A" nfct default-get timeout inet udp)" \
	"$(in_ns "$A" nfct default-get timeout inet udp)"
check "which has the new value" grep -q '\.REPLIED = 4321' \
	<(in_ns "$A" nfct default-get timeout inet udp)
rule="-A OUTPUT -p udp -m udp --dport 90 -j CT --timeout web"
# shellcheck disable=SC2086 # the rule is words
check "a 32-bit rule" ipt "$A" $rule
check_use "counts" "$A" web 2
check_eq "64-bit iptables lists it" "$(in_ns "$A" iptables-legacy -t raw -S OUTPUT | grep -e -A)" "$rule"
traffic listen sb "$B" udp 10.0.0.2 90
traffic connect ca "$A" udp 10.0.0.2 90 10.0.0.1 4000
traffic send ca
check_flow "its flows have the policy" "$A" 1100 -p udp --dport 90
check_fails "32-bit nfct is told that it is in use" "Device or resource busy" \
	on_i386 in_ns "$A" nfct delete timeout web
check "64-bit iptables takes it out" in_ns "$A" iptables-legacy -t raw -D OUTPUT 1
check_use "it counts no more" "$A" web 1
# shellcheck disable=SC2086
check "a 64-bit rule" in_ns "$A" iptables-legacy -t raw $rule
check_eq "32-bit iptables lists it" "$(ipt "$A" -S OUTPUT | grep -e -A)" "$rule"
check "and takes it out" ipt "$A" -F
check_use "it counts no more, either" "$A" web 1
check "32-bit nfct deletes the policy" on_i386 in_ns "$A" nfct delete timeout web
check_eq "and that is all" "$(in_ns "$A" nfct list timeout)" ""
traffic_stop
rm -r "$I386"
finish
