#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
# check: debug; slow: 10
#
# Makes each allocation of a command fail in turn: the first, then the second, and so on,
# until the command completes without a failure. Each time, the command either reports
# the failure and changes nothing, or succeeds and does everything that it should. The
# same goes for rules, namespaces, and loading the module.
#
# A namespace and a module take hundreds of allocations, few of which have to do with
# this module: where those few are made, each fails; of all others, only some do, or with
# ALL=1 in the environment, each of them. kmemleak's own allocations never fail. Of those
# that a program causes, only those of the kernel function that deals with rules fail.
#
# Leaks are found by kmemleak, after all tests have run.

import contextlib
import errno
import itertools
import os
import random
import socket
import subprocess
import time

import iptables
import nfnl
from processes import CLONE_NEWNET, checked, libc, runner, unshare

MODULE = os.environ["MODULE"]
FILE = f"{os.environ['MODROOT']}/lib/modules/{os.uname().release}/{MODULE}.ko"
FAILSLAB = "/sys/kernel/debug/failslab/"
SYS_FINIT_MODULE = 313
# A socket without memory for a message has a word of its own.
NO_MEMORY = errno.ENOMEM, errno.ENOBUFS
# Where some are enough: one in so many
SOME = 1 if os.environ.get("ALL") else 8
PLENTY = 1_000_000
t = nfnl.Ktap()
total = [0]


def knob(name, value):
    with open(FAILSLAB + name, "w") as file:
        file.write(value)


def addresses(function):
    """Where the code of a kernel's function begins, and the next one."""
    with open("/proc/kallsyms") as file:
        lines = [line.split()[:3] for line in file]
    start = next(int(address, 16) for address, _, name in lines if name == function)
    return start, min(n for n in (int(address, 16) for address, *_ in lines) if n > start)


@contextlib.contextmanager
def below(function, calls=32):
    """Only allocations by that function fail, or by what it calls, up to this many calls deep."""
    start, end = addresses(function)
    # Two calls more: the allocator, and what makes it fail.
    for name, value in ("require-start", start), ("require-end", end), ("stacktrace-depth", min(calls + 2, 32)):
        knob(name, hex(value))
    yield
    for name, value in ("require-start", 0), ("require-end", 2 ** 64 - 1), ("stacktrace-depth", 32):
        knob(name, hex(value))


class Program:
    """A call made by running a program. below() determines which of its allocations may fail."""

    def __init__(self, *words):
        self.words = words

    def failing(self, number):
        def arm():
            with open("/proc/self/fail-nth", "wb", buffering=0) as file:
                file.write(b"%d" % number)

        process = subprocess.Popen(self.words, preexec_fn=arm, stdout=subprocess.DEVNULL,
                                   stderr=subprocess.PIPE, text=True)
        said = process.stderr.read()
        # Until the process has been reaped, what is left can still be read from /proc.
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        with open(f"/proc/{process.pid}/fail-nth") as file:
            left = int(file.read())
        if not process.wait():
            return 0, None, left
        for error, text in (errno.ENOMEM, "memory"), (errno.ENOBUFS, "buffer"):
            if text in said.lower():
                return error, None, left
        print("#", *self.words, ":", *said.split())
        return errno.EPROTO, None, left


def failing(call, number):
    """Makes the call, with allocation `number` of it failing. Returns its error, what it shows, and
    how many more allocations it would have had to make for that (0 if the allocation did fail)."""
    if isinstance(call, Program):
        return call.failing(number)
    shown = None
    with open("/proc/thread-self/fail-nth", "r+b", buffering=0) as file:
        try:
            os.pwrite(file.fileno(), b"%d" % number, 0)
            answer = call()
            error = answer.error if answer else 0
            shown = answer and [(policy.name, policy.values) for policy in answer.policies]
        except OSError as failure:
            error = failure.errno
        finally:
            left = int(os.pread(file.fileno(), 16, 0))
            os.pwrite(file.fileno(), b"0", 0)
    return error, shown, left


def sweep(title, prepare, state, words=NO_MEMORY, step=1, partial=False):
    """Injects failures until there is none. prepare() sets the scene and returns the call to make,
    which raises OSError, or returns the answer to a request, or nothing. Errors have to be among
    `words`; None is for a call only part of which is ours. If `partial`, the call may also succeed
    without any effect on us."""
    error, all_shown, left = failing(prepare(), PLENTY)
    allocations = PLENTY - left
    t.equal(f"{title}: with enough memory it succeeds", error, 0)
    after = state()
    wrong, reported, failed = [], 0, 0
    for number in itertools.count(random.randint(1, step), step):
        call = prepare()
        before = state()
        error, shown, left = failing(call, number)
        if left:
            break
        failed += 1
        reported += error in NO_MEMORY
        # ENOBUFS can also mean that the answer was lost, which tells nothing of the command.
        possible = {0: [after, before] if partial else [after],
                    errno.ENOBUFS: [before, after]}.get(error, [before])
        if state() not in possible or not error and shown != all_shown or \
                words and error not in (0, *words):
            wrong.append((number, errno.errorcode.get(error, error), shown, before, state()))
    total[0] += failed
    t.equal(f"{title}: {failed} of {allocations} allocations failed one by one, and no harm was done",
            wrong, [])
    t.check(f"{title}: failures were reported", reported, (number, reported))
    t.equal(f"{title}: then it succeeds again", (error, state()), (0, after))


def new_namespace():
    global s
    unshare()
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
    sweep("dump", lambda: nfnl.Socket().dump, everything)
    simple("default-set", lambda: s.default_set(17, {1: 77}), lambda: s.default_set(17, {1: 30}))
    simple("default-get", lambda: s.request(nfnl.DEFAULT_GET, nfnl.l3(), nfnl.l4(17)))
    simple("delete", lambda: s.delete("web"), lambda: create("web"))


def many():
    """Enough policies for an index, and for a dump of several buffers"""
    def sixteen():
        new_namespace()
        for i in range(16):
            create(f"policy {i}")

    simple("the policy that makes the index", lambda: create("one more"), sixteen)
    t.equal("the policy that makes the index: all are found by it",
            [bool(s.get(f"policy {i}")) for i in range(16)], [True] * 16)
    for i in range(300):
        create(f"row {i}")

    def dump():
        reader = nfnl.Socket()
        return lambda: reader.dump(8192)

    sweep("a dump of several buffers", dump, lambda: None)
    s.flush()


def send_to(*ports):
    """A packet each, which makes a flow."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        for port in ports:
            udp.sendto(b"a packet", ("127.0.0.1", port))


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
        send_to(9001, 9002, 9003)
        none.put()
        return s.flush

    sweep("rules for three policies", take_out, s.state)
    t.equal("rules for three policies: each is used by one rule",
            [s.get(text).use for text in NAMES], [2] * 3)
    none.put()
    t.equal("rules for three policies: each is used by none when the rules are gone",
            [s.get(text).use for text in NAMES], [1] * 3)
    sweep("flush of policies that flows have", flows, s.state)
    t.equal("flush of policies that flows have: none is left", s.state(), [])


def nftables():
    new_namespace()
    s.create("nft", 17, {nfnl.UDP_UNREPLIED: 900})

    def prepare():
        subprocess.run(["iptables-nft", "-t", "raw", "-F"], check=True)
        assert s.get("nft").use == 1
        return Program("iptables-nft", "-t", "raw", "-A", "OUTPUT", "-p", "udp", "-j", "CT", "--timeout", "nft")

    with below("nfnetlink_rcv"):
        sweep("a rule of nftables", prepare, s.state)
    prepare()
    s.flush()


def open_vswitch():
    dpctl = f"{os.environ['CLIENTS']}/ovs/usr/bin/ovs-dpctl"
    if not os.path.exists(dpctl):
        t.skip("a flow of Open vSwitch", "openvswitch-switch cannot be installed here")
        return
    assert runner("load", "openvswitch")
    new_namespace()
    s.create("ovs", 17, {nfnl.UDP_UNREPLIED: 900})
    subprocess.run([dpctl, "add-dp", "cttimeout"], check=True)

    def prepare():
        subprocess.run([dpctl, "del-flows", "cttimeout"], check=True)
        # Flows that were deleted are gone some time later.
        assert nfnl.settled(lambda: s.get("ovs").use, 1) == 1
        return Program(dpctl, "add-flow", "cttimeout", "in_port(0),eth(),eth_type(0x0800),ipv4(proto=17),udp()",
                       "ct(commit,timeout=ovs)")

    # Without memory for the timeout, Open vSwitch has a flow without one.
    with below("ovs_flow_cmd_new"):
        sweep("a flow of Open vSwitch", prepare, s.state, partial=True)
    prepare()
    s.flush()
    subprocess.run([dpctl, "del-dp", "cttimeout"], check=True)
    assert runner("unload", "openvswitch")


def namespaces():
    with open("/proc/self/ns/net") as old:
        def prepare():
            checked(libc.setns(old.fileno(), CLONE_NEWNET))
            return unshare

        def made():
            return not os.path.samestat(os.fstat(old.fileno()), os.stat("/proc/self/ns/net"))

        with below("ops_init", calls=3):
            sweep("what each subsystem has for a namespace", prepare, made, None)
        sweep("a namespace", prepare, made, None, SOME)
    new_namespace()
    t.equal("a namespace: policies can be created in it", create("web").error, 0)
    s.flush()


def loaded():
    return os.path.isdir(f"/sys/module/{MODULE}")


def unload():
    """Namespaces that have just ended may still hold the module."""
    for _ in range(600):
        if not loaded() or not subprocess.run(["rmmod", MODULE], stderr=subprocess.DEVNULL).returncode:
            return
        time.sleep(0.1)
    raise TimeoutError("the module cannot be unloaded")


def load(parameters=b""):
    with open(FILE, "rb") as file:
        checked(libc.syscall(SYS_FINIT_MODULE, file.fileno(), parameters, 0))


def loading():
    def prepare():
        unload()
        return load

    with below("do_one_initcall"):
        sweep("the module's beginning", prepare, loaded)
    sweep("loading the module", prepare, loaded, step=SOME)
    t.equal("loading the module: a policy can be created", create("web").error, 0)
    s.flush()


def detaching():
    """Delete of a policy in use, which takes it from the flows at once, and leaves it to the rules"""
    unload()
    load(b"detach_in_use=1")
    new_namespace()
    none = iptables.Table("raw")
    s.create("web", 17, {nfnl.UDP_UNREPLIED: 900})
    subprocess.run("ip link set lo up; iptables-legacy -t raw -A OUTPUT -p udp --dport 9001 -j CT --timeout web",
                   shell=True, check=True)
    rules = iptables.Table("raw")

    def prepare(call):
        none.put()
        s.flush()
        s.create("web", 17, {nfnl.UDP_UNREPLIED: 900})
        rules.put()
        send_to(9001)
        return call

    sweep("delete of a policy in use, with detach_in_use", lambda: prepare(lambda: s.delete("web")), s.state)
    t.equal("delete of a policy in use, with detach_in_use: it is gone", s.state(), [])
    sweep("flush of a policy in use, with detach_in_use", lambda: prepare(s.flush), s.state)
    t.equal("flush of a policy in use, with detach_in_use: it is gone", s.state(), [])
    none.put()


if not os.path.exists("/proc/thread-self/fail-nth") or not os.path.isdir(FAILSLAB):
    t.skip("allocation failures", "this kernel cannot inject them")
    t.finish()
if not os.path.exists(FAILSLAB + "reject-start"):
    t.skip("allocation failures", "this kernel cannot choose them (CONFIG_FAULT_INJECTION_STACKTRACE_FILTER)")
    t.finish()
knob("ignore-gfp-wait", "N")
knob("verbose", "0")
if os.path.exists("/sys/kernel/debug/kmemleak"):
    for edge, address in zip(("start", "end"), addresses("__alloc_object")):
        knob(f"reject-{edge}", hex(address))
commands()
many()
rules_and_flows()
nftables()
open_vswitch()
namespaces()
detaching()
loading()
print(f"# {total[0]} allocations failed in all")
t.finish()
