# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# KTAP for shell tests. A test script sources this, calls check or skip for each subtest, and
# ends with "finish". The results are not indented; the caller may indent them.

KTAP_N=0 KTAP_FAILED=0 KTAP_SKIPPED=0

# comment TEXT...: a diagnostic line
comment() { printf '# %s\n' "$*"; }

# pass NAME / fail NAME [DETAIL] / skip NAME REASON
pass() { KTAP_N=$((KTAP_N + 1)); printf 'ok %d %s\n' "$KTAP_N" "$1"; }
fail() {
	KTAP_N=$((KTAP_N + 1)) KTAP_FAILED=$((KTAP_FAILED + 1))
	[ -z "${2:-}" ] || printf '%s\n' "$2" | sed 's/^/# /'
	printf 'not ok %d %s\n' "$KTAP_N" "$1"
}
skip() {
	KTAP_N=$((KTAP_N + 1)) KTAP_SKIPPED=$((KTAP_SKIPPED + 1))
	printf 'ok %d %s # SKIP %s\n' "$KTAP_N" "$1" "$2"
}

# check NAME COMMAND...: passes if the command succeeds
check() {
	local name=$1 out
	shift
	if out=$("$@" 2>&1); then pass "$name"; else fail "$name" "$* -> $?: $out"; fi
}

# check_fails NAME TEXT COMMAND...: passes if the command fails and says TEXT
check_fails() {
	local name=$1 text=$2 out
	shift 2
	if out=$("$@" 2>&1); then
		fail "$name" "$* succeeded: $out"
	elif [[ $out == *"$text"* ]]; then
		pass "$name"
	else
		fail "$name" "$* did not say '$text': $out"
	fi
}

# check_eq NAME ACTUAL EXPECTED
check_eq() {
	if [ "$2" = "$3" ]; then pass "$1"; else fail "$1" "got '$2', expected '$3'"; fi
}

# wait_until SECONDS COMMAND...: tries until the command succeeds
wait_until() {
	local end=$((SECONDS + $1))
	shift
	until "$@" >/dev/null 2>&1; do
		[ "$SECONDS" -lt "$end" ] || return 1
		sleep 0.1
	done
}

# finish: the plan, and the exit status; 4, as for all selftests, if all was skipped
finish() {
	printf '1..%d\n' "$KTAP_N"
	[ "$KTAP_N" -gt 0 ] && [ "$KTAP_FAILED" -eq 0 ] || exit 1
	[ "$KTAP_SKIPPED" -lt "$KTAP_N" ] || exit 4
	exit 0
}
