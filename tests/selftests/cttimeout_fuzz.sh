#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# check: plain debug
#
# Sends messages of all kinds, good and bad, and checks that the answers make sense, and
# that the policies are the ones that the answers imply; the first half of the time
# without module parameters, the second with detach_in_use=1. See tests/fuzz/.
#
# SEED=1 selects the messages, TIME=30 (seconds) or MESSAGES= limits them. For
# scripts/fuzz.sh: ROUND= is the first round, CORPUS= names files with messages beside
# those of the repository, REPLAY= and MINIMIZE= name a file to play.
# shellcheck source-path=SCRIPTDIR/../lib

. ../lib/ktap.sh

if [ ! -x "$CLIENTS/fuzz" ]; then
	skip "messages of all kinds" "Rust's standard library for $(uname -m) is not at hand, so there is no fuzzer"
	finish
fi

# Without ROUND=, nobody reads the progress.
unseen=$([ -n "${ROUND:-}" ] || echo "/^PROGRESS/d; /^CORPUS/d;")
SEED=${SEED:-1} ROUND=${ROUND:-0}
[ -n "${MESSAGES:-}" ] || TIME=${TIME:-30}
log=$(mktemp) all=$(mktemp) new=$(mktemp)
export CORPUS="../fuzz/corpus ${CORPUS:-} $new"
LIMIT=$(python3 -c 'import nfnl; print(nfnl.largest())')
export LIMIT

# fuzz ARG...: runs the fuzzer, with its output as comments
fuzz() {
	"$CLIENTS/fuzz" "$@" 2>&1 | tee "$log" | sed -u "$unseen s/^/# /"
	return "${PIPESTATUS[0]}"
}

# passes TITLE COMMAND...: like check, but with the output of the command at once
passes() {
	local title=$1
	shift
	if "$@"; then pass "$title"; else fail "$title"; fi
}

reload() { unload "$MODULE" && load "$MODULE" "$@"; }

# half DETACH: messages until half of the time is over, or half of them sent; fails
# if something was found
half() {
	export DETACH=$1
	passes "fuzz: seed $SEED, detach_in_use=$1: all answers make sense" \
		fuzz run "$SEED" "$ROUND" "$((${TIME:-0} / 2))" "$((${MESSAGES:-0} / 2))"
	ROUND=$(sed -n 's/^DONE \([0-9]*\) .*/\1/p' "$log")
	sed -n 's/^CORPUS //p' "$log" >>"$new"
	cat "$log" >>"$all"
	! grep -q '^FIND ' "$log"
}

# COMMAND:ERROR for each possible answer; a long run has to see them all. Error 0 is
# success. The commands are numbered as in enum ctnl_timeout_msg_types; 5 is any unknown
# command, and 6 a change of the rules.
answers="0:0 0:16 0:17 0:22 0:34 0:95 1:0 1:2 1:22 1:34 2:0 2:2 2:16 2:22 2:34
	3:0 3:22 3:34 3:95 4:0 4:22 4:34 4:95 5:22 6:0 6:2 6:22"

# missing: the answers that did not occur
missing() {
	local answer
	for answer in $answers; do
		grep -q "^command ${answer%:*}, error ${answer#*:}: " "$all" || echo "$answer"
	done
}

unused() { [ "$(cat "/sys/module/$MODULE/refcnt")" = 0 ]; }

file=${REPLAY:-${MINIMIZE:-}}
if [ -n "$file" ]; then
	if grep -q detach_in_use=1 "$file"; then
		export DETACH=1
		check "fuzz: the module loads with detach_in_use" reload detach_in_use=1
	fi
	passes "fuzz: ${file##*/}: all answers make sense" \
		fuzz "$([ -n "${REPLAY:-}" ] && echo replay || echo minimize)" "$file"
else
	if half 0; then
		check "fuzz: the module loads with detach_in_use" reload detach_in_use=1
		half 1
	fi
	# The rare answers take many messages, which a busy machine may not send in time.
	sent=$(sed -n 's/^DONE [0-9]* \([0-9]*\) messages$/\1/p' "$all" | awk '{ n += $1 } END { print n }')
	if [ "${sent:-0}" -ge 100000 ]; then
		check_eq "fuzz: seed $SEED: each answer that there can be was given" "$(missing)" ""
	fi
fi
check "fuzz: the module is not in use after the last message" wait_until 60 unused
finish
