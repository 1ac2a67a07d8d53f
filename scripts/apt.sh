# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# A second apt beside the machine's, with other suites or another architecture, and with a
# state of its own. It fetches from the machine's mirror. To be sourced after lib.sh.

# The mirror of the Debian archive that this machine itself uses.
debian_mirror() {
	{
		sed -n 's/^URIs: *//p' /etc/apt/sources.list.d/*.sources
		sed -n 's/^deb \(\[[^]]*\] \)\{0,1\}\([^ ]*\).*/\2/p' \
			/etc/apt/sources.list /etc/apt/sources.list.d/*.list
	} 2>/dev/null | tr ' ' '\n' | grep -m 1 '/debian/*$'
}

debian_keyring() {
	local keyring
	for keyring in /usr/share/keyrings/debian-archive-keyring.{gpg,pgp}; do
		[ ! -f "$keyring" ] || { echo "$keyring"; return; }
	done
	return 1
}

# private_apt_init DIR SUITE...: prepares DIR for private_apt
private_apt_init() {
	local dir=$1 mirror keyring suite
	shift
	mirror=$(debian_mirror) || die "found no Debian mirror in this machine's apt sources"
	keyring=$(debian_keyring) || die "please install debian-archive-keyring"
	mkdir -p "$dir/lists/partial" "$dir/cache/archives/partial"
	: >"$dir/status"
	for suite in "$@"; do
		echo "deb [signed-by=$keyring] $mirror $suite main"
	done >"$dir/sources.list"
}

# private_apt DIR TOOL ARG...: runs apt-get or apt-cache
private_apt() {
	local dir=$1 tool=$2
	shift 2
	"$tool" -o Dir::Etc::SourceList="$dir/sources.list" -o Dir::Etc::SourceParts=/dev/null \
		-o Dir::State::Lists="$dir/lists" -o Dir::State::status="$dir/status" \
		-o Dir::Cache="$dir/cache" -o APT::Sandbox::User="" \
		-o Acquire::Languages=none "$@"
}
