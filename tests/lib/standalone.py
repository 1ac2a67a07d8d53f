# SPDX-License-Identifier: GPL-2.0
"""The same as standalone.sh, for tests in Python. It also puts the test into a network namespace of
its own, so that whatever the machine has is left alone.
"""

import ctypes
import os
import shutil
import subprocess
import sys

import nfnl

CLONE_NEWNET = 0x40000000
MODULE = "nfnetlink_cttimeout_rust"
# Where modprobe looks for options that are to be gone with the next boot
MODCONF = "/run/modprobe.d"


def skip_all(reason):
    """Ends the test, in the way that kselftest understands."""
    print(f"1..0 # SKIP {reason}", flush=True)
    sys.exit(4)


def need(*commands):
    """Skips the test unless these commands are installed."""
    for command in commands:
        if not shutil.which(command):
            skip_all(f"{command} is not installed")


def built_in():
    """Whether the module is part of the kernel."""
    try:
        return nfnl.configured("NF_CT_NETLINK_TIMEOUT_RUST")
    except OSError:
        return False


def loaded():
    """Whether it is there, one way or the other."""
    return built_in() or os.path.isdir(f"/sys/module/{MODULE}")


def need_loadable():
    """The test loads and unloads the module."""
    if built_in():
        skip_all(f"{MODULE} is built into the kernel")


sys.dont_write_bytecode = True
os.environ["MODULE"] = MODULE
os.environ["PATH"] += ":/usr/sbin:/sbin"
os.makedirs(MODCONF, exist_ok=True)
os.environ["MODCONF"] = MODCONF
# Functions that bash has in its environment
os.environ["BASH_FUNC_load%%"] = '() { modprobe "$@"; }'
os.environ["BASH_FUNC_unload%%"] = '() { modprobe -r "$@"; }'

print("TAP version 13", flush=True)
if os.geteuid():
    skip_all("only root can do this")
if not loaded():
    subprocess.run(["modprobe", MODULE], stderr=subprocess.DEVNULL, check=False)
if not loaded():
    skip_all(f"{MODULE} cannot be loaded")
need("ip")
if ctypes.CDLL(None).unshare(CLONE_NEWNET):
    skip_all("network namespaces cannot be made")
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
