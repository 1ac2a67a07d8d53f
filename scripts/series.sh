#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The module as a part of the kernel tree. The list in scripts/series/ says which patch adds
# which files. Beside it, NAME.txt is the message of the patch NAME, and NAME.diff has its
# changes to files of the kernel. The files of the project are copied as they are.
#
# usage: series.sh DIRECTORY      writes the patches, with a cover letter, into DIRECTORY, and
#                                 prints the addresses that each is to be sent to
#        series.sh --into TREE    puts the files of all patches into a kernel source tree
#        series.sh --remove TREE  takes them out of it
#
# The patches are for the kernel source in KSRC=, or for the one that kernel.sh fetches.
# They need three more settings:
#   AUTHOR="NAME <ADDRESS>"              the author of the patches, and maintainer
#   SUBJECT_PREFIX="RFC PATCH nf-next"   with the name of the tree
#   BASE=COMMIT                          the commit that KSRC= is of; not needed for a checkout
# No patch is signed off. "Signed-off-by:", "Assisted-by:" and other tags belong at the end of
# NAME.txt, and a changelog belongs below them, after a line "---". The cover letter, cover.txt,
# gets its figures from docs/BENCH.md (see figures.awk). A line "FILL IN" is left to a person.

. "$(dirname "$0")/lib.sh"
shopt -s extglob

here=$TOP/scripts/series
module=net/netfilter/cttimeout_rust
selftests=tools/testing/selftests/$module
entry="NETFILTER CONNTRACK TIMEOUT POLICIES [RUST]"
nobody="Your Name <you@example.org>"
patches=() targets=()
declare -A from mode_of patch_of used

# add_files DIRECTORY PATTERN...: to the last patch. "./" stands for the file's own
# directory, below that of the module.
add_files() {
	local directory=$1 pattern file target files mode
	shift
	for pattern in "$@"; do
		mapfile -t files < <(compgen -G "$pattern" | sort)
		[ ${#files[@]} -gt 0 ] || die "no file matches $pattern, in the patch ${patches[-1]}"
		for file in "${files[@]}"; do
			target=$directory/${file##*/}
			[ "$directory" != . ] || target=$module/$file
			[ -z "${from[$target]:-}" ] || die "two patches add $target: ${patch_of[$target]} and ${patches[-1]}"
			mode=644
			[ "$verb" = plain ] || [ ! -x "$file" ] || mode=755
			targets+=("$target") mode_of[$target]=$mode from[$target]=$file patch_of[$target]=${patches[-1]} used[$file]=y
		done
	done
}

read_list() {
	local verb words file
	while read -r verb words; do
		read -r -a words <<<"$words"
		case $verb in
		'' | '#'*) ;;
		patch) patches+=("${words[0]}") ;;
		module) add_files . "${words[@]}" ;;
		copy | plain) add_files "${words[@]}" ;;
		*) die "$here/list: $verb is none of patch, module, copy and plain" ;;
		esac
	done <"$here/list"
	for file in Kbuild Kconfig $(find include src -name '*.[ch]' -o -name '*.rs'); do
		[ -n "${used[$file]:-}" ] || die "no patch adds $file; see scripts/series/list"
	done
}

# change TREE PATCH [-R]: changes the kernel's files as the patch does, or undoes that.
# Nothing happens if it is done already.
change() {
	local diff=$here/$2.diff do=(patch -d "$1" -p1 -s -f --no-backup-if-mismatch -r -) present=''
	[ -f "$diff" ] || return 0
	diff=$(sed "s/@AUTHOR@/${AUTHOR//\//\\/}/" "$diff")
	! "${do[@]}" -R --dry-run <<<"$diff" >/dev/null 2>&1 || present=y
	case $present${3:-} in
	y-R) "${do[@]}" -R <<<"$diff" ;;
	-R) "${do[@]}" --dry-run <<<"$diff" ;;
	'') "${do[@]}" <<<"$diff" ;;
	esac
}

# put TREE PATCH: the patch's files. Only files that differ are replaced, so that an
# incremental build stays one. None is written to: TREE may be a copy made of hard links.
put() {
	local target mode
	for target in "${targets[@]}"; do
		[ "${patch_of[$target]}" = "$2" ] || continue
		mode=${mode_of[$target]}
		cmp -s "${from[$target]}" "$1/$target" && [ "$(stat -c %a "$1/$target")" = $mode ] ||
			{ rm -f "$1/$target" && install -D -p -m $mode "${from[$target]}" "$1/$target"; } || return
	done
	change "$1" "$2"
}

# need_tree TREE: sets AUTHOR to what the tree has already, if it has the module
need_tree() {
	local present
	[ -f "$1/net/netfilter/nfnetlink.c" ] && [ -f "$1/MAINTAINERS" ] || die "$1 is no kernel source tree"
	present=$(grep -xF -A 1 "$entry" "$1/MAINTAINERS" | sed -n 's/^M:\t//p')
	AUTHOR=${present:-${AUTHOR:-$nobody}}
}

into() {
	local patch file
	need_tree "$1"
	for patch in "${patches[@]}"; do
		put "$1" "$patch" || die "the patch $patch does not fit $1"
	done
	# Files of earlier versions of the project
	while read -r file; do
		[ -n "${from[${file#"$1/"}]:-}" ] || rm "$file"
	done < <(find "$1/$module" "$1/$selftests" -type f)
}

remove() {
	local patch target
	need_tree "$1"
	for patch in "${patches[@]}"; do
		change "$1" "$patch" -R || die "the changes of $patch cannot be undone in $1"
	done
	for target in "${targets[@]}"; do rm -f "$1/$target"; done
	rm -rf "${1:?}/$module" "${1:?}/$selftests"
}

# Whatever git is configured to do, these commits are all alike.
as_author() {
	env GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1 \
		git -C "$work/tree" -c user.name="${AUTHOR% <*}" -c user.email="${AUTHOR##*<}" "$@"
}

# recipients NAME PATCH...: prints the addresses; fails if the netfilter list is not among them
recipients() {
	local name=$1 all
	shift
	all=$(cd "$source" && perl scripts/get_maintainer.pl --nogit --nogit-fallback --roles --no-rolestats \
		--mpath "$work/tree/MAINTAINERS" "$@" | grep -vF "$AUTHOR") || return
	printf '%s\nTo: %s\nCc: %s\n\n' "$name" "$(grep '(maintainer:' <<<"$all" | addresses)" \
		"$(grep -v '(maintainer:' <<<"$all" | addresses)"
	[[ $all = *"netfilter-devel@vger.kernel.org ("* ]]
}

# Joins the addresses of lines such as "Name <address> (maintainer:NETFILTER)".
addresses() { sed -E 's/^(.*>|[^ ]+) \(.*/\1/' | paste -sd , | sed 's/,/, /g'; }

write_patches() {
	local out=$1 base patch cover
	[[ ${AUTHOR:-} =~ ^[^\<]+\ \<[^@\ ]+@[^@\ ]+\>$ && $AUTHOR != "$nobody" ]] ||
		die 'AUTHOR="NAME <ADDRESS>" has to name the person who sends the patches'
	[[ ${SUBJECT_PREFIX:-} =~ PATCH\ (nf|net)(-next)?( v[0-9]+)?$ ]] ||
		die 'SUBJECT_PREFIX= has to end with PATCH and the tree: "RFC PATCH nf-next", "PATCH nf-next v2"'
	source=$("$TOP/scripts/kernel.sh" --source) || exit
	base=${BASE:-$([ ! -e "$source/.git" ] || git -C "$source" rev-parse HEAD)}
	[[ $base =~ ^[0-9a-f]{40}$ ]] || die "BASE= has to be the commit that $source is of, in 40 digits"
	need_commands git:git perl:perl
	work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT || exit
	mkdir "$work/tree" "$work/patches"
	(cd "$source" && cp --parents $(sed -n 's,^--- a/,,p' "$here"/*.diff | sort -u) "$work/tree") || exit
	as_author init -q -b series && as_author add -A -f && as_author commit -q -m "the kernel as it is" &&
		as_author tag base || exit
	for patch in "${patches[@]}"; do
		put "$work/tree" "$patch" || die "the patch $patch does not fit the kernel in $source"
		as_author add -A -f && as_author commit -q --cleanup=verbatim -F "$here/$patch.txt" || exit
	done
	cover=$(awk -f "$here/figures.awk" docs/BENCH.md "$here/cover.txt") || exit
	as_author config branch.series.description "$cover"
	as_author format-patch -q --subject-prefix="$SUBJECT_PREFIX" --cover-letter \
		--cover-from-description=subject -o "$work/patches" base || die "git format-patch failed"
	sed -i "/^-- \$/i base-commit: $base\n" "$work"/patches/0000-*
	recipients "the cover letter" "$work"/patches/*[1-9]-* || exit
	for patch in "$work"/patches/*; do
		[[ $patch = */0000-* ]] || recipients "${patch##*/}" "$patch" ||
			die "${patch##*/} would not reach the netfilter list"
	done
	mkdir -p "$out" && rm -f "$out"/[0-9][0-9][0-9][0-9]-*.patch && cp "$work"/patches/* "$out" || exit
	! grep -n "FILL IN" "$out"/* >&2 || say "note: these lines wait for a person, in scripts/series/*.txt"
	say "$(find "$out" -name '*.patch' | wc -l) files in $out; to apply them in a kernel tree: git am --empty=drop $(realpath "$out")/*.patch"
}

usage="usage: series.sh [--into | --remove] DIRECTORY"
case ${1:-} in
--into | --remove) does=${1#--} && shift ;;
-*) die "$usage" ;;
*) does=write_patches ;;
esac
[ $# -eq 1 ] || die "$usage"
where=$(realpath -m "$1")
cd "$TOP" && . "$TOP/scripts/tools.sh" || exit
need_commands patch:patch
read_list
$does "$where"
