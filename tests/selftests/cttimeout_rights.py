#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
# check: plain/s390x
#
# Rights: nothing without CAP_NET_ADMIN in the network namespace; everything
# in a network namespace of one's own, but nothing that has an effect outside; and the
# memory for it is charged to the caller, who cannot exceed the limit.

import ast
import ctypes
import errno
import mmap
import os
import pathlib
import resource
import socket
import sys
import time

import nfnl
from processes import CLONE_NEWNET, CLONE_NEWUSER, Cgroup, in_child, libc, start, unshare

NOBODY = 65534
COUNT = 3000
LIMIT = 512 << 10
MCL_CURRENT, MCL_FUTURE = 1, 2
MODULE = os.environ["MODULE"]
SWITCHES = pathlib.Path("/proc/sys/net/netfilter")
# Most architectures use the same system call numbers; these two have numbers of their own.
SYS_FINIT_MODULE = {"x86_64": 313, "s390x": 344}.get(os.uname().machine, 273)
t = nfnl.Ktap()


def become_nobody():
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)


def own_namespaces():
    """Root in a user namespace of one's own, with a network namespace that belongs to it."""
    become_nobody()
    unshare(CLONE_NEWUSER | CLONE_NEWNET)


def every_command(sock):
    """The errors of all commands, as they can be sent by anybody."""
    answers = [sock.create("mine"), sock.create("web", values={3: 7}, flags=nfnl.F_REPLACE),
               sock.request(nfnl.GET, nfnl.name("web")), sock.dump(), sock.delete("web"),
               sock.flush(), sock.default_set(17, {1: 7}),
               sock.request(nfnl.DEFAULT_GET, nfnl.l3(), nfnl.l4(17))]
    return [answer.errno_name for answer in answers]


def everything():
    return s.state(), [s.default_get(number) for number in nfnl.PROTOCOLS]


s = nfnl.Socket()
s.create("web", 6, nfnl.distinct(6, 500))
before = everything()


# Not root at all, and root of something else.
def nobody():
    become_nobody()
    return every_command(nfnl.Socket())


def root_elsewhere():
    sock = nfnl.Socket()  # of a network namespace that is not theirs
    own_namespaces()
    return every_command(sock)


def nobody_later():
    sock = nfnl.Socket()
    become_nobody()
    return every_command(sock)


for title, function in (("without rights", nobody),
                        ("root in a user namespace, with a socket from outside", root_elsewhere),
                        ("a socket that root has made and nobody uses", nobody_later)):
    t.equal(f"{title}: every command answers EPERM", in_child(function), repr(["EPERM"] * 8))
    t.equal(f"{title}: nothing has changed", everything(), before)


# Root in a user namespace, with a network namespace that belongs to it.
def root_at_home():
    own_namespaces()
    sock = nfnl.Socket()
    seen = sock.state()
    made = sock.create("web", 17, {1: 7}).error, sock.default_set(17, {1: 8}).error
    return seen, made, sock.get("web").values[1], sock.default_get(17)[1], sock.flush().error


t.equal("at home: nothing of the outside is seen, and all commands work", in_child(root_at_home),
        repr(([], (0, 0), 7, 8, 0)))
t.equal("at home: nothing of it is seen outside", everything(), before)


def parameter():
    own_namespaces()
    path = f"/sys/module/{MODULE}/parameters/detach_in_use"
    return os.access(path, os.W_OK)


t.equal("at home: the module's parameter cannot be written", in_child(parameter), "False")


# Conntrack's own switches there
def switches():
    own_namespaces()
    sock = nfnl.Socket()
    (SWITCHES / "nf_conntrack_udp_timeout").write_text("77")
    try:
        (SWITCHES / "nf_conntrack_max").write_text("5")
        refused = 0
    except OSError as error:
        refused = error.errno
    return sock.default_get(17)[nfnl.UDP_UNREPLIED], refused in (errno.EACCES, errno.EPERM)


t.equal("at home: conntrack's timeouts can be written, its limits cannot", in_child(switches),
        repr((77, True)))
t.equal("at home: conntrack's timeouts change nothing outside", everything(), before)


def modules():
    own_namespaces()
    # The capability is checked before the file is looked at.
    with open("/proc/self/exe", "rb") as file:
        results = (libc.syscall(SYS_FINIT_MODULE, file.fileno(), b"detach_in_use=1", 0),
                   ctypes.get_errno(),
                   libc.delete_module(MODULE.encode(), os.O_NONBLOCK), ctypes.get_errno())
    return results


t.equal("at home: the module can be neither loaded nor unloaded", in_child(modules),
        repr((-1, errno.EPERM, -1, errno.EPERM)))


# Policies are charged to whoever makes them. Each process that does so has a cgroup of its own:
# the memory of an earlier one's namespaces is freed some time later, and would make room for more.
def charged():
    """The growth of the memory cgroup's slab memory, in bytes for each policy, when policies come
    and when they go again."""
    def slab():
        return other.numbers("memory.stat")["slab"]

    other.enter()
    own_namespaces()
    sock = nfnl.Socket()
    sock.create("the first")
    start = slab()
    for i in range(COUNT):
        sock.create(f"policy {i}")
    # Each processor tells of what it counted from time to time only.
    for _ in range(100):
        full = slab()
        if full - start > 100 * COUNT:
            break
        time.sleep(0.1)
    sock.flush()
    # The memory is given back a grace period later.
    for _ in range(100):
        if slab() - start < (full - start) / 2:
            break
        time.sleep(0.1)
    return (full - start) / COUNT, (slab() - start) / COUNT


# And they stop at the limit.
def until_refused(sock, messages, buffer):
    """Sends the messages until one is refused; returns how many were not, and the error. Allocates
    no memory itself, because a process at its limit would be killed for that."""
    for done, message in enumerate(messages):
        sock.sock.send(message)
        sock.sock.recv_into(buffer)
        if any(buffer[16:20]):
            return done, -int.from_bytes(buffer[16:20], sys.byteorder, signed=True)
    return len(messages), 0


def report_to(page, text):
    """Leaves a report in memory that both processes have already: at its limit, a process would be
    killed for sending it through a socket."""
    page[1:] = text.encode()[-len(page) + 1:].ljust(len(page) - 1, b"\0")
    page[0] = 1


def limited(gate, page):
    """Makes policies until there is no memory, deletes some and makes others; what became of it."""
    def report(*numbers):
        report_to(page, " ".join(map(str, numbers)))
        gate.recv(1)

    group.enter()
    # From now on, what the process itself needs stays in memory.
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert not libc.mlockall(MCL_CURRENT | MCL_FUTURE)
    own_namespaces()
    sock, buffer = nfnl.Socket(), bytearray(4096)

    def build(command, text, *attrs, flags=nfnl.F_ACK):
        return sock.build(command, nfnl.name(text), *attrs, flags=flags)

    def new(text):
        return build(nfnl.NEW, text, nfnl.l3(), nfnl.l4(17), nfnl.data(),
                     flags=nfnl.F_CREATE | nfnl.F_ACK)

    unknown = [build(nfnl.DELETE, f"unknown {i}") for i in range(2 * COUNT)]
    # Far more than there is room for: the page cache is reclaimed to make room for them.
    first = [new(f"policy {i}") for i in range(5 * COUNT)]
    some = [build(nfnl.DELETE, f"policy {i}") for i in range(500)]
    again = [new(f"policy {i}") for i in range(100)]
    # The first policy also allocates what a namespace with policies needs; and what Python has done
    # once, it can do again without more memory.
    until_refused(sock, [new("the first")] + unknown[:1], buffer)
    for message in unknown:
        until_refused(sock, [message], buffer)
    report(0)
    done, error = until_refused(sock, first, buffer)
    report(done, error)
    gone, made = until_refused(sock, some, buffer)[0], 0
    # The memory comes back a grace period later.
    for _ in range(300):
        made += until_refused(sock, again[made:], buffer)[0]
        if made == len(again):
            break
        time.sleep(0.1)
    report(gone, made)
    left = len(sock.state()) - 1
    sock.flush()
    report(left)


group, other = Cgroup("limited"), Cgroup("charged")
figures = in_child(charged)
came, left = ast.literal_eval(figures)
t.check("policies are charged to the memory cgroup of the process that creates them",
        100 < came < 1000, figures)
t.check("policies that are gone are not charged to the memory cgroup", left < came / 2, figures)
s.flush()

gate, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
page = mmap.mmap(-1, 4096)
child = start(lambda: (gate.close(), limited(theirs, page)), lambda text: report_to(page, text))
theirs.close()


def report():
    """The next line that it prints."""
    for _ in range(3000):
        if page[0]:
            page[0] = 0
            text = page[1:].rstrip(b"\0").decode()
            return tuple(map(int, text.split())) if text[:1].isdigit() else text
        if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            return "it has ended"
        time.sleep(0.1)
    return "it says nothing"


def next_step():
    """Lets it go on; returns its next report."""
    gate.send(b"x")
    return report()


report()
group.write("memory.max", group.numbers("memory.current") + LIMIT)
said = next_step()
created, error = said if isinstance(said, tuple) else (0, said)
t.equal("at the limit of its memory cgroup, a process gets ENOMEM",
        errno.errorcode.get(error, error), "ENOMEM")
t.check("a process gets ENOMEM only when there are many policies", created > 500, created)
print(f"# {created} policies in {LIMIT >> 10} KiB")
t.equal("at the limit of its memory cgroup, 500 deleted policies make room for 100",
        next_step(), (500, 100))
group.write("memory.max", "max")
t.equal("the policies of the requests that succeeded are there, and no others",
        next_step(), (created - 400,))
gate.send(b"x")
t.equal("the process at the limit of its memory cgroup ends without error",
        os.waitpid(child, 0)[1], 0)
events = group.numbers("memory.events")
t.check("the memory cgroup's limit was reached", events["max"], events)
t.equal("no process had to be ended for the memory cgroup's limit",
        (events["oom"], events["oom_kill"]),
        (0, 0))
s.flush()
group.remove()
other.remove()
t.finish()
