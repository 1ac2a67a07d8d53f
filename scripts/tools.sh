# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
need_vm_tools() { export PATH=/tmp/venv/bin:$PATH; VNG=/tmp/venv/bin/vng; }
