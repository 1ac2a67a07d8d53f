#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
#
# Lets each allocation fail that a command makes: first the first, then the second,
# until the command gets through without a failure. Each time it says so, or
# succeeds; what failed changed nothing, and what succeeded is whole. The same for
# rules, namespaces, and loading the module.
#
# A namespace and a module take hundreds of allocations, of which the last few are the
# module's: all of those fail, and of the others some, or with ALL=1 in the environment
# all of them, too.
#
# What leaks is found by kmemleak, when all tests have run.

import ctypes
import errno
import itertools
import os
import random
import socket
import subprocess
import time

import iptables
import nfnl

MODULE = os.environ["MODULE"]
FILE = f"{os.environ['MODROOT']}/lib/modules/{os.uname().release}/{MODULE}.ko"
FAILSLAB = "/sys/kernel/debug/failslab"
CLONE_NEWNET, SYS_FINIT_MODULE = 0x40000000, 313
# A socket without memory for a message has a word of its own.
NO_MEMORY = errno.ENOMEM, errno.ENOBUFS
# Where some are enough: so many at the end, and one in so many before.
LAST, ONE_IN = 60, 8
libc = ctypes.CDLL(None, use_errno=True)
t = nfnl.Ktap()
total = [0]


def failing(call, number):
    """Makes the call, of which that allocation fails. Returns its error, and how many allocations
    there would have to be more for that."""
    with open("/proc/thread-self/fail-nth", "r+b", buffering=0) as file:
        try:
            os.pwrite(file.fileno(), b"%d" % number, 0)
            answer = call()
            error = answer.error if answer else 0
        except OSError as failure:
            error = failure.errno
        finally:
            left = int(os.pread(file.fileno(), 16, 0))
            os.pwrite(file.fileno(), b"0", 0)
    return error, left


def some(prepare):
    """Numbers of allocations: all, or enough of them."""
    many = 1_000_000
    allocations = many - failing(prepare(), many)[1]
    last = max(1, allocations - LAST)
    first = range(random.randint(1, ONE_IN), last, ONE_IN)
    return itertools.count(1) if os.environ.get("ALL") else itertools.chain(first, itertools.count(last))


def sweep(title, prepare, state, words=NO_MEMORY, numbers=None):
    """Injects failures until there is none. prepare() sets the scene and returns the call to make:
    it raises OSError, or returns the answer to a request, or nothing. The errors are to be among
    the words; None is for a call of which only a part is ours."""
    wrong, reported, failed = [], 0, 0
    for number in numbers or itertools.count(1):
        call = prepare()
        before = state()
        error, left = failing(call, number)
        if left:
            break
        failed += 1
        reported += error in NO_MEMORY
        # ENOBUFS can also mean that the answer was lost, which tells nothing of the command.
        changed = error not in (0, errno.ENOBUFS) and state() != before
        if changed or words and error not in (0, *words):
            wrong.append((number, errno.errorcode.get(error, error), before, state()))
    total[0] += failed
    t.equal(f"{title}: {failed} of {number - 1} allocations failed one by one, and no harm was done",
            wrong, [])
    t.check(f"{title}: failures were reported", reported, (number, reported))
    t.equal(f"{title}: with enough memory it succeeds", error, 0)


def new_namespace():
    global s
    iptables.checked(libc.unshare(CLONE_NEWNET))
    s = nfnl.Socket()


def create(text, seconds=100, flags=nfnl.F_CREATE | nfnl.F_EXCL):
    return s.create(text, 6, {nfnl.TCP_ESTABLISHED: seconds}, flags=flags)


def everything():
    return s.state(), [s.default_get(number) for number in nfnl.PROTOCOLS]


def simple(title, call, before=lambda: None):
    def prepare():
        before()
        return call
    sweep(title, prepare, everything)


def commands():
    new_namespace()
    simple("the first policy of a namespace", lambda: create("web"), new_namespace)
    simple("one more policy", lambda: create("mail"), lambda: s.delete("mail"))
    simple("replace", lambda: create("web", 200, nfnl.F_REPLACE),
           lambda: create("web", 100, nfnl.F_REPLACE))
    simple("get", lambda: s.request(nfnl.GET, nfnl.name("web")))
    simple("dump", lambda: s.dump())
    simple("default-set", lambda: s.default_set(17, {1: 77}), lambda: s.default_set(17, {1: 30}))
    simple("default-get", lambda: s.request(nfnl.DEFAULT_GET, nfnl.l3(), nfnl.l4(17)))
    simple("delete", lambda: s.delete("web"), lambda: create("web"))


NAMES = "p1", "p2", "p3"


def rules_and_flows():
    new_namespace()
    for text in NAMES:
        s.create(text, 17, {nfnl.UDP_UNREPLIED: 900})
    none = iptables.Table("raw")
    subprocess.run("ip link set lo up; for i in 1 2 3; do "
                   "iptables-legacy -t raw -A OUTPUT -p udp --dport 900$i -j CT --timeout p$i ||"
                   " exit; done", shell=True, check=True)
    rules = iptables.Table("raw")

    def take_out():
        none.put()
        return rules.replacer()

    def flows():
        for text in NAMES:
            s.create(text, 17, {nfnl.UDP_UNREPLIED: 900})
        rules.put()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            for port in 9001, 9002, 9003:
                udp.sendto(b"a packet", ("127.0.0.1", port))
        none.put()
        return s.flush

    sweep("rules for three policies", take_out, s.state)
    t.equal("each is used by one rule", [s.get(text).use for text in NAMES], [2] * 3)
    none.put()
    t.equal("and by none when the rules are gone", [s.get(text).use for text in NAMES], [1] * 3)
    sweep("flush of policies that flows have", flows, s.state)
    t.equal("none is left", s.state(), [])


def namespaces():
    old = os.readlink("/proc/self/ns/net")

    def unshare():
        iptables.checked(libc.unshare(CLONE_NEWNET))

    sweep("a namespace", lambda: unshare, lambda: os.readlink("/proc/self/ns/net"), None,
          some(lambda: unshare))
    t.check("it is another one", os.readlink("/proc/self/ns/net") != old)
    new_namespace()
    t.equal("policies can be created in it", create("web").error, 0)
    s.flush()


def loaded():
    return os.path.isdir(f"/sys/module/{MODULE}")


def unload():
    """Namespaces that have just ended may still hold the module."""
    for _ in range(200):
        if not loaded() or not subprocess.run(["rmmod", MODULE], stderr=subprocess.DEVNULL).returncode:
            return
        time.sleep(0.1)


def loading():
    with open(FILE, "rb") as file:
        def prepare():
            unload()
            return load

        def load():
            iptables.checked(libc.syscall(SYS_FINIT_MODULE, file.fileno(), b"", 0))

        sweep("loading the module", prepare, loaded, numbers=some(prepare))
    t.check("it is loaded", loaded())
    t.equal("and works", create("web").error, 0)
    s.flush()


if not os.path.exists("/proc/thread-self/fail-nth") or not os.path.isdir(FAILSLAB):
    t.skip("allocation failures", "this kernel cannot inject them")
    t.finish()
for knob, value in ("ignore-gfp-wait", "N"), ("verbose", "0"):
    with open(f"{FAILSLAB}/{knob}", "w") as file:
        file.write(value)
commands()
rules_and_flows()
namespaces()
loading()
print(f"# {total[0]} allocations failed in all")
t.finish()
