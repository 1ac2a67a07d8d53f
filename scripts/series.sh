#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# make series: writes the module as patches for the kernel tree: the abstractions one by
# one, placed where the kernel crate has its own, then the module, the YNL spec, the
# selftests, and an entry in MAINTAINERS. They are to be applied with "git am
# --empty=drop" (what is dropped is the cover letter), and are generated from this
# project's sources by the programs in scripts/series/.
#
# usage: series.sh DIRECTORY     the patches, with a cover letter
#        series.sh --into TREE   the files as they are with all patches, into a kernel
#                                source tree
#        series.sh --repository DIRECTORY   a git repository with a commit for each
#
# They are for the kernel source in KSRC=, or for the one that kernel.sh fetches. The
# author, who signs off and maintains, is the one that git knows, or AUTHOR="N <a@b>".
# SUBJECT_PREFIX="PATCH nf-next v2" is what their subjects begin with.

. "$(dirname "$0")/lib.sh"
. "$TOP/scripts/tools.sh"
. "$TOP/scripts/series/install.sh"

into='' keep=''
case ${1:-} in
--into) into=$2 && shift ;;
--repository) keep=$2 && shift ;;
esac
[ $# -eq 1 ] || die "usage: series.sh [--into | --repository] DIRECTORY"
out=$1
need_commands git:git python3:python3
need_rustc
need_rust_linters
source=$("$TOP/scripts/kernel.sh" --source) || exit
series_fits "$source" || die "the series is for Linux 7.3, and the source in $source is of another version"

author() {
	local name email
	if [ -n "${AUTHOR:-}" ]; then
		echo "$AUTHOR"
	elif name=$(git -C "$TOP" config user.name) && email=$(git -C "$TOP" config user.email); then
		echo "$name <$email>"
	else
		say "note: git knows no user here, so the patches are the package maintainer's; AUTHOR= names another"
		sed -n 's/^Maintainer: //p' "$TOP/packaging/debian/control"
	fi
}

work=$(mktemp -d) || exit
trap 'rm -rf "$work"' EXIT
repository=$work/repository
mkdir "$repository"
author=$(author)
# What git is configured to do is no business of these commits.
git() { env GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1 git "$@"; }
export -f git
GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1 PYTHONDONTWRITEBYTECODE=1 \
	python3 "$TOP/scripts/series/series.py" "$TOP" "$source" "$repository" "$RUSTFMT" "$author" ||
	die "the series cannot be made for the kernel in $source"

if [ -n "$into" ]; then
	install_files "$repository" "$source" "$into"
	exit
elif [ -n "$keep" ]; then
	rm -rf "$keep" && mv "$repository" "$keep"
	exit
fi

mkdir -p "$out"
rm -f "$out"/[0-9][0-9][0-9][0-9]-*.patch
git -C "$repository" config branch.series.description "$(cat "$TOP/scripts/series/cover.txt"
	printf '\nBased on Linux %s.\n' "$(make -s -C "$source" kernelversion)")"
git -C "$repository" -c "user.name=${author% <*}" -c "user.email=$(sed 's/.*<\(.*\)>/\1/' <<<"$author")" \
	format-patch -q --subject-prefix="${SUBJECT_PREFIX:-PATCH}" --cover-letter --cover-from-description=subject -o "$(realpath "$out")" base..series ||
	die "git format-patch failed"
say "$(find "$out" -name '*.patch' | wc -l) files in $out; to apply them in a kernel tree: git am --empty=drop $(realpath "$out")/*.patch"
