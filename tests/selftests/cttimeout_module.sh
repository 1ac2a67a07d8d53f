#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# check: plain debug; slow: 4
#
# Shows how the module comes and goes: what it says of itself, that it and the
# C module exclude each other, that it is loaded on demand, and that it cannot
# be unloaded as long as anything needs it.
# shellcheck source-path=SCRIPTDIR/../lib

. ../lib/ktap.sh
. ../lib/netns.sh
. ../lib/conntrack.sh

NS=cttimeout-module
C_MODULE=nfnetlink_cttimeout
OTHER=cttimeout_test_subsystem

info() { modinfo -b "$MODROOT" -F "$1" "$MODULE"; }
loaded() { lsmod | awk '{ print $1 }' | grep -x -e "$MODULE" -e "$C_MODULE" | xargs; }
references() { cat "/sys/module/$MODULE/refcnt"; }
nfct() { in_ns "$NS" nfct "$@"; }
log_has() { dmesg | tail -n "+$mark" | grep -q "$1"; }
mark_log() { mark=$(($(dmesg | wc -l) + 1)); }
choose() { echo "$1" >"$MODCONF/choice.conf"; }

# totals: what the other subsystem answers when a number is added, then too large a
# one, and when it is asked for the total, and for all that there are
totals() {
	in_ns "$1" python3 -c '
import nfnl, struct
s = nfnl.Socket()
for number in 42, 2**32 - 1:
    answer = s.request(0, nfnl.attr(1, struct.pack(">I", number)))
    print(answer.errno_name, answer.text, answer.offset)
answers = [s.request(1)]
s.send(s.build(1, flags=nfnl.F_DUMP))
answers.append(s.collect(s.seq))
for answer in answers:
    print(*[nfnl.parse(message.payload[4:])[1].hex() for message in answer.messages])'
}

# half_read_dump: unloads while a dump waits to be read, then after it; the
# policies themselves are gone, so that it is the dump alone that counts.
half_read_dump() {
	in_ns "$NS" python3 - "$MODULE" <<-'END'
		import nfnl, subprocess, sys

		def rmmod():
		    return subprocess.run(["rmmod", sys.argv[1]], capture_output=True, text=True).stderr

		reader, writer = nfnl.Socket(), nfnl.Socket()
		for i in range(1000):
		    writer.create(f"policy-{i}")
		reader.send(reader.build(nfnl.GET, flags=nfnl.F_DUMP))
		print("some read:", 0 < len(reader.receive()) < 500)
		writer.flush()
		print("policies left:", len(writer.state()))
		print("in use:", "in use" in rmmod())
		reader.collect()
		print("after the last:", rmmod() or "gone")
	END
}

netns_add "$NS" || exit 1

# What it says of itself
check_eq "licence" "$(info license)" GPL
check_eq "alias" "$(info alias)" nfnetlink-subsys-8
check "author" grep -q . <<<"$(info author)"
check_eq "description" "$(info description)" "Netfilter connection tracking timeout policies"
check "parameter" grep -q '^detach_in_use:.*(bool)$' <<<"$(info parm)"

# The C module comes second
nfct add timeout web inet tcp established 1234
before=$(nfct list timeout)
check_fails "the C module cannot be loaded next to it" "busy" load "$C_MODULE"
check_eq "only the one is loaded" "$(loaded)" "$MODULE"
check_eq "and works as before" "$(nfct list timeout)" "$before"
check "even for a rule" \
	in_ns "$NS" iptables -t raw -A OUTPUT -p tcp -j CT --timeout web

# What keeps it
check_eq "a policy holds the module, whatever uses it" "$(references)" 1
check_fails "it cannot be unloaded from under it" "in use" unload "$MODULE"
check_eq "which changes nothing" "$(loaded) $(references) $(nfct list timeout)" \
	"$MODULE 1 $before"
check_use "for the rule, either" "$NS" web 2
in_ns "$NS" iptables -t raw -F
check_use "the rule lets go" "$NS" web 1
check_fails "the policy alone keeps the module" "in use" unload "$MODULE"
check_eq "and is not harmed" "$(nfct list timeout)" "$before"
nfct delete timeout web
check_eq "without it, nothing does" "$(references)" 0
check_eq "a dump that is half read keeps the module until it ends" "$(half_read_dump)" \
	"some read: True
policies left: 0
in use: True
after the last: gone"
check_eq "it is unloaded" "$(loaded)" ""

# On demand
check_fails "a rule does not load it" "" \
	in_ns "$NS" iptables -t raw -A OUTPUT -p tcp -j CT --timeout web
check_eq "indeed" "$(loaded)" ""
check_eq "nfct finds no policies" "$(nfct list timeout)" ""
check_eq "because it has loaded the module" "$(loaded)" "$MODULE"
check "it can be unloaded" unload "$MODULE"

# Both are installed, and carry the same alias: the administrator chooses, by
# what README.md says; the choice above was to have this one.
choose "blacklist $MODULE"
check_eq "with the other choice nfct finds no policies, either" "$(nfct list timeout)" ""
check_eq "because it has loaded the C module" "$(loaded)" "$C_MODULE"
check "which can be unloaded" unload "$C_MODULE"
choose ""
check "without a choice nfct works, too" nfct add timeout web inet tcp established 1234
check_eq "by one of them" "$(loaded | wc -w)" 1
nfct delete timeout web
check "which can be unloaded, too" unload "$(loaded)"
choose "blacklist $C_MODULE"

# The C module comes first
check "the C module can be loaded" load "$C_MODULE"
nfct add timeout web inet tcp established 1234
mark_log
check_fails "the module cannot be loaded next to it" "busy" load "$MODULE"
check "the log says why" log_has "$MODULE: the conntrack timeout hook is taken"
check_eq "only the one is loaded" "$(loaded)" "$C_MODULE"
check_eq "and works as before" "$(nfct list timeout)" "$before"
check "even for a rule" \
	in_ns "$NS" iptables -t raw -A OUTPUT -p tcp -j CT --timeout web
in_ns "$NS" iptables -t raw -F
nfct flush timeout
check "the C module can be unloaded" unload "$C_MODULE"

# Somebody else has the subsystem, but nobody the hook: the second of three steps
# has been taken when the third fails.
check "another subsystem of the same number can be loaded" load "$OTHER"
mark_log
check_fails "the module cannot be loaded next to it" "busy" load "$MODULE"
check "the log says why" log_has "$MODULE: the nfnetlink subsystem is taken"
check_eq "it is not loaded" "$(loaded)" ""
check "what it had prepared for namespaces is gone" netns_add "$NS-late"
check_fails "and its hook, too" "" \
	in_ns "$NS" iptables -t raw -A OUTPUT -p tcp -j CT --timeout web
check_eq "the other subsystem works" "$(totals "$NS")" "0 None None
ERANGE the total would be too large 20
0000002a
0000002a"
check_eq "in each namespace on its own" "$(totals "$NS-late" | tail -n 1)" 0000002a
check "it can be unloaded" unload "$OTHER"
check "the module can be loaded then" load "$MODULE"
check "and works" nfct add timeout web inet tcp established 1234
check_eq "as ever" "$(nfct list timeout)" "$before"
nfct flush timeout
check "and can be unloaded" unload "$MODULE"
finish
