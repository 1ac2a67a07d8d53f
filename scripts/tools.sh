# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Finds the tools that a build or a virtual machine needs, installs missing ones, or says
# what to install. Sourced after lib.sh; call
#
#   need_build_tools [s390x|arm64]   sets RUSTC, LLVM_MAJOR, BINDGEN and the array KMAKE
#   need_vm_tools      puts vng and the test clients on PATH
#
# RUSTC=, BINDGEN= and LLVM_MAJOR= in the environment are used as they are.

RUST_MIN=1.85.0    # what Linux 7.3 asks for (scripts/min-tool-version.sh)
BINDGEN_MIN=0.71.1
LLVM_MIN=17
BINDGEN_VERSION=0.72.1
VIRTME_NG_MIN=1.35
VIRTME_NG_VERSION=1.42

have() { command -v "$1" >/dev/null 2>&1; }
version_ge() { [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]; }

# apt_candidate PACKAGE: the version that apt would install, if any
apt_candidate() {
	have apt-cache || return 1
	apt-cache policy "$1" 2>/dev/null | sed -n 's/^ *Candidate: *\([0-9].*\)/\1/p' | grep .
}

# One process at a time: two guests that start at the same moment on a new machine lack
# the same packages, and apt-get waits for another one that installs, but not for one
# that reads the package lists.
apt_refresh() {
	[ -z "${APT_REFRESHED:-}" ] || return 0
	APT_REFRESHED=y
	have apt-get || return 0
	# A source that has nothing to do with this may be out of reach. A package that is missing
	# then is an error of the next step.
	(with_lock apt step "reading the package lists" "10 s" "$CACHE/logs/apt-update.log" apt_run update) ||
		say "note: the package lists stay as they were"
}

apt_run() {
	local sudo=
	[ "$(id -u)" -eq 0 ] || sudo=sudo
	# Services that a package starts must not inherit the lock.
	$sudo env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=600 "$@" 9>&-
}

apt_install() {
	have apt-get || die "please install the equivalent of these Debian packages: $*"
	[ "$(id -u)" -eq 0 ] || have sudo ||
		die "please run as root: apt-get install $*"
	apt_refresh
	with_lock apt step "installing $*" "1 min" "$CACHE/logs/apt-install.log" \
		apt_run install -y --no-install-recommends "$@"
	hash -r
}

# need_commands COMMAND:PACKAGE...
need_commands() {
	local item missing=()
	for item in "$@"; do
		have "${item%%:*}" || missing+=("${item#*:}")
	done
	[ ${#missing[@]} -eq 0 ] || apt_install "${missing[@]}"
}

# need_files FILE:PACKAGE...
need_files() {
	local item missing=()
	for item in "$@"; do
		[ -e "${item%%:*}" ] || missing+=("${item#*:}")
	done
	[ ${#missing[@]} -eq 0 ] || apt_install "${missing[@]}"
}

# A compiler fits if it is new enough and has the source of the standard library, which the
# kernel builds itself. Compilers of rustup often lack it.
rustc_fits() {
	local version sysroot
	version=$("$1" --version 2>/dev/null | sed -n 's/^rustc \([0-9.]*\).*/\1/p')
	sysroot=$("$1" --print sysroot 2>/dev/null)
	[ -n "$version" ] && version_ge "$version" "$RUST_MIN" &&
		[ -f "$sysroot/lib/rustlib/src/rust/library/core/src/lib.rs" ]
}

find_rustc() {
	local rustc
	[ -z "${RUSTC:-}" ] || {
		rustc_fits "$RUSTC" ||
			die "RUSTC=$RUSTC is older than $RUST_MIN or lacks the library source (rust-src)"
		return
	}
	for rustc in /usr/bin/rustc "$(command -v rustc)"; do
		if [ -n "$rustc" ] && rustc_fits "$rustc"; then
			RUSTC=$rustc
			return
		fi
	done
	return 1
}

need_rustc() {
	local packages version
	find_rustc && return
	apt_refresh
	for packages in "rustc rust-src rustfmt rust-clippy" \
		"rustc-web rust-web-src rustfmt-web rust-web-clippy"; do
		version=$(apt_candidate "${packages%% *}") || continue
		if version_ge "$version" "$RUST_MIN"; then
			# shellcheck disable=SC2086
			apt_install $packages
			find_rustc && return
		fi
	done
	die "neither this machine nor apt has rustc >= $RUST_MIN with its library source (rust-src); install it, or name one with RUSTC="
}

# of_rustc: "web" if the compiler is from a Debian package with that in its name, "plain" if
# it is from another one; fails if it is from no package
of_rustc() {
	case $(dpkg -S "$(readlink -f "$RUSTC")" 2>/dev/null) in
	rustc-web:*) echo web ;;
	rustc:*) echo plain ;;
	*) return 1 ;;
	esac
}

# rustfmt and clippy are in the directory of their compiler.
need_rust_linters() {
	local dir
	dir=$(dirname "$RUSTC")
	if [ ! -x "$dir/rustfmt" ] || [ ! -x "$dir/clippy-driver" ]; then
		case $(of_rustc) in
		web) apt_install rustfmt-web rust-web-clippy ;;
		plain) apt_install rustfmt rust-clippy ;;
		*) die "please install rustfmt and clippy for $RUSTC" ;;
		esac
	fi
	RUSTFMT=$dir/rustfmt CLIPPY_DRIVER=$dir/clippy-driver
}

# find_rust_analyzer: sets RUST_ANALYZER, if there is one for the compiler. rustup may have
# the command without the program behind it.
find_rust_analyzer() {
	local package=
	RUST_ANALYZER=$(dirname "$RUSTC")/rust-analyzer
	if [ ! -x "$RUST_ANALYZER" ]; then
		case $(of_rustc) in
		web) package=rust-web-analyzer ;;
		plain) package=rust-analyzer ;;
		esac
		apt_refresh
		! apt_candidate "${package:-none}" >/dev/null || apt_install "$package"
	fi
	"$RUST_ANALYZER" --version >/dev/null 2>&1
}

llvm_is_there() {
	local lib=/usr/lib/llvm-$1
	[ -x "$lib/bin/clang" ] && [ -x "$lib/bin/ld.lld" ] && [ -x "$lib/bin/llvm-ar" ] &&
		have "clang-$1" && have "ld.lld-$1" && have "llvm-ar-$1" &&
		compgen -G "$lib/lib/libclang*.so*" >/dev/null
}

# One LLVM for C and Rust: the one that rustc was built with or, without that, the newest
need_llvm() {
	local rust_llvm n
	rust_llvm=$("$RUSTC" -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')
	[ -z "${LLVM_MAJOR:-}" ] || rust_llvm=$LLVM_MAJOR
	if llvm_is_there "$rust_llvm"; then
		LLVM_MAJOR=$rust_llvm
		return
	fi
	apt_refresh
	for n in "$rust_llvm" $(seq 30 -1 "$LLVM_MIN"); do
		if llvm_is_there "$n" || apt_candidate "clang-$n" >/dev/null; then
			llvm_is_there "$n" || apt_install "clang-$n" "lld-$n" "llvm-$n" "libclang-$n-dev"
			LLVM_MAJOR=$n
			return
		fi
	done
	die "neither this machine nor apt has clang, lld, llvm and libclang >= $LLVM_MIN; install them"
}

bindgen_fits() {
	local version
	version=$("$1" --version workaround-for-0.69.0 2>/dev/null | sed -n 's/^bindgen \([0-9.]*\).*/\1/p')
	[ -n "$version" ] && version_ge "$version" "$BINDGEN_MIN"
}

need_bindgen() {
	local bindgen version own=$CACHE/tools/bin/bindgen
	for bindgen in "${BINDGEN:-}" bindgen "$own"; do
		if [ -n "$bindgen" ] && bindgen_fits "$bindgen"; then
			BINDGEN=$(command -v "$bindgen")
			return
		fi
	done
	[ -z "${BINDGEN:-}" ] || die "BINDGEN=$BINDGEN is older than $BINDGEN_MIN"
	apt_refresh
	if version=$(apt_candidate bindgen) && version_ge "$version" "$BINDGEN_MIN"; then
		apt_install bindgen
		BINDGEN=$(command -v bindgen)
		return
	fi
	if ! have cargo; then
		apt_candidate cargo-web >/dev/null && apt_install cargo-web
	fi
	have cargo || die "there is no bindgen >= $BINDGEN_MIN, and no cargo to build it with; install either, or name a bindgen with BINDGEN="
	# cargo may need another compiler than the kernel.
	INSTEAD="name a bindgen >= $BINDGEN_MIN with BINDGEN=" step "building bindgen $BINDGEN_VERSION" "90 s" "$CACHE/logs/bindgen.log" \
		env -u RUSTC cargo install bindgen-cli --version "$BINDGEN_VERSION" --locked \
		--root "$CACHE/tools"
	BINDGEN=$own
}

# arch_of BUILD_DIR: a kernel's architecture, if it is not the PC's
arch_of() {
	case $(grep -xE 'CONFIG_(S390|ARM64)=y' "$1/.config" 2>/dev/null) in
	CONFIG_S390=y) echo s390x ;;
	CONFIG_ARM64=y) echo arm64 ;;
	esac
}

# rustc_knows s390x|arm64: exits with 2 if the compiler lacks the target that the kernel's own
# Makefile names for the architecture
rustc_knows() {
	case $1 in
	s390x) set -- s390x-unknown-none-softfloat ;;
	arm64) set -- aarch64-unknown-none-softfloat ;;
	esac
	"$RUSTC" --print target-list | grep -qx -e "$1" || {
		say "error: $("$RUSTC" --version) cannot compile for $1; name another with RUSTC="
		exit 2
	}
}

# shellcheck disable=SC2120
need_build_tools() {
	need_commands make:make flex:flex bison:bison bc:bc cpio:cpio rsync:rsync xz:xz-utils \
		depmod:kmod perl:perl gcc:gcc python3:python3
	need_files /usr/include/libelf.h:libelf-dev /usr/include/openssl/ssl.h:libssl-dev \
		/usr/include/stdio.h:libc6-dev
	need_rustc
	need_rust_linters
	need_llvm
	need_bindgen
	# shellcheck disable=SC2034
	KMAKE=(make "LLVM=-$LLVM_MAJOR" "RUSTC=$RUSTC" "BINDGEN=$BINDGEN" "RUSTFMT=$RUSTFMT"
		"CLIPPY_DRIVER=$CLIPPY_DRIVER" "RUSTDOC=$(dirname "$RUSTC")/rustdoc")
	# The kernel has names of its own for architectures.
	unset ARCH
	case ${1:-} in
	s390x) KMAKE+=(ARCH=s390) ;;
	arm64) KMAKE+=(ARCH=arm64) ;;
	esac
	[ -z "${1:-}" ] || rustc_knows "$1"
	export LIBCLANG_PATH=/usr/lib/llvm-$LLVM_MAJOR/lib
}

# virtme-ng boots a kernel with the host's file system, so the guest's clients
# are the host's.
need_vm_tools() {
	local venv=$CACHE/venv-$VIRTME_NG_VERSION
	export PATH=$PATH:/usr/sbin:/sbin
	need_commands qemu-system-x86_64:qemu-system-x86 nfct:nfct conntrack:conntrack \
		iptables-legacy:iptables nft:nftables ip:iproute2 ping:iputils-ping \
		modprobe:kmod ps:procps
	# nfct reads the names of protocols from /etc/protocols.
	need_files /etc/protocols:netbase /usr/bin/python3:python3
	[ -f "$venv/complete" ] || apt_candidate virtme-ng >/dev/null || apt_refresh
	if version_ge "$(apt_candidate virtme-ng)" "$VIRTME_NG_MIN"; then
		# Without the init that the newer one has, the guest needs udev, which names its ports.
		need_commands vng:virtme-ng udevadm:udev
		return
	fi
	if [ ! -f "$venv/complete" ]; then
		/usr/bin/python3 -c 'import ensurepip' 2>/dev/null || apt_install python3-venv
		with_lock venv make_venv "$venv"
	fi
	export PATH=$venv/bin:$PATH
}

# QEMU for another architecture; all other programs are in the guest's own root.
need_foreign_vm_tools() {
	case $1 in
	s390x)
		have qemu-system-s390x && return
		apt_refresh
		# Since Debian 13, this is a package of its own.
		if apt_candidate qemu-system-s390x >/dev/null; then
			apt_install qemu-system-s390x
		else
			apt_install qemu-system-misc
		fi
		;;
	arm64) need_commands qemu-system-aarch64:qemu-system-arm ;;
	esac
}

# Debian packages for the clients that clients.sh builds, and for their tests
need_client_tools() {
	need_commands gcc:gcc python3:python3
	need_files /usr/include/libnetfilter_cttimeout/libnetfilter_cttimeout.h:libnetfilter-cttimeout-dev \
		/usr/include/libmnl/libmnl.h:libmnl-dev \
		/usr/lib/python3/dist-packages/yaml:python3-yaml \
		/usr/lib/python3/dist-packages/jsonschema:python3-jsonschema
}

make_venv() {
	[ ! -f "$1/complete" ] || return 0
	rm -rf "$1"
	step "installing virtme-ng $VIRTME_NG_VERSION" "20 s" "$CACHE/logs/venv.log" \
		sh -c '/usr/bin/python3 -m venv "$1" && "$1/bin/pip" install "virtme-ng==$2"' \
		sh "$1" "$VIRTME_NG_VERSION"
	touch "$1/complete"
}
