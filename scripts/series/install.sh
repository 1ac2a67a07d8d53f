# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Puts the files of a patched repository into a kernel source tree. Only files that
# differ are replaced, so that an incremental build stays one; they are replaced and
# not written to, because the tree may be a copy made of hard links.
#
# install_files REPOSITORY SOURCE TREE: SOURCE is the unpatched kernel. A file that an
# earlier call has put into TREE and that REPOSITORY does not have is removed, or
# restored to what SOURCE has.
install_files() {
	local repository=$1 source=$2 tree=$3 file from mode
	{
		git -C "$repository" ls-files
		[ ! -f "$tree/.series" ] || cat "$tree/.series"
	} | sort -u | while read -r file; do
		for from in "$repository/$file" "$source/$file" ''; do
			[ ! -f "$from" ] || break
		done
		if [ -z "$from" ]; then
			rm -f "$tree/$file"
			continue
		fi
		mode=644
		[ ! -x "$from" ] || mode=755
		if ! cmp -s "$from" "$tree/$file" || [ "$(stat -c %a "$tree/$file")" != "$mode" ]; then
			rm -f "$tree/$file"
			install -D -m "$mode" "$from" "$tree/$file" || return
		fi
	done
	git -C "$repository" ls-files >"$tree/.series.new" && mv "$tree/.series.new" "$tree/.series"
}
