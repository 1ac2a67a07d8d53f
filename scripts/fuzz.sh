#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# make fuzz: sends messages of all kinds, good and bad, to the module in a virtual
# machine, and checks whether the answers make sense; the guest's kernel log is
# searched as in "make check". Goes on where the last one ended.
#
# TIME=600       for so many seconds, or
# MESSAGES=      for so many messages, by default on the debug kernel
# KERNELS=debug  or plain
# SEED=n         from the first message with that seed on, which repeats a run
# REPLAY=file    plays a file of the kind that is written when something was found
# MINIMIZE=file  the same, and if it fails, makes a shorter file that fails, too
#
# The cache directory keeps the position, the messages that reached new code where
# the kernel can tell (CONFIG_KCOV), and what was found.

. "$(dirname "$0")/lib.sh"
. "$TOP/scripts/tools.sh"

kernel=${KERNELS:-debug}
file=${REPLAY:-${MINIMIZE:-}}
[ -n "${MESSAGES:-}" ] || TIME=${TIME:-600}
state=$CACHE/fuzz
mkdir -p "$state/finds" "$CACHE/results"
kdir=$("$TOP/scripts/kernel.sh" "$kernel") || exit
modules=$("$TOP/scripts/module.sh" "$kdir") || exit
clients=$("$TOP/scripts/clients.sh" "$kdir") || exit
hz=$(sed -n 's/^CONFIG_HZ=//p' "$kdir/.config")

round=0 total=0 seed=${SEED:-1} corpus=
if [ -z "${SEED:-}" ] && [ -z "$file" ]; then
	[ ! -f "$state/position" ] || read -r seed round total <"$state/position"
	# Messages found with another seed play no part in the rounds of this one.
	corpus=$state/corpus-$seed
	touch "$corpus"
fi

knobs=("SEED=$seed" "ROUND=$round" "CORPUS=$corpus" TEST_TIMEOUT=$((${TIME:-86400} + 1200)))
for knob in TIME MESSAGES; do
	[ -z "${!knob:-}" ] || knobs+=("$knob=${!knob}")
done
if [ -n "$file" ]; then
	# The guest may not see the place that it is in: /tmp is its own.
	cp "$file" "$state/actions" || exit
	knobs+=("${MINIMIZE:+MINIMIZE=$state/actions}" "${REPLAY:+REPLAY=$state/actions}")
	say "==> playing $file on the $kernel kernel"
else
	say "==> seed $seed from round $round on, on the $kernel kernel"
fi

# One line each half minute is enough for people.
watch() {
	local last=-30 line
	while IFS= read -r line; do
		case $line in
		*'# PROGRESS '*)
			[ $((SECONDS - last)) -ge 30 ] || continue
			last=$SECONDS
			say "    round ${line#*PROGRESS }"
			;;
		*'# CORPUS '*) ;;
		'  ok '* | '  not ok '* | *'# the kernel '* | *'# FIND #'*) say "$line" ;;
		esac
	done
}

console=$(mktemp "$CACHE/results/fuzz-$(date +%Y%m%d-%H%M%S).XXXX") || exit
# Without kasan_multi_shot, KASAN reports a single error. A guest with an oops ends at
# once, with the whole kernel log on the console.
"$TOP/scripts/vm.sh" -a kasan_multi_shot -a oops=panic -a panic_console_replay -t $((${TIME:-86400} + 1800)) "$kdir" env "${knobs[@]}" \
	"$TOP/tests/guest.sh" "$modules" "$clients" cttimeout_fuzz.sh 2>&1 | tee "$console" | watch
status=${PIPESTATUS[0]}
if ! log=$("$TOP/scripts/check-log.sh" -p "$console"); then
	say "$log"
	status=1
fi

# said KIND: the rest of the fuzzer's lines of that kind
said() { sed -n "s/^ *# $1 //p" "$console"; }

if [ -n "$file" ]; then
	if [ -n "${MINIMIZE:-}" ] && said FIND >"$file.min" && [ -s "$file.min" ]; then
		say "==> what is left: $file.min"
	fi
	exit "$status"
fi

# The messages that earlier rounds have found are part of a round.
found=${corpus:-$console.corpus}
said CORPUS >>"$found"
# The fuzzer prints a line at the end of each round, so not for the last one here.
read -r reached sent _ <<<"$(said PROGRESS | tail -n 1)"
next=$(said DONE | tail -n 1 | cut -d' ' -f1)
next=${next:-${reached:-$round}}
messages=$(said DONE | awk '{ n += $2 } END { print n + 0 }')
if grep -q '# FIND ' "$console"; then
	find=$state/finds/seed$seed-round$next
	said FIND >"$find"
	say "==> what was found: $find; to see it again: make fuzz KERNELS=$kernel REPLAY=$find"
	next=$((next + 1))
elif [ "$(said DONE | wc -l)" -lt 2 ]; then
	round=${reached:-$round}
	messages=$((messages + ${sent:-0}))
	find=$state/finds/seed$seed-round$round
	{
		# The second half had the module loaded with another parameter.
		[ "$(said DONE | wc -l)" -eq 0 ] || echo "# detach_in_use=1"
		LIMIT=$((0x7fffffff / hz)) CORPUS="$TOP/tests/fuzz/corpus $found" \
			"$clients/fuzz" print "$seed" "$round"
	} >"$find" || exit
	say "==> the guest ended in seed $seed, round $round, or what went on beside it: $find"
	status=1 next=$((round + 1))
fi
total=$((total + messages))
[ -z "$corpus" ] || echo "$seed $next $total" >"$state/position"
say "==> console: $console"
echo "$messages messages, $total in all with seed $seed; $([ "$status" -eq 0 ] && echo "nothing was found" || echo "see above")"
exit "$status"
