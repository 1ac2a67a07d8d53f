# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Checks of the patch series that need no kernel build. To be sourced after
# scripts/lib.sh, scripts/tools.sh and ktap.sh.

# What checkpatch says without reason:
# FILE_PATH_CHANGES asks whether MAINTAINERS needs an update; the last patch is that.
# REPEATED_WORD takes arguments of commands for prose ("udp udp").
CHECKPATCH_IGNORE=FILE_PATH_CHANGES,REPEATED_WORD

# series_git ARG...: git, whatever it is configured to do
series_git() {
	env GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1 \
		git -c user.name=tests -c user.email=tests@localhost "$@"
}

# series_apply REPOSITORY PATCH_DIR NEW: a repository of the kernel's files as they were,
# to which the patches are applied by git am
series_apply() {
	rm -rf "$3" && mkdir "$3" &&
		git -C "$1" archive base | tar -x -C "$3" &&
		series_git -C "$3" init -q -b clean &&
		series_git -C "$3" add -A &&
		series_git -C "$3" commit -q -m "the kernel as it is" &&
		series_git -C "$3" tag base &&
		series_git -C "$3" am -q --empty=drop "$2"/*.patch
}

# series_rustfmt DIRECTORY: all Rust files in it are as rustfmt would have them
series_rustfmt() {
	local file
	find "$1" -name '*.rs' | while read -r file; do
		"$RUSTFMT" --edition 2021 --check --color never <"$file" || return
	done
}

# check_series SOURCE WORK: makes the series and applies it; leaves WORK/patches and
# WORK/applied
check_series() {
	local source=$1 work=$2 patch
	need_commands git:git perl:perl
	check "the series can be made" env KSRC="$source" "$TOP/scripts/series.sh" "$work/patches"
	check "and as a repository" env KSRC="$source" "$TOP/scripts/series.sh" --repository "$work/made"
	[ -d "$work/made" ] || return
	check "git am applies it to the kernel as it is" \
		series_apply "$work/made" "$work/patches" "$work/applied"
	check_eq "what comes of that is what was meant" \
		"$(git -C "$work/applied" rev-parse 'HEAD^{tree}')" \
		"$(git -C "$work/made" rev-parse 'HEAD^{tree}')"
	check "the cover letter is complete" sh -c '! grep -F "***" "$1"' sh "$work/patches/0000-cover-letter.patch"
	check_eq "and knows how many patches there are" \
		"$(sed -n 's/.* \([0-9]*\) the entry in MAINTAINERS.*/\1/p' "$work/patches/0000-cover-letter.patch")" \
		"$(git -C "$work/made" rev-list --count base..series)"
	for patch in "$work"/patches/*.patch; do
		[[ $patch != */0000-* ]] || continue
		# (Outside of any git repository: it would look for the kernel's history there.)
		check "checkpatch: ${patch##*/}" sh -c 'cd "$1" && exec perl "$2/scripts/checkpatch.pl" \
			--root="$2" --quiet --show-types --ignore "$3" "$4"' \
			sh "$work/patches" "$source" "$CHECKPATCH_IGNORE" "$patch"
	done
	check "rustfmt has nothing to change in it" series_rustfmt "$work/applied"
}
