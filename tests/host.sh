#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Tests without booting: how the sources look, how the module builds,
# installs, and goes into a kernel tree.
#
# usage: host.sh KERNEL BUILD_DIR [general]   (KERNEL: plain, debug or builtin)
#   general  all tests, not only those that depend on the kernel

. "$(dirname "$0")/../scripts/lib.sh"
. "$TOP/scripts/tools.sh"
. "$TOP/tests/lib/ktap.sh"
. "$TOP/tests/lib/series.sh"

kernel=$1 kdir=$2 general=${3:-}
name=nfnetlink_cttimeout_rust
work=$(mktemp -d) || exit
trap 'rm -rf "$work"' EXIT
need_build_tools
need_commands patch:patch shellcheck:shellcheck
cd "$TOP" || exit

# build ARG...: in a copy of the sources, with all output
copy_sources() { rm -rf "$work/copy" && mkdir "$work/copy" && cp -r Kbuild Kconfig Makefile include src tests "$work/copy"; }
build() { "${KMAKE[@]}" -C "$work/copy" KDIR="$kdir" -j "$JOBS" "$@" 2>&1; }
# silently COMMAND...: succeeds if the command does, without a warning
silently() {
	local out
	out=$("$@" 2>&1) || { echo "$out"; return 1; }
	! grep -E -A 8 'warning' <<<"$out"
}
builds_silently() { silently build "$@"; }

test_sources() {
	check "rustfmt has nothing to change" "$RUSTFMT" --check --color never \
		"src/${name}_main.rs" tests/modules/*.rs tests/fuzz/main.rs tests/bench/client/main.rs
	check "clippy has nothing to say of the fuzzer" "$CLIPPY_DRIVER" --edition 2021 -D warnings \
		--emit metadata -o "$work/fuzz.rmeta" tests/fuzz/main.rs
	check "clippy has nothing to say of the benchmark's client" "$CLIPPY_DRIVER" --edition 2021 -D warnings \
		--emit metadata -o "$work/client.rmeta" tests/bench/client/main.rs
	# These are wrong about lists with commas, "exec {name}<", and intended assignments.
	check "shellcheck has nothing to say" shellcheck -S warning -x -P SCRIPTDIR \
		-e SC1007,SC1083,SC2034,SC2046,SC2054,SC2093,SC2155 .ci/run $(find scripts tests -name '*.sh') \
		packaging/cttimeout-persistent/*
	local file bad=
	for file in $(find src include scripts tests -name '*.rs' -o -name '*.[ch]' -o -name '*.sh' -o -name '*.py' \
		-o -name '*.litmus') \
		Kbuild Kconfig Makefile; do
		head -n 3 "$file" | grep -q 'SPDX-License-Identifier: GPL-2.0' || bad+=" $file"
	done
	check_eq "every source file names its licence" "$bad" ""
	bad=$(find src -name '*.rs' -exec sh -c 'sed -n 3p "$1" | grep -q "^//! ." || echo "$1"' sh {} \;)
	check_eq "every Rust file says what it is for" "$bad" ""
	check_eq "only src/compat/ depends on the kernel's version" \
		"$(grep -rlE 'CTTIMEOUT_LINUX|LINUX_VERSION' src include tests/modules | grep -v '^src/compat/')" ""
	check_eq "the policy logic holds no unsafe code" "$(grep -rnw unsafe src/cttimeout | grep -v '//!')" ""
}

# Documents go out of date unnoticed.
test_documents() {
	local absent='' file document
	for file in $(grep -rhoE '`(src|include|tests|scripts|docs|packaging|Documentation)/[A-Za-z0-9_./-]+`' \
		./*.md docs/*.md | tr -d '`' | sort -u); do
		[ -e "$file" ] || absent+=" $file"
	done
	check_eq "documents name no file that does not exist" "$absent" ""
	# A link is relative to the document it is in.
	while IFS=: read -r document file; do
		[ -e "$(dirname "$document")/$file" ] || absent+=" $document:$file"
	done < <(grep -oE '\]\([^)#:]+\)' ./*.md docs/*.md | sed 's/](\(.*\))/\1/' | sort -u)
	check_eq "links in documents lead to files that exist" "$absent" ""
	check_eq "docs/GUIDES.md quotes the second subsystem as it is" \
		"$(sed -n '/^```rust$/,/^```$/{/^```/d;/./p}' docs/GUIDES.md |
			grep -vxFf tests/modules/cttimeout_test_subsystem_main.rs)" ""
	check_eq "docs/GUIDES.md has the length of the second subsystem" "$(grep -oE 'module of [0-9]+ lines' docs/GUIDES.md)" \
		"module of $(wc -l <tests/modules/cttimeout_test_subsystem_main.rs) lines"
	check_eq "the axes of the benchmark's plots name their units" "$(for file in docs/*.svg; do
		grep -oE '>(policies|instructions|nanoseconds)<' "$file" | sort -u | xargs echo "${file##*/}"; done)" \
		"bench-native.svg >nanoseconds< >policies<
bench.svg >instructions< >policies<"
	local bpftrace targets tests
	bpftrace=$(sed -n "s/.*'tracepoint:cttimeout:cttimeout_\([a-z]*\) { \(.*\) }'/\1 '\2'/p" docs/TRACING.md)
	check_eq "docs/TRACING.md has a line for bpftrace for each tracepoint" "$(cut -d ' ' -f 1 <<<"$bpftrace")" \
		"$(sed -n 's/^DEFINE_EVENT(.*, cttimeout_\(.*\),$/\1/p' include/trace/events/cttimeout.h)"
	check_eq "each line for bpftrace in docs/TRACING.md is tested" \
		"$(while read -r line; do grep -qF "$line" tests/selftests/cttimeout_bpftrace.sh || echo "$line"; done <<<"$bpftrace")" ""
	targets=$(grep -ohE '(^    |`)make( [A-Z]+=[^ `]*)* [a-z-]+' ./*.md docs/*.md | grep -oE '[a-z-]+$' | sort -u)
	make -s --no-print-directory help >"$work/help"
	check_eq "each make command in the documents is in make help" \
		"$(for target in $targets; do grep -qE "^make (KDIR=DIR )?$target( |$)" "$work/help" || echo "$target"; done)" help
	tests=$(grep -ohE '\bTESTS=[a-z0-9_]+' ./*.md docs/*.md | cut -d = -f 2 | sort -u)
	check_eq "each test that a command in the documents runs exists" \
		"$(for test in $tests; do compgen -G "tests/selftests/$test.*" >/dev/null || echo "$test"; done)" host
	check_eq "each setting of a make command in the documents has an effect" "$(grep -ohE '(^    |`)make [^`#]*' ./*.md docs/*.md |
		grep -oE '\b[A-Z_]+=' | sort -u | while read -r name; do
			grep -v '^ *#' Makefile scripts/*.sh | grep -qw "${name%=}" || echo "$name"
		done)" ""
	check_eq "each kernel of a make command in the documents exists" "$(grep -ohE '\b(KERNELS|ARCH)=("[^"]*"|[a-z0-9]+)' ./*.md docs/*.md |
		cut -d = -f 2 | tr -d '"' | tr ' ' '\n' | sort -u | while read -r name; do
			sed -n 's/^# usage: kernel.sh//p' scripts/kernel.sh | grep -qw "$name" || echo "$name"
		done)" ""
	check_eq "README.md shows commands and comments of the demo" \
		"$(sed -n '/^## What the demo shows/,/^## /s/^    \(\$ \|  # \|\)\(client .*\|[A-Z].*\.\)$/\2/p' README.md |
			while read -r line; do grep -qF "$line" tests/demo.sh && echo demo || echo "$line"; done | sort | uniq -c | xargs)" "11 demo"
	check_eq "lines of documents have at most 120 characters, but for tables and the generated page" \
		"$(grep -nE '^[^|].{120}' $(find . docs -maxdepth 1 -name "*.md" ! -name BENCH.md))" ""
	local packaged
	packaged=$(sed -n 's/^nfnetlink.*(\(.*\)).*/\1/p; s/^ -- .*  //p' packaging/debian/changelog |
		while read -r version && read -r date; do echo "$version $(date -ud "$date" +%F)"; done)
	check_eq "neither documents nor packages send users to the kernel's lists" \
		"$(grep -rlF vger.kernel.org ./*.md docs packaging)" ""
	check "docs/INSTALL.md installs the bindgen that the scripts build" \
		grep "^    cargo install bindgen-cli --version $BINDGEN_VERSION --locked --root " docs/INSTALL.md
	check_eq "the package and the changelog have the same versions and dates" "$packaged" \
		"$(sed -n 's/^## \(.*\) (\(.*\))$/\1 \2/p' CHANGELOG.md | sed "1s/unreleased/$(sed 's/.* //;q' <<<"$packaged")/")"
	check_eq "README.md names the version" "$(grep -oE 'version [0-9]+\.[0-9.]+[0-9]' README.md)" "version ${packaged%% *}"
}

test_build() {
	copy_sources
	check "make KDIR= builds without warnings" builds_silently
	check_eq "modinfo: license" "$(modinfo -F license "$work/copy/$name.ko")" GPL
	check_eq "modinfo: alias" "$(modinfo -F alias "$work/copy/$name.ko")" nfnetlink-subsys-8
	check "modinfo: author" grep -q . <(modinfo -F author "$work/copy/$name.ko")
	check "modinfo: description" grep -q . <(modinfo -F description "$work/copy/$name.ko")
	check "make install installs" build install INSTALL_MOD_PATH="$work/root"
	check_eq "make install puts one module in place" \
		"$(find "$work/root" -name '*.ko*' -printf '%f\n')" "$name.ko"
	check "the line of README.md that removes the module succeeds" sh -e -c "$(sed -n "/^    rm .* && depmod VERSION$/{
		s,/lib/,$work/root/lib/,g; s,depmod,depmod -b '$work/root',; s,VERSION,$(<"$kdir/include/config/kernel.release"),g; p}" README.md)"
	check_eq "the line of README.md that removes the module leaves none" "$(find "$work/root" -name '*.ko*')" ""
	build clean >/dev/null
	check_eq "make clean leaves the sources" \
		"$(diff -rq "$work/copy" . | grep -v '^Only in \./\?[^:]*:')" ""
	check "make W=1 has no warnings" builds_silently W=1
	build clean >/dev/null
	check "clippy has no warnings" builds_silently CLIPPY=1 TEST_MODULES=1
	# make finds the compilers that the kernel was built with.
	check "make KDIR= alone builds" env -u RUSTC -u BINDGEN -u LIBCLANG_PATH \
		make -C "$work/copy" KDIR="$kdir"
	cp -r scripts "$work/copy/"
	check_fails "a build in the sources is an error for scripts/module.sh" 'run "make clean" there' \
		"$work/copy/scripts/module.sh" "$kdir"
}

# For an unsuitable build directory, make prints one sentence, and builds nothing.
test_kdir() {
	local fake=$work/fake option version file
	copy_sources
	# check_kdir ARG...: checks the directory
	check_kdir() { env -u RUSTC -u BINDGEN make -C "$work/copy" KDIR="$fake" check-kdir "$@" 2>&1; }
	fake_kdir() {
		rm -rf "$fake"
		mkdir -p "$fake/rust" "$fake/include/config"
		cp "$kdir/.config" "$fake/"
		cp "$kdir/include/config/kernel.release" "$fake/include/config/"
		echo "the contents do not matter" | tee "$fake/rust/libkernel.rmeta" >"$fake/Module.symvers"
	}
	# refused NAME TEXT COMMAND...: a directory that COMMAND has spoiled
	refused() {
		fake_kdir
		"${@:3}"
		check_fails "$1: check-kdir says so" "$2" check_kdir
	}
	without() { sed -i "s/^CONFIG_$1=.*/# CONFIG_$1 is not set/" "$fake/.config"; }
	with() { without "$1" && echo "CONFIG_$1=$2" >>"$fake/.config"; }
	# dkms_says VERSION [DIRECTORY]: whether DKMS builds for the kernel, which has all options
	dkms_says() (
		# shellcheck disable=SC2034
		kernel_source_dir=${2:-$kdir}
		. packaging/dkms.conf
		if [[ $1 =~ $BUILD_EXCLUSIVE_KERNEL ]]; then echo builds; else echo "passes it over"; fi
	)

	refused "no directory" "no kernel build at KDIR=$fake" rm -r "$fake"
	refused "no configuration" "is no kernel build: .config is missing" rm "$fake/.config"
	refused "no Rust" "not built with CONFIG_RUST=y" without RUST
	refused "only headers" "rust/libkernel.rmeta is missing" rm "$fake/rust/libkernel.rmeta"
	refused "no modules" "Module.symvers is missing" rm "$fake/Module.symvers"
	for option in MODULES 64BIT NF_CONNTRACK NF_CONNTRACK_TIMEOUT NETFILTER_NETLINK; do
		refused "no $option" "was built without CONFIG_$option, which" without "$option"
	done
	refused "the C module built in" "could never be loaded" with NF_CT_NETLINK_TIMEOUT y
	refused "this module built in" "could never be loaded" with NF_CT_NETLINK_TIMEOUT_RUST y
	refused "another rustc" "was built with rustc 1.2.3, which was not found" \
		with RUSTC_VERSION_TEXT '"rustc 1.2.3"'
	refused "another clang" "was built with clang-999, but" with CC_VERSION_TEXT '"clang version 999.0"'

	fake_kdir
	with NF_CONNTRACK m
	check "check-kdir accepts a directory with nothing wrong" check_kdir
	check_eq "check-kdir prints nothing for a directory with nothing wrong" "$(check_kdir -s --no-print-directory)" ""
	for version in 7.3 7.3.4 7.3-rc1; do
		echo "$version" >"$fake/include/config/kernel.release"
		check_eq "check-kdir prints nothing for Linux $version" "$(check_kdir -s --no-print-directory)" ""
		check_eq "DKMS builds for Linux $version" "$(dkms_says "$version")" builds
	done
	for version in 7.2.13 7.30.0 7.4; do
		echo "$version" >"$fake/include/config/kernel.release"
		check "check-kdir prints a note for Linux $version" \
			grep "note: the module is written for Linux 7.3" <(check_kdir)
		check_eq "DKMS passes Linux $version over" "$(dkms_says "$version")" "passes it over"
	done
	for option in NF_CT_NETLINK_TIMEOUT NF_CT_NETLINK_TIMEOUT_RUST; do
		fake_kdir
		with "$option" y
		check_eq "with $option built in, DKMS passes it over" "$(dkms_says 7.3.4 "$fake")" "passes it over"
	done
	for file in Module.symvers rust/libkernel.rmeta; do
		fake_kdir
		check_eq "DKMS builds in a directory with nothing wrong" "$(dkms_says 7.3.4 "$fake")" builds
		rm "$fake/$file"
		check_eq "without $file, DKMS passes it over" "$(dkms_says 7.3.4 "$fake")" "passes it over"
	done
	fake_kdir
	check_fails "RUSTC= that does not fit: check-kdir says so" "was built with rustc" check_kdir RUSTC=true
	printf '#!/bin/sh\necho bindgen 0.60.1\n' >"$work/bindgen"
	chmod +x "$work/bindgen"
	check_fails "an old bindgen: check-kdir says so" "bindgen 0.60.1 is older than" \
		check_kdir BINDGEN="$work/bindgen"
	check_fails "a bindgen without libclang: check-kdir says so" "Unable to find libclang" \
		check_kdir LIBCLANG_PATH="$work"
	# For a kernel that GCC has built, bindgen finds a libclang itself.
	fake_kdir
	with CC_VERSION_TEXT '"gcc (Debian 12.2.0-14) 12.2.0"'
	check_eq "check-kdir accepts a kernel that GCC has built" "$(unset LIBCLANG_PATH && check_kdir -s --no-print-directory)" ""
}

# rustdoc's warnings are errors; the files that rust-project.json names must exist.
test_doc() {
	copy_sources
	cp -r "$TOP/scripts" "$work/copy/"
	check "make doc has no warnings" builds_silently doc
	check "make doc documents private items" \
		test -f "$work/copy/rustdoc/${name}/cttimeout/commands/struct.Delete.html"
	check_eq "make doc turns all references to kernel headers into links" \
		"$(grep -rl 'href="srctree/' "$work/copy/rustdoc/$name")" ""
	check "make rust-analyzer has no warnings" builds_silently rust-analyzer
	check_eq "rust-project.json has both modules, with the generated bindings" \
		"$(python3 -c '
import json, os, sys
for crate in json.load(open(sys.argv[1]))["crates"]:
    if crate["is_workspace_member"]:
        print(crate["display_name"], os.path.getsize(crate["env"]["CTTIMEOUT_BINDINGS"]) > 0)
' "$work/copy/rust-project.json")" "${name}_main True
cttimeout_test_subsystem_main True"
	if find_rust_analyzer; then
		# One error is added, to be sure that rust-analyzer looks for them.
		echo 'fn wrong(number: u32) { number.no_such_method(); }' >>"$work/copy/src/cttimeout/attrs.rs"
		check_eq "rust-analyzer finds no errors but the one that there is" "$(analyzed)" \
			"cttimeout/attrs.rs: no method \`no_such_method\` on type \`u32\`"
	else
		skip "rust-analyzer finds no errors" "there is none for $RUSTC"
	fi
}

# analyzed: the errors that an editor would show in the copy. rust-analyzer also reports
# static_branch_unlikely!() in a kernel without CONFIG_JUMP_LABEL, which is no error.
analyzed() {
	local log=$work/analyzer.log
	(cd "$work/copy" && "$RUST_ANALYZER" diagnostics .) >"$log" 2>&1
	grep -q "diagnostic scan complete" "$log" || tail -n 5 "$log"
	sed -n "s,.*at crate .* file $work/copy/src/\(.*\): Error .* to LineCol {[^}]*}: ,\1: ,p" "$log" |
		grep -v '^trace.rs: unresolved macro `\$crate::jump_label::arch_static_branch!`'
}

# The command of docs/GUIDES.md, with what its table says
test_guide() {
	copy_sources
	sed -n '/^```rust,ignore$/,/^```$/{/^```/d;p}' docs/GUIDES.md >>"$work/copy/src/cttimeout/commands.rs"
	sed -i 's/^const NEW: u8/const COUNT: u8 = 5;\n&/; s/^ *Callback::new::<DefaultGet>(),/&Callback::new::<Count>(),/' \
		"$work/copy/src/cttimeout/commands.rs"
	echo 'pub(super) const NUMBER: u16 = 7;' >>"$work/copy/src/cttimeout/attrs.rs"
	check "the command of docs/GUIDES.md compiles" builds_silently
}

# Code that must not come back does not compile, or does not pass clippy.
test_forbidden() {
	copy_sources
	echo 'pub(crate) fn peek(p: *const u8) -> u8 { unsafe { *p } }' >>"$work/copy/src/cttimeout/attrs.rs"
	check_fails "unsafe code in the policy logic does not compile" "unsafe_code" build
	copy_sources
	sed -i '0,/ *\/\/ SAFETY: /s// \/\/ /' "$work/copy/src/sync/refcount.rs"
	check_fails "clippy wants a SAFETY comment on each unsafe block" "undocumented" \
		builds_silently CLIPPY=1
}

# The files as they are in a kernel tree, built for the kernel that there is
test_series() {
	local tree=$work/series/tree
	mkdir "$work/series"
	check_series "$(kernel_source)" "$work/series"
	check "series: --into, for a build" series "$TOP" --into "$tree"
	check "series: the files in a tree build without warnings" silently "${KMAKE[@]}" -C "$kdir" \
		M="$tree/net/netfilter/cttimeout_rust" -j "$JOBS" modules
}

# The patches of make check-checks fit the sources.
test_broken() {
	local patch test
	for patch in tests/broken/*.patch; do
		check "${patch##*/} applies as it is" patch --dry-run -s -F 0 -p1 -i "$patch"
		test=$(sed -n 's/^Test: //p' "$patch")
		check "${patch##*/} names a test" compgen -G "tests/selftests/${test:-none}.*"
		check "${patch##*/} says what to expect" grep -q '^Expect: .' "$patch"
	done
}

# kernel_source: from the Makefile of the build directory, which may be the source itself
kernel_source() {
	local src
	src=$(sed -n 's/^include \(.*\)\/Makefile$/\1/p' "$kdir/Makefile")
	echo "${src:-$kdir}"
}

test_fragment() {
	echo "CONFIG_NF_CT_NETLINK_TIMEOUT_RUST=y" >"$work/fragment"
	echo "# CONFIG_NF_CT_NETLINK_TIMEOUT_RUST is not set" >"$work/config"
	check_fails "a fragment's line that has no effect is named" \
		"CONFIG_NF_CT_NETLINK_TIMEOUT_RUST=y did not take effect" \
		scripts/kernel.sh --check-config "$work/fragment" "$work/config"
	cp "$work/fragment" "$work/config"
	check "a fragment that has effect passes" \
		scripts/kernel.sh --check-config "$work/fragment" "$work/config"
}

# Each selftest's head says where check.sh runs it. There is no kernel "none", so that
# check.sh goes no further than to its name.
test_heads() {
	local tree=$work/heads test=tests/selftests/cttimeout_tcp.sh head
	mkdir "$tree" && cp -r scripts tests "$tree/"
	check_sh() { env -u KDIR -u ARCH KERNELS=none XDG_CACHE_HOME="$work" "$tree/scripts/check.sh" "$@"; }
	check_fails "check.sh: the heads of all selftests are in order" "usage: kernel.sh" check_sh
	for head in "" "# checks: plain" "# check:" "# check: none" "# check: plain/builtin" "# check: plain, debug" \
		"# check: plain; cpus: many" "# check: plain; slow: 1; cpus: 2" "# check: plain;" \
		$'# check: plain\n# check: debug' $'\n# check: plain'; do
		awk -v head="$head" '/^# check: /{ $0 = head } { print }' "$test" >"$tree/$test"
		check_fails "check.sh: a selftest with '${head//$'\n'/\\n}' in its head is an error" \
			"$test: its head has no line" check_sh cttimeout_nfct
	done
}

# A step of the set-up that fails ends the command, and the last line says which, why, and what to
# do. The programs are this machine's, but for apt's and those that are to be missing.
test_setup() {
	local bin=$work/bin broken=$work/broken-kernel program build=(env BINDGEN="$BINDGEN" KSRC="$work/broken-kernel")
	mkdir -p "$bin" "$broken/rust/kernel" && ln -sf /usr/sbin/* /usr/bin/* "$bin"
	touch "$broken/rust/kernel/lib.rs"
	# stub PROGRAM [LINE]: a program that does no more than the line
	stub() { rm -f "$bin/$1" && printf '#!/bin/sh\n%s\n' "${2:-}" >"$bin/$1" && chmod +x "$bin/$1"; }
	# stops STEP BROKEN COMMAND...: the step fails, because apt cannot do what BROKEN says
	stops() {
		local out status
		out=$(env -u KDIR -u KSRC -u KVERSION -u ARCH -u KERNELS -u BINDGEN -u PIP_FIND_LINKS PIP_NO_INDEX=1 PATH="$bin" \
			RUSTC="$RUSTC" LLVM_MAJOR="$LLVM_MAJOR" BROKEN="$2" XDG_CACHE_HOME="$work/empty-$KTAP_N" "${@:3}" 2>&1)
		status=$?
		check_eq "set-up: the command ends when $1 fails" "$status ${out##*$'\n'}" "$(grep -xE \
			"[1-9][0-9]* error: $1.* failed: .+; .+, then run the command again" <<<"$status ${out##*$'\n'}")"
	}
	stub sleep 'exec /bin/sleep 0.1'
	stub sudo 'exec "$@"'
	stub apt-get 'case " $* " in *" $BROKEN "*) echo "E: out of order" >&2; exit 100; esac'
	stub apt-cache 'case "$BROKEN $*" in update*) ;; *" policy openvswitch-"* | *" policy linux-source-7.3") echo " Candidate: 9"; esac'
	stub cargo 'echo "error: out of order" >&2; exit 101'
	for program in nfct conntrack iptables-legacy nft ip ping; do stub $program; done
	rm -f "$bin"/{bindgen,herd7,qemu-system-x86_64,vng}
	stops "installing qemu-system-x86" install scripts/demo.sh
	stub qemu-system-x86_64
	stops "installing virtme-ng" none scripts/demo.sh
	stops "building bindgen" none scripts/fuzz.sh
	stops "fetching linux-source-7.3" update scripts/litmus.sh
	stops "fetching linux-source-7.3 9" download env BINDGEN="$BINDGEN" KERNELS=debug scripts/check.sh host
	stops "unpacking linux-source-7.3 9" none env BINDGEN="$BINDGEN" KERNELS=debug scripts/check.sh host
	stops "fetching herdtools7" update env KSRC="$(kernel_source)" scripts/litmus.sh
	stops "reading Debian [a-z]+'s package lists for arm64" update scripts/root.sh arm64
	stops "fetching and unpacking the guest's packages for arm64" install scripts/root.sh arm64
	# From here on, there is a virtme-ng, packages are unpacked without effect, and make fails where BROKEN says.
	stub apt-cache 'echo " Candidate: 9"'
	for program in vng udevadm dpkg-checkbuilddeps; do stub $program; done
	stub dpkg-deb 'for dir; do :; done; mkdir -p "$dir"'
	stops "fetching (openvswitch-switch|32-bit clients)" download scripts/clients.sh "$kdir"
	stops "fetching 32-bit clients" --download-only scripts/clients.sh "$kdir"
	stub make 'case "$*" in
		*"$BROKEN") echo "error: out of order" >&2; exit 2 ;;
		*allnoconfig) {
			[ "$BROKEN" = lines ] || sed /=n$/d "$KCONFIG_ALLCONFIG"
			[ "$BROKEN" = rustavailable ] || echo CONFIG_RUST_IS_AVAILABLE=y
		} >"${KCONFIG_ALLCONFIG%/*}/.config" ;;
		*kernelrelease) echo 7.3 ;;
	esac'
	stops "configuring the debug kernel" allnoconfig "${build[@]}" KERNELS=debug scripts/check.sh host
	stops "configuring the debug kernel" lines "${build[@]}" KERNELS=debug scripts/check.sh host
	stops "trying the Rust tools" rustavailable "${build[@]}" KERNELS=debug scripts/check.sh host
	stops "building the debug kernel" all "${build[@]}" KERNELS=debug scripts/check.sh host
	stops "building the arm64 kernel" all "${build[@]}" KERNELS=arm64 scripts/check.sh cttimeout_tcp
	stops "building the module" modules env BINDGEN="$BINDGEN" KDIR="$kdir" scripts/demo.sh
	stops "reading the package lists of Debian sid" update env BINDGEN="$BINDGEN" KDIR="$kdir" scripts/check-ovs.sh
	stops "fetching Open vSwitch 9" download env BINDGEN="$BINDGEN" KDIR="$kdir" scripts/check-ovs.sh
	stops "building Open vSwitch 9" none env BINDGEN="$BINDGEN" KDIR="$kdir" scripts/check-ovs.sh
	stub dpkg-buildpackage 'echo "error: out of order" >&2; exit 2'
	stops "building the packages" none scripts/deb.sh
	# Without root's rights, as it fails before it needs them
	stub id 'echo 0'
	stub unshare 'shift; exec "$@"'
	stub dpkg 'echo "rustc: /"'
	stub debootstrap 'echo "E: out of order" >&2; exit 1'
	stops "making a bare Debian" none env BINDGEN="$BINDGEN" KDIR="$kdir" scripts/check-packaging.sh
	stub cp 'echo "error: out of order" >&2; exit 1'
	stops "copying the kernel source" none "${build[@]}" KERNELS=builtin scripts/check.sh host
}

# Other architectures, without a build for them
test_arch() {
	check_eq "base.config has each option that pc-only says is the PC's" \
		"$(grep '^CONFIG_' scripts/config/pc-only | while read -r option; do
			grep -q "^$option=" scripts/config/base.config || echo "$option"
		done)" ""
	check_fails "an unknown ARCH is refused" "is none of" env ARCH=mips scripts/kernel.sh plain
	check_fails "a debug kernel for s390x is refused" "a plain kernel only" env ARCH=s390x scripts/kernel.sh debug
	check_fails "a PC's kernel as one for s390x is refused" "is not for s390x" \
		env ARCH=s390 KDIR="$kdir" scripts/kernel.sh plain
	printf '#!/bin/sh\ntest "$*" = "--print target-list" || exec %q "$@"\n' "$RUSTC" >"$work/rustc"
	chmod +x "$work/rustc"
	ln -s "$RUSTFMT" "$CLIPPY_DRIVER" "$work/"
	check_fails "a compiler that does not support s390x is refused" "cannot compile for s390x" \
		env -u KDIR RUSTC="$work/rustc" scripts/kernel.sh s390x
}

# The built-in kernel has the module in its tree; its objects are reused.
test_intree() {
	check "the module is part of the kernel image" \
		grep -q "T __${name}_init\|t __${name}_init" "$kdir/System.map"
	check "the kernel lists it as built in" grep -q "/$name.ko" "$kdir/modules.builtin"
	local kmake=("${KMAKE[@]}" -C "$(kernel_source)" O="$kdir")
	cp "$kdir/.config" "$work/config"
	sed -i 's/^CONFIG_NF_CT_NETLINK_TIMEOUT_RUST=y/CONFIG_NF_CT_NETLINK_TIMEOUT_RUST=m/' "$kdir/.config"
	check "the module builds in the tree as =m, without warnings" \
		silently "${kmake[@]}" -j "$JOBS" modules
	check "the build in the tree as =m makes a .ko" test -f "$kdir/net/netfilter/cttimeout_rust/$name.ko"
	cp "$work/config" "$kdir/.config"
}

[ -z "$general" ] || [ "$kernel" = builtin ] || {
	test_sources
	test_documents
	test_kdir
	test_build
	test_doc
	test_guide
	test_forbidden
	test_series
	test_fragment
	test_heads
	test_setup
	test_arch
	test_broken
	check "the kernel's memory model allows no bad order of accesses, and the litmus tests would show it" scripts/litmus.sh
}
case $kernel in
debug)
	copy_sources
	[ -n "$general" ] || {
		check "the module builds for the debug kernel without warnings" builds_silently
		build clean >/dev/null
	}
	check "clippy has nothing to say of the unit tests" builds_silently CLIPPY=1 KUNIT=1
	;;
builtin) test_intree ;;
esac
finish
