#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
# check: plain debug; cpus: 4; slow: 2
# needs: conntrack iptables-legacy
#
# Everything at once: commands from many sockets, rules and packets while
# policies come and go, namespaces that end in the middle of it, clients that are
# killed during a dump, and the module unloaded while they use it. Meanwhile, the
# test looks for nothing but answers that make no sense; the rest is left to the
# kernel's checkers. In the end, the counts add up, all references have been dropped,
# and there are as many objects in the kernel's caches as in the beginning.
#
# ROUNDS= in the environment says how many rounds each process does: 150, or 60 on a
# kernel with KASAN.

import atexit
import errno
import os
import random
import socket
import subprocess
import time

import iptables
import nfnl
from processes import (Number, libc, meanwhile, new_namespace, runner, start, together,
                       unshare)

ROUNDS = int(os.environ.get("ROUNDS") or (60 if nfnl.configured("KASAN") else 150))
MODULE = os.environ["MODULE"]
OPTIONS = os.environ["MODCONF"] + "/detach.conf"
NAMES = [f"policy {i}" for i in range(6)]
# The slab caches of policies, flows and namespaces, except those that others use heavily.
CACHES = ("nf_conntrack", "net_namespace", "kmalloc-cg-96", "kmalloc-cg-128", "kmalloc-cg-192",
          "kmalloc-cg-256", "kmalloc-cg-512")
# In these caches, all objects are ours; two namespaces may be on their way out, see objects().
FEW = {"nf_conntrack": 0, "net_namespace": 2}
# In the other caches together, up to this many additional objects may belong to others.
OTHERS = 100
t = nfnl.Ktap()


# The work of a process. The errors that a command may have are those of a state that
# another process has just brought about.
def commands():
    s = nfnl.Socket()
    possible = {
        lambda n: s.create(n, 17, {1: 9}): (0, errno.EEXIST),
        lambda n: s.create(n, 17, nfnl.distinct(17, 50), flags=nfnl.F_REPLACE): (0,),
        lambda n: s.request(nfnl.GET, nfnl.name(n)): (0, errno.ENOENT),
        lambda n: s.delete(n): (0, errno.ENOENT, errno.EBUSY),
        lambda n: s.dump(): (0,),
        lambda n: s.default_set(17, {1: random.randrange(10, 30)}): (0,),
        lambda n: s.flush() if random.random() < 0.1 else s.dump(): (0,),
    }
    for _ in range(ROUNDS):
        call = random.choice(list(possible))
        answer = call(random.choice(NAMES))
        assert answer.error in possible[call], answer.errno_name
        for policy in answer.policies:
            # Each value is one that somebody gave; and there is no policy that nobody uses.
            assert policy.name in NAMES and policy.l4proto == 17, policy.name
            assert policy.use > 0, policy.use
            assert policy.values[1] in (9, 51) and policy.values[2] in (52, 120), policy.values


def rules():
    for _ in range(ROUNDS):
        try:
            random.choice(tables).put()
        except OSError as error:
            assert error.errno in (errno.ENOENT, errno.EAGAIN), error  # the policy is not there


def packets():
    for _ in range(ROUNDS):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            for number in range(len(NAMES)):
                udp.sendto(b"a packet", ("127.0.0.1", 9000 + number))


def half_read(reader):
    """Begins a dump of which the socket's buffer does not hold all."""
    reader.send(reader.build(nfnl.GET, flags=nfnl.F_DUMP))
    assert nfnl.NLMSG_DONE not in [message.kind for message in reader.receive(8192)]


def namespaces():
    """Each ends with all that is in it: policies, a rule, a flow, and a dump that is half read."""
    for number in range(ROUNDS // 10):
        new_namespace()
        s = nfnl.Socket()
        for i in range(200):
            s.create(f"policy {i}", 17)
        reader = nfnl.Socket()
        half_read(reader)
        if number % 2:
            tables[1].open()
            tables[1].put()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.sendto(b"a packet", ("127.0.0.1", 9000))


def killed():
    """Processes that are killed in the middle of a dump."""
    new_namespace()
    s = nfnl.Socket()
    for i in range(200):
        s.create(f"policy {i}", 17)
    far = Number()

    def reading():
        half_read(nfnl.Socket())
        far.value = 1
        time.sleep(1000)

    for _ in range(ROUNDS // 10):
        far.value = 0
        with meanwhile(reading):
            assert nfnl.settled(lambda: far.value, 1), "the process has not come so far"


def growing():
    """The table grows beyond the size that is searched linearly, and shrinks again."""
    s = nfnl.Socket()
    for _ in range(ROUNDS // 5):
        for i in range(20):
            assert not s.create(f"goes {i}", 17).error
        for i in range(20):
            assert not s.delete(f"goes {i}").error


def finding():
    """The policy that stays is found each time."""
    s = nfnl.Socket()
    for _ in range(ROUNDS * 10):
        answer = s.request(nfnl.GET, nfnl.name("stays"))
        assert not answer.error, answer.errno_name


def rule_makers():
    """Rules ask for a policy that is not there, by a hook that may not be there, either."""
    while not reloaded.value:
        try:
            tables[1].put()
            raise AssertionError("there is no such policy")
        except OSError as error:
            assert error.errno in (errno.ENOENT, errno.EAGAIN), error
        time.sleep(0.05)  # each time, the module is in use for a moment


def callers():
    """Module or not, each answer is either the module's, or one that comes without it."""
    s = nfnl.Socket()
    while not reloaded.value:
        for answer in s.request(nfnl.GET, nfnl.name("web")), s.dump(), s.default_set(17, {1: 30}):
            assert answer.error in (0, errno.ENOENT, errno.EINVAL, errno.EPROTONOSUPPORT), \
                answer.errno_name


def last_rules():
    """Policies go, and then the rules that still use them: the last of them lets go of the module."""
    s = nfnl.Socket()
    while not reloaded.value:
        created = [s.create(text, 17).error for text in NAMES[:3]]
        try:
            tables[1].put()
            held.value += 1
        except OSError as error:
            assert any(created) and error.errno in (errno.ENOENT, errno.EAGAIN), (created, error)
        for text in NAMES[:3]:
            s.delete(text)
        tables[0].put()


def unload_at_once():
    """Saves the time that modprobe takes, to hit the moment when nothing holds the module."""
    return not libc.delete_module(MODULE.encode(), os.O_NONBLOCK)


def reload(unload):
    try:
        for _ in range(ROUNDS // 10):
            while not unload():
                pass
            assert runner("load")
    finally:
        reloaded.value = 1


def objects():
    """How many there are in the caches."""
    # The namespaces that ended last are freed only when another one ends, which itself lingers.
    os.waitpid(start(unshare), 0)
    for cache in CACHES:
        # After that, free objects are not kept in reserve, and not counted.
        with open(f"/sys/kernel/slab/{cache}/shrink", "w") as file:
            file.write("1")
    with open("/proc/slabinfo") as file:
        counts = {cache: int(active) for cache, active, *_ in map(str.split, file)
                  if cache in CACHES}
    assert len(counts) == len(CACHES), counts
    return counts


new_namespace()
s = nfnl.Socket()
before = objects()
tables = [iptables.Table("raw")]
reloaded, held = Number(), Number()
for some in NAMES[:3], NAMES[3:]:
    for i, text in enumerate(some):
        s.create(text, 17, {1: 9})
        subprocess.run(["iptables-legacy", "-t", "raw", "-A", "OUTPUT", "-p", "udp", "--dport",
                        str(9000 + i), "-j", "CT", "--timeout", text], check=True)
    tables.append(iptables.Table("raw"))
    tables[0].put()

t.equal(f"on {os.cpu_count()} CPUs, {ROUNDS} rounds each of commands (3 times), rules, packets, and "
        f"{ROUNDS // 10} of namespaces and killed dumps",
        together(commands, commands, commands, rules, packets, namespaces, killed), "")
for text in NAMES:
    s.create(text, 17)
tables[1].put()
t.equal("after the commands, each policy counts the rules that there are",
        {p.name: p.use for p in s.dump().policies},
        {text: 2 if text in NAMES[:3] else 1 for text in NAMES})
t.equal("after the commands, the module has a reference for each policy",
        nfnl.settled(nfnl.references, 6), 6)
tables[0].put()
t.equal("after the commands, each policy without rules is used by none",
        {p.use for p in s.dump().policies} - {1},
        set())
t.equal("after the commands, all policies can be deleted", (s.flush().error, s.state()), (0, []))
s.create("stays", 17)
t.equal(f"a policy is found while the table grows and shrinks {ROUNDS // 5} times",
        together(growing, finding, finding), "")
t.equal("the policy that stayed while the table grew and shrank can be deleted",
        s.delete("stays").error, 0)
t.equal("without policies, nothing refers to the module", nfnl.settled(nfnl.references, 0), 0)
subprocess.run(["conntrack", "-F"], stderr=subprocess.DEVNULL, check=True)


def added():
    """Whether there are more objects than before."""
    more = {cache: count - before[cache] for cache, count in objects().items()}
    excess = {cache: count for cache, count in more.items() if count > 0}
    few = all(excess.get(cache, 0) <= number for cache, number in FEW.items())
    return {} if few and sum(excess.values()) <= OTHERS else excess


t.equal(f"there are no more flows than before, two namespaces, and of other objects at most {OTHERS}",
        nfnl.settled(added, {}), {})
t.equal(f"the module is unloaded {ROUNDS // 10} times while clients call",
        together(lambda: reload(lambda: runner("unload")), callers, callers, callers, rule_makers), "")
t.equal("a module that was unloaded while clients called works",
        (s.create("web").error, s.flush().error), (0, 0))
# Not only for when it is loaded here: a command that finds no module makes the kernel load it.
atexit.register(lambda: os.path.exists(OPTIONS) and os.unlink(OPTIONS))
with open(OPTIONS, "w") as file:
    file.write(f"options {MODULE} detach_in_use=1\n")
while not runner("unload"):
    pass
for text in NAMES[:3]:
    s.create(text, 17)
tables[1].put()
refused = s.delete(NAMES[0]).error
tables[0].put()
s.flush()
t.equal("a module that was loaded with detach_in_use=1 has it", refused, 0)
if refused:
    t.finish()  # Policies with rules would not be deleted, and would keep the module loaded.
reloaded.value = 0
t.equal(f"the module is unloaded {ROUNDS // 10} times as soon as a deleted policy's last rule has gone",
        together(lambda: reload(unload_at_once), last_rules), "")
t.check("the module had rules between one unload and the next",
        held.value >= ROUNDS // 10, held.value)
t.equal("a module that was unloaded as soon as the last rule had gone works",
        (s.create("web").error, s.flush().error, nfnl.settled(nfnl.references, 0)), (0, 0, 0))
os.unlink(OPTIONS)
t.check("the module can be loaded without detach_in_use=1", runner("unload") and runner("load"))
subprocess.run(["conntrack", "-F"], stderr=subprocess.DEVNULL, check=True)
t.equal("there are no more objects after detach_in_use=1 than in the beginning",
        nfnl.settled(added, {}), {})
t.finish()
