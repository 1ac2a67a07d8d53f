# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Checks of the module as a part of the kernel tree that need no kernel build. To be sourced
# after scripts/lib.sh, scripts/tools.sh and ktap.sh.

# Exceptions from checkpatch --strict, by patch:
# MISSING_SIGN_OFF: the person who sends the patches signs them off.
# FILE_PATH_CHANGES: the entry in MAINTAINERS is in the first patch, and has all files.
# PARENTHESIS_ALIGNMENT, OPEN_ENDED_LINE: tracepoints are declared like this everywhere.
# REPEATED_WORD: "udp udp" and "tracefs tracefs" are arguments of commands.
declare -A CHECKPATCH_IGNORE=(
	[all]=MISSING_SIGN_OFF,FILE_PATH_CHANGES
	[06-trace]=PARENTHESIS_ALIGNMENT,OPEN_ENDED_LINE
	[10-selftests]=REPEATED_WORD
)

# series TOP ARG...: series.sh of the project in TOP, with everything that it asks for
series() {
	env AUTHOR="Ann Author <ann@example.org>" SUBJECT_PREFIX="RFC PATCH nf-next" \
		BASE=0123456789abcdef0123456789abcdef01234567 KSRC="$series_source" "${series_env[@]}" "$1/scripts/series.sh" "${@:2}"
}
series_env=()

# series_write WORK: writes the patches and the addresses
series_write() { series "$TOP" "$1/patches" >"$1/addresses"; }

# addresses_of WORK PATTERN: those that series.sh prints for a patch
addresses_of() { sed -n "/^$2/{n;p;n;p}" "$1/addresses" | sed 's/^..: //; s/, /\n/g' | sort; }

# maintainers_of WORK PATTERN: those that get_maintainer.pl prints, but for the author
maintainers_of() {
	(cd "$series_source" && perl scripts/get_maintainer.pl --nogit --nogit-fallback --no-rolestats \
		--mpath "$1/applied/MAINTAINERS" "$1"/patches/$2*) | grep -v '^Ann Author' | sort
}

# series_git ARG...: git, whatever it is configured to do
series_git() {
	env GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1 \
		git -c user.name=tests -c user.email=tests@localhost "$@"
}

# series_apply PATCH_DIR TREE: makes a git repository of the tree, in which git am applies the
# patches
series_apply() {
	series_git -C "$2" init -q -b series &&
		series_git -C "$2" add -A -f &&
		series_git -C "$2" commit -q -m "the kernel as it is" &&
		series_git -C "$2" tag base &&
		series_git -C "$2" am -q --empty=drop "$1"/*.patch
}

# series_files TREE: modes and names
series_files() { (cd "$1" && find . -path ./.git -prune -o -type f -printf '%m %P\n' | sort -k 2); }

# series_config: kselftest merges the options of several directories
series_config() {
	cat "$work/into/tools/testing/selftests/net/netfilter/cttimeout_rust/config" \
		"$series_source/tools/testing/selftests/net/netfilter/config" | sort -u | cut -d = -f 1 | uniq -d
}

# check_checkpatch PATCH: outside of any git repository, because checkpatch would look for the
# kernel's history there
check_checkpatch() {
	local patch=$1 name=${1##*/} ignore=${CHECKPATCH_IGNORE[all]} number
	for number in "${!CHECKPATCH_IGNORE[@]}"; do
		[[ $name != 00${number%%-*}-* ]] || ignore+=,${CHECKPATCH_IGNORE[$number]}
	done
	check "series: checkpatch --strict: $name" sh -c 'cd "$1" && exec perl "$2/scripts/checkpatch.pl" \
		--strict --root="$2" --quiet --show-types --ignore "$3" "$4"' \
		sh "${patch%/*}" "$series_source" "$ignore" "$patch"
}

# check_spec SPEC: as "make lint schema_check" in tools/net/ynl does
check_spec() {
	need_commands yamllint:yamllint
	need_files /usr/lib/python3/dist-packages/jsonschema:python3-jsonschema
	check "series: yamllint has nothing to say of the specification" yamllint -s "$1"
	check "series: the specification fits the kernel's schema" /usr/bin/python3 -B "$series_source/tools/net/ynl/pyynl/cli.py" \
		--spec "$1" --schema "$series_source/Documentation/netlink/netlink-raw.yaml" --validate
	check_eq "series: the specification is of the interface, whatever implements it" "$(grep -in rust "$1")" ""
}

# check_series SOURCE WORK: leaves WORK/patches, and WORK/applied, a repository of the files
# of the kernel that the patches add or change
check_series() {
	local series_source=$1 work=$2 patch project=$2/project list
	need_commands git:git perl:perl patch:patch
	mkdir "$work/tree"
	(cd "$series_source" && cp --parents net/netfilter/nfnetlink.c \
		$(sed -n 's,^--- a/,,p' "$TOP"/scripts/series/*.diff | sort -u) "$work/tree")
	cp -r "$work/tree" "$work/applied"
	cp -al "$work/tree" "$work/into"
	cp -a "$work/tree" "$work/before"

	check "series: the patches can be written" series_write "$work"
	[ -d "$work/patches" ] || return
	check "series: git am applies them" series_apply "$work/patches" "$work/applied"
	check_eq "series: there are at most ten patches" \
		"$(series_git -C "$work/applied" rev-list --count base..series | sed 's/^[1-9]$/10/')" 10
	check "series: the cover letter is complete" sh -c '! grep -F "***" "$1"' sh "$work/patches/0000-cover-letter.patch"
	check_eq "series: the cover letter has all figures" "$(grep -E '@.*@' "$work/patches/0000-cover-letter.patch")" ""
	check_eq "series: the cover letter names the base" \
		"$(sed -n 's/^base-commit: //p' "$work"/patches/*)" 0123456789abcdef0123456789abcdef01234567
	check_eq "series: a patch goes to everybody that get_maintainer.pl names" \
		"$(addresses_of "$work" 0009)" "$(maintainers_of "$work" 0009)"
	check_eq "series: no patch is signed off by the script" "$(grep -l '^Signed-off-by:' "$work"/patches/*)" ""
	for patch in "$work"/patches/*; do
		[[ $patch = */0000-* ]] || check_checkpatch "$patch"
	done

	check_spec "$work/applied/Documentation/netlink/specs/cttimeout.yaml"

	check "series: --into puts the files into a tree" series "$TOP" --into "$work/into"
	check "series: the patches and --into give the same files" diff -r -x .git "$work/applied" "$work/into"
	check_eq "series: the patches and --into give the same modes" \
		"$(series_files "$work/applied")" "$(series_files "$work/into")"
	touch "$work/into/net/netfilter/cttimeout_rust/src/old.rs"
	touch -d yesterday "$work/into/net/netfilter/"{Kconfig,cttimeout_rust/Kbuild}
	check "series: --into can be repeated, with another author" \
		env AUTHOR="Bob <bob@example.org>" "$TOP/scripts/series.sh" --into "$work/into"
	check "series: the repetition changes no file, and removes an old one" diff -r -x .git "$work/applied" "$work/into"
	check_eq "series: the repetition writes no file" \
		"$(find "$work/into/net/netfilter/"{Kconfig,cttimeout_rust/Kbuild} -newermt '12 hours ago')" ""
	check_eq "series: the options of the selftests contradict none of net/netfilter" "$(series_config)" ""
	check "series: --remove takes them out" series "$TOP" --remove "$work/into"
	check "series: --remove can be repeated" series "$TOP" --remove "$work/into"
	find "$work/into" -type d -empty -delete
	check "series: --remove leaves the tree as it was" diff -r "$work/before" "$work/into"
	check "series: a copy made of hard links leaves the original as it is" diff -r "$work/before" "$work/tree"

	mkdir "$project"
	(cd "$TOP" && cp -r Kbuild Kconfig include src scripts docs Documentation tests "$project")
	list=$project/scripts/series/list
	touch "$project/src/stray.rs"
	check_fails "series: a file in no patch is an error" "no patch adds src/stray.rs" series "$project" "$work/none"
	rm "$project/src/stray.rs"
	echo "module Kbuild" >>"$list"
	check_fails "series: a file in two patches is an error" "cttimeout_rust/Kbuild: 01-" series "$project" "$work/none"
	cp "$TOP/scripts/series/list" "$list"
	echo "module src/none.rs" >>"$list"
	check_fails "series: a pattern without a file is an error" "no file matches src/none.rs" series "$project" "$work/none"
	cp "$TOP/scripts/series/list" "$list"
	sed -i 's/^\(@@ .*\),15 @@/\1,14 @@/; /^+F:.*yaml/d' "$project/scripts/series/01-skeleton.diff"
	check_fails "series: a patch that would not reach the netfilter list is an error" \
		"would not reach the netfilter list" series "$project" "$work/none"
	sed -i '/^| code |/d' "$project/docs/BENCH.md"
	check_fails "series: a figure that docs/BENCH.md lacks is an error" '"code | C" is not in docs/BENCH.md' \
		series "$project" "$work/none"
	printf '\n|  | C | Rust |\n| code | 1 | 2 |\n| code | 3 | 4 |\n' >>"$project/docs/BENCH.md"
	check_fails "series: a figure that docs/BENCH.md has twice is an error" '"code | C" is ambiguous' \
		series "$project" "$work/none"
	local series_env
	series_env=(AUTHOR=)
	check_fails "series: AUTHOR= is required" 'AUTHOR="NAME <ADDRESS>"' series "$TOP" "$work/none"
	series_env=(SUBJECT_PREFIX="PATCH v2")
	check_fails "series: a tree is required in SUBJECT_PREFIX=" "and the tree" series "$TOP" "$work/none"
	series_env=(BASE=)
	check_fails "series: BASE= is required" "BASE= has to be" series "$TOP" "$work/none"
	check_eq "series: an error leaves no patches" "$(compgen -G "$work/none/*")" ""
}
