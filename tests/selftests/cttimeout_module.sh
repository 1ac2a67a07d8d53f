#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# check: plain debug; slow: 4
#
# Loading and unloading: modinfo, this module and the C module exclude each other, either is
# loaded on demand, and this one cannot be unloaded while anything needs it.
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

# totals NS: the answers of the other subsystem to: add a number, add a number that is too
# large, get the total, dump all totals
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

# half_read_dump: unloads the module while a dump is half read, and after its end. All
# policies are deleted meanwhile, so that only the dump holds the module.
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

# modinfo
check_eq "modinfo: licence" "$(info license)" GPL
check_eq "modinfo: alias" "$(info alias)" nfnetlink-subsys-8
check "modinfo: author" grep -q . <<<"$(info author)"
check_eq "modinfo: description" "$(info description)" "Netfilter connection tracking timeout policies"
check "modinfo: parameter" grep -q '^detach_in_use:.*(bool)$' <<<"$(info parm)"

# The C module is loaded second
nfct add timeout web inet tcp established 1234
before=$(nfct list timeout)
check_fails "the C module cannot be loaded beside this one" "busy" load "$C_MODULE"
check_eq "this module stays loaded, and the C module is not" "$(loaded)" "$MODULE"
check_eq "this module lists its policies after the C module was refused" \
	"$(nfct list timeout)" "$before"
check "this module serves a rule after the C module was refused" \
	in_ns "$NS" iptables -t raw -A OUTPUT -p tcp -j CT --timeout web

# References to the module
check_eq "a policy with a rule holds one reference to the module" "$(references)" 1
check_fails "the module cannot be unloaded while a rule uses a policy" "in use" unload "$MODULE"
check_eq "a refused unload changes neither the module nor its policies" \
	"$(loaded) $(references) $(nfct list timeout)" \
	"$MODULE 1 $before"
check_use "a refused unload does not change the use of a policy" "$NS" web 2
in_ns "$NS" iptables -t raw -F
check_use "a removed rule does not use the policy" "$NS" web 1
check_fails "the module cannot be unloaded while there is a policy" "in use" unload "$MODULE"
check_eq "a refused unload does not change a policy without a rule" "$(nfct list timeout)" "$before"
nfct delete timeout web
check_eq "the module has no references without a policy" "$(references)" 0
check_eq "a dump that is half read holds the module until it ends" "$(half_read_dump)" \
	"some read: True
policies left: 0
in use: True
after the last: gone"
check_eq "the module is unloaded after the dump" "$(loaded)" ""

# On demand
check_fails "a rule that names a policy is refused without the module" "" \
	in_ns "$NS" iptables -t raw -A OUTPUT -p tcp -j CT --timeout web
check_eq "a rule that names a policy does not load the module" "$(loaded)" ""
check_eq "nfct list works without a loaded module" "$(nfct list timeout)" ""
check_eq "nfct list has loaded the module" "$(loaded)" "$MODULE"
check "the module that was loaded on demand can be unloaded" unload "$MODULE"

# Both modules are installed, and have the same alias. The administrator chooses one, as
# README.md describes; the choice so far was this one.
choose "blacklist $MODULE"
check_eq "nfct list works with the C module as the choice" "$(nfct list timeout)" ""
check_eq "nfct list has loaded the C module, which is the choice" "$(loaded)" "$C_MODULE"
check "the C module that was loaded on demand can be unloaded" unload "$C_MODULE"
choose ""
check "nfct add works without a choice" nfct add timeout web inet tcp established 1234
check_eq "nfct add has loaded one module without a choice" "$(loaded | wc -w)" 1
nfct delete timeout web
check "the module that was loaded without a choice can be unloaded" unload "$(loaded)"
choose "blacklist $C_MODULE"

# The C module is loaded first
check "the C module can be loaded alone" load "$C_MODULE"
nfct add timeout web inet tcp established 1234
mark_log
check_fails "this module cannot be loaded beside the C module" "busy" load "$MODULE"
check "the log says that the hook is taken" log_has "$MODULE: the conntrack timeout hook is taken"
check_eq "the C module stays loaded, and this one is not" "$(loaded)" "$C_MODULE"
check_eq "the C module lists its policies after this one was refused" "$(nfct list timeout)" "$before"
check "the C module serves a rule after this one was refused" \
	in_ns "$NS" iptables -t raw -A OUTPUT -p tcp -j CT --timeout web
in_ns "$NS" iptables -t raw -F
nfct flush timeout
check "the C module can be unloaded without a policy" unload "$C_MODULE"

# Another module has the subsystem, and none has the hook: two of the three steps of the
# registration have been made when the third fails.
check "another subsystem of the same number can be loaded" load "$OTHER"
mark_log
check_fails "this module cannot be loaded beside another subsystem of its number" "busy" load "$MODULE"
check "the log says that the subsystem is taken" log_has "$MODULE: the nfnetlink subsystem is taken"
check_eq "a module that finds its subsystem taken is not loaded" "$(loaded)" ""
check "a refused load leaves nothing that a new namespace runs" netns_add "$NS-late"
check_fails "a refused load leaves no hook for rules" "" \
	in_ns "$NS" iptables -t raw -A OUTPUT -p tcp -j CT --timeout web
check_eq "the other subsystem works after the refused load" "$(totals "$NS")" "0 None None
ERANGE the total would be too large 20
0000002a
0000002a"
check_eq "the other subsystem has a total for each namespace" \
	"$(totals "$NS-late" | tail -n 1)" 0000002a
check "the other subsystem can be unloaded" unload "$OTHER"
check "the module can be loaded after the other subsystem is gone" load "$MODULE"
check "nfct add works after the other subsystem is gone" nfct add timeout web inet tcp established 1234
check_eq "nfct list works after the other subsystem is gone" "$(nfct list timeout)" "$before"
nfct flush timeout
check "the module can be unloaded in the end" unload "$MODULE"
finish
