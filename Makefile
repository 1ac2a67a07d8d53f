# SPDX-License-Identifier: GPL-2.0
#
# The front door for people; the kernel's build system reads Kbuild instead.
# "make help" says what there is.

KDIR ?= /lib/modules/$(shell uname -r)/build
# A kernel built by Clang wants its modules built by the same.
LLVM ?= $(shell sed -n 's/^CONFIG_CC_VERSION_TEXT=".*clang version \([0-9]*\)\..*/-\1/p' $(KDIR)/.config 2>/dev/null)
export LIBCLANG_PATH ?= $(if $(LLVM),/usr/lib/llvm$(LLVM)/lib)

kbuild = $(MAKE) -C $(KDIR) M=$(CURDIR) $(if $(LLVM),LLVM=$(LLVM))

# KDIR names the kernel for demo, check and bench only if the caller gave it.
scripts_env = $(if $(filter command% environment%,$(origin KDIR)),KDIR='$(abspath $(KDIR))')

.PHONY: all install clean help demo check bench check-kdir

all: check-kdir
	$(kbuild) modules

check-kdir:
	@test -d $(KDIR) || { echo "error: there is no kernel build at KDIR=$(KDIR); name one, or install the headers" >&2; exit 1; }
	@test -f $(KDIR)/rust/libkernel.rmeta || { echo "error: the kernel at KDIR=$(KDIR) was not built with CONFIG_RUST=y, or only its headers are there: rust/libkernel.rmeta is missing" >&2; exit 1; }

install: all
	$(kbuild) modules_install

clean:
	@if [ -d $(KDIR) ]; then $(kbuild) clean; else \
		find . -name '*.o' -o -name '*.ko' -o -name '*.mod' -o -name '*.mod.c' -o -name '.*.cmd' | xargs -r rm -f; \
		rm -f Module.symvers modules.order bindings_generated.rs; fi

demo:
	@env -u MAKEFLAGS -u LLVM -u LIBCLANG_PATH $(scripts_env) scripts/demo.sh

check:
	@env -u MAKEFLAGS -u LLVM -u LIBCLANG_PATH $(scripts_env) scripts/check.sh $(TESTS)

bench:
	@env -u MAKEFLAGS -u LLVM -u LIBCLANG_PATH $(scripts_env) scripts/bench.sh

help:
	@echo 'make demo                 set everything up, then the module at work in a virtual machine'
	@echo 'make check                set everything up, then all tests (KTAP)'
	@echo 'make check TESTS="T ..."  only these, e.g. TESTS=cttimeout_errors; TESTS=host for those without a guest'
	@echo 'make check KERNELS=plain  only on this kernel (plain, debug, builtin)'
	@echo 'make bench                compare with the C module, in instructions'
	@echo 'make KDIR=DIR             build nfnetlink_cttimeout_rust.ko for the kernel built in DIR'
	@echo 'make KDIR=DIR install     install it with its modules (INSTALL_MOD_PATH= as usual)'
	@echo 'make clean                remove what the build made here'
	@echo 'scripts/graft.sh TREE     put the module into a kernel source tree (--remove: take it out)'
	@echo
	@echo 'KDIR=DIR (a finished build) or KSRC=DIR (a source tree) also work with demo, check and bench.'
	@echo 'What is fetched and built is kept in $${XDG_CACHE_HOME:-~/.cache}/nfnetlink-cttimeout-rust.'
