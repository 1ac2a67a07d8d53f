#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# make check-packaging: builds the Debian packages in a clean Debian, installs them there, has
# DKMS build the module for the plain kernel (or KDIR=), and boots that kernel twice with the
# installed packages. Prints KTAP. Needs root, and 3 GB of disk.
#
# The clean Debian is a directory, with the same release and the same archives as this
# machine, because the compilers must be those of the kernel. Mounts in it are in a mount
# namespace of their own.
#
# usage: check-packaging.sh

. "$(dirname "$0")/lib.sh"
. "$TOP/scripts/tools.sh"
. "$TOP/tests/lib/ktap.sh"

package=nfnetlink-cttimeout-rust
module=nfnetlink_cttimeout_rust

[ "$(id -u)" -eq 0 ] || die "please run as root, for chroot and mount"
if [ "${1:-}" != --in-namespace ]; then
	need_vm_tools
	kdir=$("$TOP/scripts/kernel.sh" plain) || exit
	need_build_tools
	need_commands debootstrap:debootstrap unshare:util-linux openssl:openssl
	export RUSTC BINDGEN LLVM_MAJOR
	mkdir -p "$CACHE/chroot"
	work=$(mktemp -d "$CACHE/chroot/packaging.XXXXXX")
	trap 'rm -rf --one-file-system "$work"' EXIT
	unshare --mount "$0" --in-namespace "$kdir" "$work"
	exit
fi

kdir=$2 work=$3 root=$3/root
# Empty if the kernel was built in its source
source=$(sed -n 's/^include \(.*\)\/Makefile$/\1/p' "$kdir/Makefile")
release=$("${MAKE:-make}" -s -C "$kdir" kernelrelease) || exit
suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
version=$(sed -n '1s/.*(\(.*\)).*/\1/p' "$TOP/packaging/debian/changelog")
log=$CACHE/logs/packaging

in_root() { env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C DEBIAN_FRONTEND=noninteractive \
	chroot "$root" "$@"; }

# The archives of Debian that this machine's apt uses, one "deb" line each.
debian_archives() {
	have apt-get || die "this is no Debian system"
	apt-get indextargets --format "deb \$(REPO_URI) \$(RELEASE) \$(COMPONENT)" \
		'Created-By: Packages' 'Origin: Debian' | sort -u | grep " $suite"
}

# A clean Debian with the compilers that the kernel was built with, and with the tools that
# build and check packages. It takes minutes to make, so an archive of it is kept.
clean_debian() {
	local archive rustc
	mkdir -p "$root"
	rustc=$(dpkg -S "$(readlink -f "$RUSTC")" 2>/dev/null | cut -d: -f1)
	[ -n "$rustc" ] || die "RUSTC=$RUSTC is from no Debian package, which the clean Debian needs; name one with RUSTC=, then run the command again"
	archive=$CACHE/chroot/$suite-$({
		declare -f bare_debian install_tools
		dpkg-query -W -f '${Package} ${Version}' "$rustc" "clang-$LLVM_MAJOR"
	} | sha256sum | cut -c1-16).tar
	if [ ! -f "$archive" ]; then
		step "making a bare Debian $suite" "1 min" "$log-debootstrap.log" bare_debian "$root"
		step "installing the tools in Debian $suite" "3 min" "$log-tools.log" install_tools "$rustc"
		tar -C "$root" -cf "$archive.new" . && mv "$archive.new" "$archive"
	else
		tar -C "$root" -xf "$archive"
	fi || exit
}

bare_debian() {
	local mirror keyring
	[ -n "$(debian_archives)" ] || apt_refresh
	mirror=$(debian_archives | sed -n "s/^deb \(\S*\) $suite main$/\1/p")
	for keyring in /usr/share/keyrings/debian-archive-keyring.{gpg,pgp}; do
		[ ! -f "$keyring" ] || break
	done
	debootstrap --variant=minbase --include=ca-certificates --keyring="$keyring" \
		"$suite" "$1" "${mirror:?}" || return
	debian_archives >"$1/etc/apt/sources.list"
	# The proxy of this machine's apt
	apt-config dump | grep -iE '^Acquire::https?::' >"$1/etc/apt/apt.conf.d/90network"
	# No services are started there.
	printf '#!/bin/sh\nexit 101\n' >"$1/usr/sbin/policy-rc.d"
	chmod +x "$1/usr/sbin/policy-rc.d"
}

install_tools() {
	cp /etc/resolv.conf "$root/etc/"
	# Otherwise, iptables-persistent would save the rules of this machine.
	printf 'iptables-persistent iptables-persistent/autosave_v%d boolean false\n' 4 6 |
		in_root debconf-set-selections &&
		in_root apt-get update && in_root apt-get -y dist-upgrade &&
		in_root apt-get -y --no-install-recommends install build-essential debhelper dh-dkms \
			lintian kmod cpio nfct netbase openssl iptables iptables-persistent \
			"$1" "clang-$LLVM_MAJOR" "lld-$LLVM_MAJOR" "llvm-$LLVM_MAJOR" "libclang1-$LLVM_MAJOR"
}

# The kernel as packages install it, except for its build directory, which is the original,
# mounted read-only.
install_kernel() {
	local modules=$root/lib/modules/$release dir
	for dir in "$kdir" "$source"; do
		[ -n "$dir" ] || continue
		mkdir -p "$root$dir"
		mount --bind "$dir" "$root$dir" && mount -o remount,bind,ro "$root$dir" || exit
	done
	mkdir -p "$modules"
	cp "$kdir"/modules.{order,builtin,builtin.modinfo} "$modules/"
	(cd "$kdir" && find . -name '*.ko' -print0 | cpio -0pdm --quiet "$modules/kernel") || exit
	ln -s "$kdir" "$modules/build"
	in_root depmod "$release"
}

dkms_status() { in_root dkms status -m "$package" -v "$version" -k "$release" | sed 's/.*: //'; }
installed_module() { in_root find "/lib/modules/$release" -name "$module.ko*" | sed "s,/lib/modules/$release/,,"; }
alias_of() { in_root modprobe -S "$release" --show-depends nfnetlink-subsys-8; }

clean_debian
cp /etc/resolv.conf "$root/etc/"
mount -t proc proc "$root/proc" && mount --rbind /dev "$root/dev" && mount -t tmpfs tmp "$root/tmp" || exit
install_kernel
mkdir -p "$root/root/project"
(cd "$TOP" && cp -r Kbuild Kconfig Makefile LICENSE ./*.md Documentation docs include packaging scripts \
	src tests .rustfmt.toml "$root/root/project") || exit

echo "KTAP version 1"
check "make deb builds the packages" in_root make -C /root/project deb
debs=/root/.cache/nfnetlink-cttimeout-rust/deb
deb=$debs/$package-dkms_${version}_all.deb
persistent=cttimeout-persistent
check "lintian has nothing to say" \
	in_root lintian --allow-root --fail-on error,warning,info "$debs/${package}_${version}_amd64.changes"

# An administrator puts programs that are not Debian's there.
cp "$BINDGEN" "$root/usr/local/bin/bindgen"
install_package() {
	in_root apt-get -y --no-install-recommends install "$deb" ||
		{ cat "$root/var/lib/dkms/$package/$version/build/make.log" && return 1; }
}
check "the package can be installed" install_package
check "$persistent can be installed" \
	in_root apt-get -y --no-install-recommends install "$debs/${persistent}_${version}_all.deb"
check_eq "netfilter-persistent has the plugin before those that load rules, and after them" \
	"$(in_root ls /usr/share/netfilter-persistent/plugins.d | xargs)" "10-cttimeout 15-ip4tables 25-ip6tables 35-cttimeout"
check_eq "DKMS has built and installed the module" "$(dkms_status)" installed
check_eq "the installed module is where modprobe looks first" "$(installed_module)" "updates/dkms/$module.ko"
check_eq "modinfo: alias" "$(in_root modinfo -k "$release" -F alias "$module")" nfnetlink-subsys-8
check_eq "modinfo: vermagic" \
	"$(in_root modinfo -k "$release" -F vermagic "$module" | cut -d' ' -f1)" "$release"
check_eq "modprobe: the alias stands for this module, then for the choice" "$(alias_of | sed 's/ *$//')" \
	"insmod /lib/modules/$release/updates/dkms/$module.ko
$(sed -n 's/^install nfnetlink_cttimeout /install /p' "$root/etc/modprobe.d/$package-dkms.conf")"

check "dkms remove succeeds" in_root dkms remove "$package/$version" -k "$release"
check_eq "dkms remove removes the module" "$(installed_module)" ""
in_root dkms add "$package/$version" >/dev/null 2>&1
check "dkms build succeeds" in_root dkms build "$package/$version" -k "$release"
check "dkms install succeeds" in_root dkms install "$package/$version" -k "$release"
check_eq "dkms install installs the module" "$(installed_module)" "updates/dkms/$module.ko"

# Signed modules: with a sign-file, which kernels with CONFIG_MODULE_SIG have in their build
# directory, DKMS makes a key, once, and signs the modules that it builds.
signature_is_right() {
	local ko=$root/lib/modules/$release/updates/dkms/$module.ko extract=$source/scripts/extract-module-sig.pl
	perl "$extract" -0 "$ko" >"$work/content" && perl "$extract" -s "$ko" >"$work/signature" &&
		openssl x509 -inform DER -in "$root/var/lib/dkms/mok.pub" -out "$work/certificate" &&
		openssl cms -verify -binary -inform DER -in "$work/signature" -content "$work/content" \
			-certfile "$work/certificate" -nointern -noverify -out "$work/signed"
}
signer() { in_root modinfo -k "$release" -F signer "$module"; }
if [ ! -x "$kdir/scripts/sign-file" ]; then
	check_eq "without a sign-file, the module is not signed" "$(signer)" ""
	check "the kernel's sign-file can be built" gcc -idirafter "$source/include/uapi" \
		-o "$root/usr/local/bin/sign-file" "$source/scripts/sign-file.c" -lcrypto
	echo "sign_file=/usr/local/bin/sign-file" >>"$root/etc/dkms/framework.conf"
fi
check "dkms build with a sign-file succeeds" in_root dkms build --force "$package/$version" -k "$release"
check "dkms install of the signed module succeeds" in_root dkms install --force "$package/$version" -k "$release"
check_eq "with a sign-file, the module is signed with DKMS's key" "$(signer)" "DKMS module signing key"
check "the signature fits the module" signature_is_right
printf X | dd of="$root/lib/modules/$release/updates/dkms/$module.ko" bs=1 seek=8192 conv=notrunc status=none
check_fails "the signature does not fit the module with a changed byte" "erification failure" signature_is_right
check "the signed module can be installed again" in_root dkms install --force "$package/$version" -k "$release"
check "the signature fits the module that is installed again" signature_is_right

# A kernel that the package does not support
other=$root/lib/modules/$release-other
cp -r "$root/lib/modules/$release" "$other" && rm "$other/build"
mkdir "$other/build" && cp "$kdir/.config" "$other/build/"
check_fails "a kernel without Rust metadata is passed over" "BUILD_EXCLUSIVE" \
	in_root dkms build "$package/$version" -k "$release-other"
in_root dkms build "$package/$version" -k "$release-other" >/dev/null 2>&1
check_eq "dkms build exits with 77 for that kernel, which is no failure for installers" "$?" 77
rm -r "$other"

# The guest's root file system is this machine's, with the clean Debian in it. What the guest
# writes lasts as long as the guest, but for /etc/iptables.
mkdir "$work/state"
for boot in first second; do
	console=$work/console
	"$TOP/scripts/vm.sh" -t 900 -q "-virtfs local,path=$work/state,mount_tag=state,security_model=none" "$kdir" \
		"$TOP/tests/packaging.sh" "$root" "$package/$version" "$boot" >"$console" 2>&1
	status=$?
	sed -n '/^--- tests begin/,/^--- kernel log begins/{/^---/!p}' "$console" | sed 's/^/    /'
	check_eq "all tests in the guest pass, $boot boot" "$status" 0
	check "the guest's kernel log is clean, $boot boot" "$TOP/scripts/check-log.sh" "$console"
	cp "$console" "$log-$boot.console"
done
cp "$work"/state/* "$root/etc/iptables/"

check "the package can be purged" in_root apt-get -y purge "$package-dkms" "$persistent"
check_eq "a purge leaves no files" "$(installed_module; in_root find /etc /var/lib/dkms /usr/src \
	/usr/share/netfilter-persistent -name '*cttimeout*' -o -name 'timeouts.nfct*')" ""
finish
