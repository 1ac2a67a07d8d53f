#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# make deb: makes the Debian packages nfnetlink-cttimeout-rust-dkms and cttimeout-persistent,
# and their source package, and prints their directory.
#
# usage: deb.sh

. "$(dirname "$0")/lib.sh"
. "$TOP/scripts/tools.sh"

need_commands dpkg-buildpackage:dpkg-dev perl:perl
out=$CACHE/deb
tree=$out/nfnetlink-cttimeout-rust
# In a copy, because the package needs debian/ at the top, and this project has it elsewhere.
rm -rf "$out"
mkdir -p "$tree"
cd "$TOP" || exit
cp -r Kbuild Kconfig Makefile LICENSE ./*.md Documentation docs include packaging scripts src \
	tests .rustfmt.toml "$tree" || exit
cp -r packaging/debian "$tree/debian"
# A package has to name a maintainer with an address. No address ends in ".invalid" (RFC 2606).
maintainer=$(grep -v '^#' packaging/maintainer)
MAINTAINER=${maintainer:-Whoever you have this package from <unknown@maintainer.invalid>} \
	perl -pi -e 's/\@MAINTAINER\@/$ENV{MAINTAINER}/' "$tree"/debian/{control,changelog,copyright} || exit
find "$tree" -name __pycache__ -prune -exec rm -r {} +
cd "$tree" || exit
dpkg-checkbuilddeps 2>/dev/null || apt_install build-essential debhelper dh-dkms
step "building the packages" "10 s" "$CACHE/logs/deb.log" dpkg-buildpackage -us -uc
echo "$out"
