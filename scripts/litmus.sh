#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Runs the litmus tests by the kernel's memory model, and prints KTAP: each test as it
# is, and weakened in each way that its "Weak:" lines say. The one must have the verdict
# of its "Result:" line; in the other, herd7 must find the bad outcome.
#
# usage: litmus.sh [TEST...]   (e.g. retire; all otherwise)
#
# KSRC=DIR   the kernel source whose model it is; Debian's otherwise
#
# herd7 is the machine's own, or Debian's: if its release has none that is new enough,
# that of a later one, which is kept in the cache with the libraries that it needs.

. "$(dirname "$0")/lib.sh"
. "$TOP/scripts/tools.sh"
. "$TOP/scripts/apt.sh"
. "$TOP/tests/lib/ktap.sh"

src=$("$TOP/scripts/kernel.sh" --source) || exit
model=$src/tools/memory-model
min=$(sed -n 's/^Version \([0-9.]*\) or higher of the "herd7".*/\1/p' "$model/README") && [ -n "$min" ] ||
	die "$model/README does not say which herd7 it is for"
work=$(mktemp -d) || exit
trap 'rm -rf "$work"' EXIT

# cached_herd: the directory of the newest one that was fetched and will do
cached_herd() {
	local dir
	for dir in $(printf '%s\n' "$CACHE"/tools/herdtools7-* | sort -rV); do
		[ -d "$dir" ] && version_ge "${dir##*herdtools7-}" "$min" && echo "$dir" && return
	done
	return 1
}

fetch_herd() (
	! cached_herd || exit 0
	have dpkg-deb && have apt-get || die "please install herd7, version $min or later"
	private_apt_init "$work/apt" forky sid && cd "$work" && private_apt "$work/apt" apt-get update &&
		private_apt "$work/apt" apt-get download herdtools7 libc6 libgmp10 || exit
	version=$(dpkg-deb -f herdtools7_*.deb Version) && version_ge "$version" "$min" ||
		die "neither forky nor sid has herd7, version $min or later"
	for deb in *.deb; do
		dpkg-deb --fsys-tarfile "$deb" | tar -x --one-top-level=root --exclude='./usr/share/doc' \
			--wildcards --exclude='./usr/bin/[!h]*' --exclude='./usr/lib/*/gconv' || exit
	done
	mkdir -p "$CACHE/tools" && mv -T root "$CACHE/tools/herdtools7-$version"
)

if have herd7 || version_ge "$(apt_candidate herdtools7)" "$min"; then
	need_commands herd7:herdtools7
fi
herd=(herd7)
if ! have herd7 || ! version_ge "$(herd7 -version | cut -d, -f1)" "$min"; then
	cached_herd >/dev/null || with_lock herd step "fetching herdtools7" "41 MB" "$CACHE/logs/herd.log" fetch_herd
	root=$(cached_herd) || exit
	lib=$(echo "$root"/usr/lib/*-linux-*)
	herd=("$lib"/ld-linux*.so.? --library-path "$lib" "$root/usr/bin/herd7" -set-libdir "$root/usr/share/herdtools7/herd")
fi

# verdict FILE: Never, Sometimes or Always; with what else the model objects to
verdict() {
	(cd "$model" && "${herd[@]}" -conf linux-kernel.cfg "$1" 2>&1) >"$work/out"
	grep -q '^Observation' "$work/out" || { cat "$work/out" && return; }
	echo "$(sed -n 's/^Observation [^ ]* \([^ ]*\) .*/\1/p' "$work/out")$(sed -n 's/^Flag / /p' "$work/out")"
}

# weaken FILE OLD NEW: the test with one place changed, outside of its comment
weaken() {
	local text=$(<"$1")
	local code=${text#*\*)}
	[[ $code == *"$2"* ]] && printf '%s\n' "${text%%\*)*}*)${code/"$2"/"$3"}"
}

cd "$TOP" || exit
for test in "${@:-"*"}"; do
	for file in tests/litmus/$test.litmus; do
		name=$(basename "$file" .litmus)
		check_eq "$name" "$(verdict "$TOP/$file")" "$(sed -n 's/^ \* Result: //p' "$file")"
		weak=0
		while read -r old && read -r new; do
			weak=$((weak + 1)) result="'$old' is not in it"
			! weaken "$file" "$old" "$new" >"$work/weak.litmus" || result=$(verdict "$work/weak.litmus")
			check_eq "$name, weakened: $new" "${result/#Sometimes*/Sometimes}" Sometimes
		done < <(sed -n 's/^ \* Weak: //p; s/^ \*    => //p' "$file")
		[ "$weak" -gt 0 ] || fail "$name can fail"
	done
done
# A comment "Litmus: TEST, ..." in a function names the tests that stand for it.
check "the functions and the tests name each other" diff <(cd src && find . -name '*.rs' -exec awk '
	match($0, /fn [a-z_0-9]+/) { fn = substr($0, RSTART + 3, RLENGTH - 3) }
	sub(/.*\/\/ Litmus: /, "") { for (n = split($0, t, ", "); n; n--) print substr(FILENAME, 3) ":" fn, t[n] }
	' {} + | sort -u) <(cd tests/litmus && awk '
	/^ \* Functions: / { for (i = 3; i <= NF; i++) print $i, substr(FILENAME, 1, length(FILENAME) - 7) }
	' *.litmus | sort -u)
finish
