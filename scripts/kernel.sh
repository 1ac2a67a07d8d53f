#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Gets a kernel to build and test the module with, and prints its build directory.
#
# usage: kernel.sh [plain|debug|builtin|bench|uml|s390x|arm64|--source]
#
# "builtin" is the kernel with the files that series.sh puts into it, and has the module
# linked in; "uml" is user-mode Linux, a kernel that runs as a process of the host;
# s390x and arm64 are for those architectures.
# With --source, prints the directory of the source instead.
#
# KDIR=DIR   a finished build: nothing is done but to check it
# KSRC=DIR   a source tree: it is configured and built, outside of itself
# otherwise  the source package of Linux $KVERSION (7.3) is fetched from Debian
#
# The cache directory keeps sources and builds, by the source's version, the tools and the
# configuration. Two builds do not disturb each other.

. "$(dirname "$0")/lib.sh"
. "$TOP/scripts/tools.sh"
. "$TOP/scripts/apt.sh"

flavour=${1:-plain}
KVERSION=${KVERSION:-7.3}
SUITES=${SUITES:-trixie-backports forky sid}

# The other suites are read even if one is gone.
read_lists() {
	# shellcheck disable=SC2086
	private_apt_init "$CACHE/apt" $SUITES
	private_apt "$CACHE/apt" apt-get update -o APT::Update::Error-Mode=any || true
}

source_version() {
	private_apt "$CACHE/apt" apt-cache policy "linux-source-$KVERSION" 2>/dev/null |
		sed -n 's/^ *Candidate: *\([0-9].*\)/\1/p' | grep .
}

# Prints the directory of the unpacked source.
fetch_source() {
	local version dir tmp INSTEAD="set KSRC= to a kernel source tree"
	have dpkg-deb && have apt-get || die "this is no Debian system; $INSTEAD"
	# Lists are read again after a day.
	if [ ! -f "$CACHE/apt/fresh" ] || [ -n "$(find "$CACHE/apt/fresh" -mmin +1440)" ] || ! source_version >/dev/null; then
		step "reading Debian's kernel package lists" "15 s" "$CACHE/logs/lists.log" read_lists
		touch "$CACHE/apt/fresh"
	fi
	version=$(source_version) ||
		die "fetching linux-source-$KVERSION failed: no suite of $SUITES has it ($(reason "$CACHE/logs/lists.log")); $INSTEAD, then run the command again"
	dir=$CACHE/src/linux-$version
	if [ ! -d "$dir" ]; then
		tmp=$(mktemp -d "$CACHE/src.XXXXXX")
		(cd "$tmp" && step "fetching linux-source-$KVERSION $version" "170 MB" "$CACHE/logs/fetch.log" \
			private_apt "$CACHE/apt" apt-get download "linux-source-$KVERSION=$version") || exit
		step "unpacking linux-source-$KVERSION $version" "20 s" "$CACHE/logs/unpack.log" sh -c '
			cd "$1" && dpkg-deb -x *.deb . && rm *.deb && mkdir tree &&
			tar -C tree --strip-components=1 -xf usr/src/linux-source-*.tar.*' sh "$tmp"
		mkdir -p "$CACHE/src"
		mv -T "$tmp/tree" "$dir"
		rm -rf "$tmp"
	fi
	echo "$dir"
}

# check_config FRAGMENT CONFIG: each line of the fragment must have taken effect. (Kconfig
# silently drops a symbol with an unmet dependency.)
check_config() {
	local line bad=0
	while read -r line; do
		case $line in
		CONFIG_*=n) grep -q "^${line%=n}=" "$2" || continue ;;
		CONFIG_*) ! grep -qxF -- "$line" "$2" || continue ;;
		*) continue ;;
		esac
		say "error: $line did not take effect; it is: $(grep -E "^(# )?${line%%=*}[= ]" "$2" || echo absent)"
		bad=1
	done <"$1"
	return $bad
}

build() {
	local src=$1 out=$2
	local fragment=$out/fragment.config ineffective
	# A source that may have changed is built again.
	if [ -f "$out/complete" ] && [ -z "${KSRC:-}" ] && [ "$flavour" != builtin ]; then
		return
	fi
	mkdir -p "$out"
	rm -f "$out/complete"
	fragment_text >"$fragment"
	step "configuring the $flavour kernel" "20 s" "$out/configure.log" \
		env KCONFIG_ALLCONFIG="$fragment" "${KMAKE[@]}" -C "$src" O="$out" allnoconfig
	grep -q '^CONFIG_RUST_IS_AVAILABLE=y' "$out/.config" || {
		INSTEAD="name others with RUSTC= and BINDGEN=" step "trying the Rust tools" "1 s" "$out/rust.log" \
			"${KMAKE[@]}" -C "$src" O="$out" rustavailable
		die "configuring the $flavour kernel failed: it has no Rust; set KSRC= to another source, then run the command again"
	}
	ineffective=$(check_config "$fragment" "$out/.config" 2>&1) || {
		say "$ineffective"
		die "configuring the $flavour kernel failed: ${ineffective##*error: }; set KSRC= to another source, then run the command again"
	}
	# Warnings matter in the patch series and in KSRC=, not in a released kernel. Without them,
	# a build is an eighth shorter.
	[ "$flavour" = builtin ] || [ -n "${KSRC:-}" ] || KMAKE+=(KCFLAGS=-w)
	step "building the $flavour kernel $("${KMAKE[@]}" -s -C "$src" O="$out" kernelrelease)" \
		"$estimate on 2 cores" "$out/build.log" \
		"${KMAKE[@]}" -C "$src" O="$out" -j "$JOBS" all
	touch "$out/complete"
}

# Prints the directory of a copy of the source that has the module in it, as the patch series
# would put it there.
changed_source() {
	local copy=$CACHE/src/$(basename "$1")-intree tmp
	if [ ! -d "$copy" ]; then
		tmp=$(mktemp -d "$CACHE/src.XXXXXX")
		step "copying the kernel source" "10 s" "$CACHE/logs/copy.log" \
			sh -c 'cp -al "$1" "$2/tree" || { rm -rf "$2/tree" && cp -a "$1" "$2/tree"; }' \
			sh "$1" "$tmp"
		mv -T "$tmp/tree" "$copy"
		rmdir "$tmp"
	fi
	"$TOP/scripts/series.sh" --into "$copy" || exit
	echo "$copy"
}

# Prints the directory of the source, as it is.
get_source() {
	if [ -n "${KSRC:-}" ]; then
		[ -f "$KSRC/rust/kernel/lib.rs" ] || die "KSRC=$KSRC is no kernel source tree with Rust"
		realpath "$KSRC"
	else
		with_lock source fetch_source
	fi
}

# The options of the kernel
fragment_text() {
	local config=$TOP/scripts/config
	case $flavour in
	uml) ;;
	s390x | arm64)
		grep -vxE "($(grep '^CONFIG_' "$config/pc-only" | paste -sd '|'))=." "$config/base.config"
		cat "$config/foreign.config"
		;;
	*) cat "$config/base.config" ;;
	esac
	cat "$config/$flavour.config"
}

# key SOURCE: a hash of everything that the result depends on
key() {
	{
		echo "$1"
		[ -n "${KSRC:-}" ] || basename "$1"
		"$RUSTC" -vV
		"clang-$LLVM_MAJOR" --version
		"$BINDGEN" --version
		fragment_text
	} | sha256sum | cut -c1-16
}

# Each of the other architectures has one kernel, of the same name.
case ${ARCH:-}:$flavour in
:* | *:--* | s390x:s390x | arm64:arm64) ;;
*:plain) flavour=$ARCH ;;
*) die "for $ARCH, there is a plain kernel only" ;;
esac

case $flavour in
--source)
	get_source
	exit
	;;
--check-config)
	check_config "$2" "$3"
	exit
	;;
plain | builtin | bench) estimate="8 to 20 min" ;;
debug) estimate="11 to 25 min" ;;
s390x | arm64) estimate="8 to 20 min" ;;
uml) estimate="6 to 12 min" ;;
*) die "usage: kernel.sh [plain|debug|builtin|bench|uml|s390x|arm64]" ;;
esac

if [ -n "${KDIR:-}" ]; then
	[ -f "$KDIR/rust/libkernel.rmeta" ] ||
		die "KDIR=$KDIR holds no kernel built with CONFIG_RUST=y (there is no rust/libkernel.rmeta)"
	[ "$(arch_of "$KDIR")" = "${ARCH:-}" ] ||
		die "the kernel at KDIR=$KDIR is not for ${ARCH:-the PC}; see ARCH="
	realpath "$KDIR"
	exit
fi

case $flavour in
s390x | arm64) need_build_tools "$flavour" ;;
*) need_build_tools ;;
esac
[ "$flavour" != uml ] || KMAKE+=(ARCH=um)
src=$(get_source) || exit
if [ "$flavour" = builtin ]; then
	src=$(with_lock changed-source changed_source "$src") || exit
fi
out=$CACHE/build/$flavour-$(key "$src")
with_lock "build-$(basename "$out")" build "$src" "$out" || exit
echo "$out"
