# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Shared by all scripts: messages, the cache directory, long steps with a log.

TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/nfnetlink-cttimeout-rust
JOBS=${JOBS:-$(nproc)}
mkdir -p "$CACHE/logs" || exit

# ARCH= names another architecture than the PC's. From here on, it has Debian's name.
case ${ARCH:-} in
"" | x86 | x86_64 | amd64) unset ARCH ;;
s390 | s390x) export ARCH=s390x ;;
arm64 | aarch64) export ARCH=arm64 ;;
*)
	echo "error: ARCH=$ARCH is none of x86_64, s390x and arm64" >&2
	exit 1
	;;
esac

# Messages go to stderr: stdout is for results.
say() { printf '%s\n' "$*" >&2; }
die() {
	say "error: $*"
	exit 1
}

# reason LOG: its first error or, without one, its last line that is not from make
reason() {
	{ grep -aim 1 -e '^E: ' -e 'error: ' -e '^\*\*\* [A-Z]' "$1" || grep -av '^make' "$1" | tail -n 1; } |
		sed 's/^\(E\|error\): //' | cut -c1-200
}

# step TITLE ESTIMATE LOG COMMAND...: runs a command with its output in a log, and shows the
# progress twice a minute. If the command fails, so does the script: it shows the end of the
# log, and the last line says which step failed, why, and what to do. INSTEAD= is another way.
step() {
	local title=$1 estimate=$2 log=$3 start=$SECONDS pid rc why
	shift 3
	say "==> $title (about $estimate; log: $log)"
	mkdir -p "$(dirname "$log")"
	"$@" >"$log" 2>&1 </dev/null &
	pid=$!
	while kill -0 "$pid" 2>/dev/null; do
		sleep 1
		if [ $(((SECONDS - start) % 30)) -eq 29 ]; then
			say "    $((SECONDS - start)) s: $(tail -n 1 "$log" | cut -c1-100)"
			sleep 1
		fi
	done
	wait "$pid"
	rc=$?
	if [ "$rc" -ne 0 ]; then
		tail -n 25 "$log" >&2
		why=$(reason "$log")
		die "$title failed: ${why:-exit status $rc}; fix that (the whole log is $log)${INSTEAD:+, or $INSTEAD}, then run the command again"
	fi
	say "    done in $((SECONDS - start)) s"
}

# run_guest CONSOLE SECONDS COMMAND...: runs a virtual machine, with its console on stdout and
# in a file, and exits with the status that the guest prints.
#
# The machine ends with this script. Without that, it would run for up to SECONDS: timeout(1)
# gives it a process group of its own, and so signals to the caller's group do not reach it.
run_guest() {
	local console=$1 seconds=$2 status
	shift 2
	# Bash handles a signal at once only while it waits for a background process.
	trap 'exit 130' INT TERM
	setpriv --pdeathsig TERM timeout -k 10 "$seconds" "$@" </dev/null 2>&1 |
		sed -u 's/\r//g' | tee "$console" &
	wait $!
	status=$(sed -n 's/.*--- exit status \([0-9]*\) ---.*/\1/p' "$console" | tail -n 1)
	[ -n "$status" ] || say "error: the guest did not finish within $seconds s, or it crashed"
	exit "${status:-1}"
}

# with_lock NAME COMMAND...: only one process at a time runs under NAME. The script ends if the
# command fails.
with_lock() {
	local lock=$CACHE/$1.lock
	shift
	(
		flock -n 9 || {
			say "==> waiting for another process that holds $lock"
			flock 9
		}
		"$@"
	) 9>"$lock" || exit
}
