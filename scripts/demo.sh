#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# make demo: sets everything up, then shows the module at work in a virtual
# machine.

. "$(dirname "$0")/lib.sh"

kdir=$("$TOP/scripts/kernel.sh" plain) || exit
modules=$("$TOP/scripts/module.sh" "$kdir") || exit
say "==> booting the virtual machine"
"$TOP/scripts/vm.sh" -t 300 "$kdir" "$TOP/tests/demo.sh" "$modules" |
	sed -n '/^--- demo begins ---$/,/^--- demo ends ---$/{/^---/!p}'
exit "${PIPESTATUS[0]}"
