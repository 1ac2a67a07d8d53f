#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
# check: plain debug; slow: 3
#
# Network namespaces do not wait for each other. While a command in one namespace takes long, a
# client of another completes pairs of create and delete. Long commands are a create whose memory
# cgroup is over memory.high, so that it reclaims and waits, and a flush of many policies, some of which
# flows have. The end of a namespace takes long as well. Two writers of one namespace,
# however, exclude each other.
#
# No time is measured. If both needed one lock, the client could complete no pair from one moment to
# another at which the kernel's stack of the other process shows that it is within that command. Without
# that evidence, it could complete one pair, before the other process has got the lock.

import errno
import os
import re
import socket
import subprocess
import time

import nfnl
from nfnl import data, l3, l4, name, references
from processes import Cgroup, Number, libc, meanwhile, new_namespace, together, unshare

SLOW = nfnl.configured("KASAN")
PAIRS = 5           # so many tell that a client does not wait, where there is no other evidence
PATIENCE = 120      # seconds at most
FLOWS = 20          # so many of the policies that are flushed
MANY = 3000 if SLOW else 20000
MORE = 5000 if SLOW else 100000
SO_SNDBUFFORCE = 32
MCL_CURRENT, MCL_FUTURE = 1, 2
t = nfnl.Ktap()


def creates(sock, count):
    """Datagrams that create many policies, and have no answer to successes."""
    message = sock.build(nfnl.NEW, name("policy 000000"), l3(), l4(17), data(), flags=nfnl.F_CREATE)
    number = b"000000"
    for at in range(0, count, 1000):
        yield b"".join(message.replace(number, b"%06d" % i) for i in range(at, min(at + 1000, count)))


def fill(sock, count):
    for datagram in creates(sock, count):
        sock.send(datagram)


class Busy:
    """How often a process has begun and ended a long command, and where in the kernel it is."""

    def __init__(self):
        self.number, self.process = Number(), Number()

    def __enter__(self):
        self.process.value = os.getpid()
        self.number.value += 1

    def __exit__(self, *_):
        self.number.value += 1

    def stack(self):
        """The functions of the kernel that the process is in."""
        with open(f"/proc/{self.process.value}/stack") as file:
            return set(re.findall(r"([\w.]+)\+0x", file.read()))

    def sleeps(self):
        """How often the process has begun to sleep."""
        with open(f"/proc/{self.process.value}/status") as file:
            return next(line for line in file if line.startswith("voluntary_ctxt_switches"))

    def within(self, function="", asleep=False):
        """Tells one command from the others (or one sleep in it), while the process is within that
        function of the kernel, on behalf of netlink; else None."""
        number = self.number.value
        if not number % 2 or function and not {function, "netlink_rcv_skb"} <= self.stack():
            return None
        moment = number, asleep and self.sleeps()
        return moment if number == self.number.value else None


def most_pairs(moment, enough=PAIRS):
    """Creates and deletes until enough pairs are completed at one moment; returns the most."""
    s, most, pairs, last = nfnl.Socket(), 0, 0, None
    end = time.monotonic() + PATIENCE
    while most < enough and time.monotonic() < end:
        before = moment()
        errors = s.create("pair", 17).error, s.delete("pair").error
        assert errors == (0, 0), errors
        pairs = pairs + 1 if before == last else 1
        last = moment()
        if before and before == last:
            most = max(most, pairs)
        else:
            pairs = 0
    return most


def wait_for(condition):
    end = time.monotonic() + 5 * PATIENCE
    while not condition():
        assert time.monotonic() < end, "a process has not come so far"
        time.sleep(0.1)


def goes_on(title, most, enough=PAIRS):
    t.check(f"{title}: a client of another namespace goes on meanwhile", most >= enough,
            f"it has completed {most} of {enough} pairs")


# A create that has to wait because its cgroup has far more memory than memory.high allows
def throttled(group, busy, ready):
    unshare()
    sock = nfnl.Socket()
    sock.sock.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, 16 << 20)
    datagram = b"".join(creates(sock, 3000))
    flush = sock.build(nfnl.DELETE, flags=0)
    assert not libc.mlockall(MCL_CURRENT | MCL_FUTURE)
    group.enter()
    ready.value = 1
    while True:
        with busy:
            sock.send(datagram)
        sock.send(flush)


def throttle():
    group, busy, ready = Cgroup("waits"), Busy(), Number()
    group.write("memory.high", 64 << 10)
    with meanwhile(lambda: throttled(group, busy, ready)):
        wait_for(lambda: ready.value)
        most = most_pairs(lambda: busy.within("__mem_cgroup_handle_over_high", asleep=True))
        high = group.numbers("memory.events")["high"]
        group.write("memory.high", "max")
    group.remove()
    t.check("a create that is throttled: its memory cgroup was over memory.high", high, high)
    goes_on("a create that is throttled", most)


# A flush
def flushing(busy):
    new_namespace()
    s = nfnl.Socket()
    rules = "".join(f"-A OUTPUT -p udp --dport {9000 + i} -j CT --timeout \"policy {i:06}\"\n"
                    for i in range(FLOWS))
    while True:
        fill(s, MANY)
        assert len(s.dump().messages) == MANY
        for text in f"*raw\n{rules}COMMIT\n", "*raw\nCOMMIT\n":
            subprocess.run("iptables-legacy-restore", input=text, text=True, check=True)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
                for i in range(FLOWS):
                    udp.sendto(b"a packet", ("127.0.0.1", 9000 + i))
        with busy:
            answer = s.flush()
        assert not answer.error and not answer.text, (answer.errno_name, answer.text)


def flush():
    busy = Busy()
    with meanwhile(lambda: flushing(busy)):
        most = most_pairs(busy.within)
    goes_on(f"a flush of {MANY} policies", most)


# The end of a namespace. Each of its policies has a reference to the module until it is gone.
def ending(full):
    unshare()
    fill(nfnl.Socket(), MORE)
    full.value = 1
    time.sleep(1000)


def end():
    full = Number()
    first = nfnl.settled(references, 0)
    with meanwhile(lambda: ending(full)):
        wait_for(lambda: full.value)
        there = references() - first
    t.check(f"the end of a namespace: it has {MORE} policies", there >= MORE, there)
    s, pairs, errors, limit = nfnl.Socket(), 0, set(), time.monotonic() + PATIENCE
    while (left := references()) > first and time.monotonic() < limit:
        errors |= {s.create("pair", 17).error, s.delete("pair").error}
        pairs += first < references() < first + MORE
    print(f"# {pairs} pairs")
    t.equal("the end of a namespace: it is not held up by a client of another", left, first)
    t.equal("the end of a namespace: each command of a client of another succeeds", errors, {0})
    t.check(f"the end of a namespace: a client of another completes {PAIRS} pairs meanwhile",
            pairs >= PAIRS, pairs)


# Two writers in one namespace
def writing(created, deleted):
    s = nfnl.Socket()
    for _ in range(5):
        for i in range(100):
            error = s.create(f"both {i}", 17).error
            assert error in (0, errno.EEXIST), error
            created.value += not error
        for i in range(100):
            error = s.delete(f"both {i}").error
            assert error in (0, errno.ENOENT), error
            deleted.value += not error


def writers():
    created, deleted = (Number(), Number()), (Number(), Number())
    t.equal("two writers of one namespace: each answer is one that the other can bring about",
            together(*(lambda i=i: writing(created[i], deleted[i]) for i in range(2))), "")
    print("# created", *(n.value for n in created), "deleted", *(n.value for n in deleted))
    s = nfnl.Socket()
    names = [policy[0] for policy in s.state()]
    t.equal("two writers of one namespace: what was created and not deleted is there, once",
            (sum(n.value for n in created) - sum(n.value for n in deleted), len(set(names))),
            (len(names), len(names)))
    t.check("two writers of one namespace: each was told of the other's doing",
            all(n.value < 500 for n in created), [n.value for n in created])
    s.flush()


unshare()
throttle()
flush()
end()
writers()
t.equal("after neighbours that did not wait, nothing refers to the module", nfnl.settled(references, 0), 0)
t.finish()
