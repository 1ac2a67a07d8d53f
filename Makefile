# SPDX-License-Identifier: GPL-2.0
#
# The front door for people; the kernel's build system reads Kbuild instead.
# "make help" says what there is.

KDIR ?= /lib/modules/$(shell uname -r)/build
cache := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/nfnetlink-cttimeout-rust

# A module wants the very compilers that its kernel was built with, and the
# kernel's configuration says which those are. (apt runs DKMS without /usr/local in
# the PATH.)
config = $(shell sed -n 's/^$(1)="\(.*\)"$$/\1/p' '$(KDIR)/.config' 2>/dev/null)
kernel_rustc := $(call config,CONFIG_RUSTC_VERSION_TEXT)
RUSTC ?= $(shell for r in rustc /usr/bin/rustc /usr/local/bin/rustc; do \
	test "$$($$r --version 2>/dev/null)" = "$(kernel_rustc)" && echo $$r && break; done)
LLVM ?= $(shell echo '$(call config,CONFIG_CC_VERSION_TEXT)' | \
	sed -n 's/.*clang version \([0-9]*\)\..*/-\1/p')
BINDGEN ?= $(or $(shell command -v bindgen),$(firstword $(wildcard $(cache)/tools/bin/bindgen /usr/local/bin/bindgen)))
# For a kernel built with GCC, bindgen has to look for libclang itself. LIBCLANG_PATH is
# not set at all then, because an empty value would mean something else.
libclang := $(wildcard /usr/lib/llvm$(filter -%,$(LLVM))/lib)
ifneq ($(libclang),)
export LIBCLANG_PATH ?= $(libclang)
endif

# The kernel's architecture, if not the PC, as its own Makefile calls it
kernel_arch = $(shell sed -n 's/^CONFIG_\(S390\|ARM64\)=y$$/\L\1/p' '$(KDIR)/.config' 2>/dev/null)

kbuild = $(MAKE) -C $(KDIR) M=$(CURDIR) RUSTC=$(RUSTC) BINDGEN=$(BINDGEN) \
	$(if $(LLVM),LLVM=$(LLVM)) $(addprefix ARCH=,$(kernel_arch))

# The scripts are told KDIR only if the caller gave it.
scripts_env = $(if $(filter command% environment%,$(origin KDIR)),KDIR='$(abspath $(KDIR))')

# Targets that run the script of their name (profile: that of bench)
commands := demo check check-checks check-ovs conformance litmus fuzz bench profile deb check-packaging series check-series

.PHONY: all install clean help check-kdir doc rust-analyzer $(commands)

all: check-kdir
	+$(kbuild) modules

fail = { echo "error: $(1)" >&2; exit 1; }
comma := ,

# Options that the module uses, and that a kernel can be without. (32-bit kernels have not been
# tried yet; nothing in the code needs 64 bits.)
needed := MODULES 64BIT NF_CONNTRACK NF_CONNTRACK_TIMEOUT NETFILTER_NETLINK
lacking = $(strip $(foreach o,$(needed),$(if $(shell \
	grep -x 'CONFIG_$(o)=[ym]' '$(KDIR)/.config'),,CONFIG_$(o))))
bindgen_min := 0.71.1

check-kdir:
	@test -d '$(KDIR)' || \
		$(call fail,there is no kernel build at KDIR=$(KDIR); name one)
	@test -f '$(KDIR)/.config' || \
		$(call fail,KDIR=$(KDIR) is no kernel build: .config is missing)
	@grep -qx 'CONFIG_RUST=y' '$(KDIR)/.config' || \
		$(call fail,the kernel at KDIR=$(KDIR) was not built with CONFIG_RUST=y)
	@test -f '$(KDIR)/rust/libkernel.rmeta' || \
		$(call fail,the kernel at KDIR=$(KDIR) is not completely built$(comma) or only its headers are there: rust/libkernel.rmeta is missing)
	@test -z '$(lacking)' || \
		$(call fail,the kernel at KDIR=$(KDIR) was built without $(lacking)$(comma) which the module needs)
	@! grep -x 'CONFIG_NF_CT_NETLINK_TIMEOUT\(_RUST\)*=y' '$(KDIR)/.config' || \
		$(call fail,the kernel at KDIR=$(KDIR) has that built in$(comma) so this module could never be loaded)
	@test -s '$(KDIR)/Module.symvers' || \
		$(call fail,the kernel at KDIR=$(KDIR) is not completely built: Module.symvers is missing; run "make" there$(comma) not only "make modules_prepare")
	@test -n '$(RUSTC)' && test "$$($(RUSTC) --version)" = '$(kernel_rustc)' || \
		$(call fail,the kernel at KDIR=$(KDIR) was built with $(kernel_rustc)$(comma) which was not found; name it with RUSTC=)
	@test -z '$(filter -%,$(LLVM))' || { command -v clang$(LLVM) && command -v ld.lld$(LLVM); } >/dev/null || \
		$(call fail,the kernel at KDIR=$(KDIR) was built with clang$(LLVM)$(comma) but clang$(LLVM) or ld.lld$(LLVM) was not found; name a directory or suffix with LLVM=)
	@test -n '$(BINDGEN)' || \
		$(call fail,bindgen was not found; install it$(comma) or name it with BINDGEN=)
	@printf '%s\n' 'bindgen $(bindgen_min)' "$$($(BINDGEN) --version workaround-for-0.69.0)" | sort -CV || \
		$(call fail,$$($(BINDGEN) --version workaround-for-0.69.0) is older than $(bindgen_min); name another with BINDGEN=)
	@$(BINDGEN) /dev/null -- -x c >/dev/null 2>&1 || \
		$(call fail,$(BINDGEN) does not work: $$($(BINDGEN) /dev/null -- -x c 2>&1 | grep -o 'Unable to find libclang' || echo 'try it on any header')$(comma) see LIBCLANG_PATH=)
	@case "$$(cat '$(KDIR)/include/config/kernel.release' 2>/dev/null)" in 7.3 | 7.3[.-]*) ;; *) \
		echo 'note: the module is written for Linux 7.3, and the kernel at KDIR=$(KDIR) is another' >&2 ;; esac

install: all
	+$(kbuild) modules_install

clean:
	find . -path ./.git -prune -o \( -name '*.o' -o -name '*.ko' -o -name '*.mod' \
		-o -name '*.mod.c' -o -name '.*.cmd' -o -name '.*.d' \) -print | xargs -r rm -f
	rm -rf Module.symvers modules.order bindings_generated.rs rustdoc rust-project.json

# rustdoc and its warnings are the compiler's; so is the source of the standard library.
RUSTDOC ?= $(dir $(shell command -v $(RUSTC)))rustdoc
sources = $(realpath $(or $(wildcard $(KDIR)/source),$(KDIR)))

# References to kernel headers lead to the kernel's source, as in its own documentation.
doc: check-kdir
	+$(kbuild) RUSTDOC=$(RUSTDOC) DOC=1 modules
	@grep -Ehro 'href="srctree/[^"]+"' rustdoc/nfnetlink_cttimeout_rust | cut -d/ -f2- | tr -d '"' | sort -u | \
		while read -r file; do test -e "$(sources)/$$file" || echo "warning: $(sources) has no $$file"; done
	@find rustdoc/nfnetlink_cttimeout_rust -name '*.html' -exec sed -i 's,href="srctree/,href="$(sources)/,' {} +
	@echo 'rustdoc/nfnetlink_cttimeout_rust/index.html'

rust-analyzer: all
	+$(kbuild) rust-analyzer
	@scripts/rust-project.py rust-project.json bindings_generated.rs

$(commands): script = $@
$(commands): arguments =
check: arguments = $(TESTS)
check-checks: arguments = $(BROKEN)
profile: script = bench
profile: arguments = profile
series: arguments = $(or $(SERIES),series)
check-series: arguments = $(PARTS)
litmus: arguments = $(TESTS)
$(commands):
	@env -u MAKEFLAGS -u LIBCLANG_PATH $(scripts_env) scripts/$(script).sh $(arguments)

help:
	@echo 'make demo                 set everything up, and show the module at work in a virtual machine'
	@echo 'make check                set everything up, and run all tests (KTAP)'
	@echo 'make check TESTS="T ..."  only these, e.g. TESTS=cttimeout_errors; TESTS=host for those without a guest'
	@echo 'make check KERNELS=plain  only on this kernel (plain, debug, builtin, s390x, arm64)'
	@echo 'make check ARCH=s390x     on another architecture, emulated (s390x, arm64)'
	@echo 'make check TESTS=cttimeout_ovs ZONES=1000  with so many zones at once (255 otherwise)'
	@echo 'make check-checks         break the module on purpose; the checkers have to report it (BROKEN="leak ...": only these)'
	@echo 'make check-ovs            Open vSwitch'\''s own test of timeout policies (KERNELS=, MODULE=nfnetlink_cttimeout: with the C module)'
	@echo 'make conformance          send the same traffic to the C module and to this one (SEED=, COUNT=, STEPS=)'
	@echo 'make litmus               check the order of memory accesses by the kernel'\''s memory model (TESTS="retire ...")'
	@echo 'make fuzz                 send messages of all kinds to the module; continue the last run (TIME=600, MESSAGES=)'
	@echo 'make fuzz SEED=n          start at the first message of that seed; REPLAY=file, MINIMIZE=file: repeat or shorten what was found'
	@echo 'make bench                measure both modules, and check each bound'
	@echo 'make bench FULL=1         the same with larger tables, and on the real processor (UPDATE=1: into docs/)'
	@echo 'make profile              count the instructions of a request by kernel function'
	@echo 'make KDIR=DIR             build nfnetlink_cttimeout_rust.ko for the kernel built in DIR'
	@echo 'make KDIR=DIR install     install it with its modules (INSTALL_MOD_PATH= as usual)'
	@echo 'make KDIR=DIR doc         documentation by rustdoc, private items included'
	@echo 'make KDIR=DIR rust-analyzer   rust-project.json, for editors'
	@echo 'make clean                remove the results of a build in this directory'
	@echo 'make deb                  Debian packages: for DKMS, and for policies that survive a reboot'
	@echo 'make check-packaging      build and install them in a clean Debian, and boot a kernel with it (root)'
	@echo 'make series AUTHOR="N <A>" SUBJECT_PREFIX="RFC PATCH nf-next" BASE=COMMIT   write patches for the kernel tree, to series/ (SERIES=DIR: there)'
	@echo 'make check-series         apply them, build the kernel after each, and run their selftests there (PARTS="patches options lint builtin module")'
	@echo 'scripts/series.sh --into TREE   put the same files into a kernel source tree (--remove TREE: take them out)'
	@echo
	@echo 'KDIR=DIR (a finished build) or KSRC=DIR (a source tree) also work with demo, check, check-*, conformance, fuzz, bench and profile; KSRC= also with litmus and series.'
	@echo 'Downloads and builds are kept in $${XDG_CACHE_HOME:-~/.cache}/nfnetlink-cttimeout-rust.'
