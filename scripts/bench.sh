#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# make bench: what each command costs, in this module and in the C module of the
# same kernel, measured in turns in one guest whose clock counts instructions.
# Prints a table in Markdown.
#
# PAIRS=3 says how many times each pair is measured, SIZES="10 1000 10000" with
# how many policies in the table.

. "$(dirname "$0")/lib.sh"
. "$TOP/scripts/tools.sh"

PAIRS=${PAIRS:-3}
SIZES=${SIZES:-10 1000 10000}

kdir=$("$TOP/scripts/kernel.sh" plain) || exit
modules=$("$TOP/scripts/module.sh" "$kdir") || exit
need_build_tools
[ -f "$modules/nfnetlink_cttimeout.ko" ] ||
	die "the kernel in $kdir has no C module to compare with (CONFIG_NF_CT_NETLINK_TIMEOUT=m)"
client=$modules/bench-client
"$RUSTC" --edition 2021 -O -o "$client" "$TOP/tests/bench/client.rs" || exit

mkdir -p "$CACHE/results"
console=$(mktemp "$CACHE/results/bench.XXXXXX")
say "==> measuring (about 3 min with 10,000 policies; console: $console)"
# shellcheck disable=SC2086
"$TOP/scripts/vm.sh" -i -t 3000 "$kdir" "$TOP/tests/bench/guest.sh" "$modules" "$client" \
	"$PAIRS" $SIZES >"$console" 2>&1 || {
	tail -n 30 "$console" >&2
	die "the measurement failed"
}
"$TOP/scripts/check-log.sh" "$console" || die "the guest's log is not clean"

echo "Thousands of instructions per operation, C and Rust, and Rust / C"
echo "(lowest to highest of $PAIRS pairs). Client and system call included."
echo "Linux $("${KMAKE[@]}" -s -C "$kdir" kernelrelease), $("$RUSTC" --version | cut -d' ' -f1,2), clang $LLVM_MAJOR, one CPU."
echo
awk '
$1 == "FIGURES" {
	lang = $2 ~ /_rust$/ ? "rust" : "c"; pair = $3; n = $4
	if (!(n in seen)) { seen[n] = 1; sizes[++count] = n }
	if (pair > pairs) pairs = pair
	for (i = 1; i <= 5; i++) figure[lang, n, pair, i] = $(4 + i)
}
END {
	split("create get replace delete dump", op, " ")
	print "| policies | operation | C | Rust | Rust / C |"
	print "| --- | --- | --- | --- | --- |"
	for (s = 1; s <= count; s++) for (i = 1; i <= 5; i++) {
		n = sizes[s]; c = r = 0; low = 1e9; high = 0
		for (p = 1; p <= pairs; p++) {
			c += figure["c", n, p, i] / pairs; r += figure["rust", n, p, i] / pairs
			ratio = figure["rust", n, p, i] / figure["c", n, p, i]
			if (ratio < low) low = ratio
			if (ratio > high) high = ratio
		}
		printf "| %d | %s | %.1f | %.1f | %.3f to %.3f |\n", n,
			op[i] (i == 5 ? ", per policy" : ""), c / 1000, r / 1000, low, high
	}
}' "$console"
