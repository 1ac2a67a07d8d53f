#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
# check: plain debug
#
# A dump that takes many calls of recv shows every policy that lives through it
# exactly once, in the order of creation, whatever comes and goes in between;
# if anything did, it says so by NLM_F_DUMP_INTR.

import os
import random
import signal
import subprocess
import time

import nfnl
from nfnl import name

t = nfnl.Ktap()
s = nfnl.Socket()


def dump(sock=None, size=8192):
    """Dumps; yields the messages of each call of recv in turn. The socket is a new one by default,
    because the kernel makes its buffers as large as the largest that a socket ever offered."""
    sock = sock or nfnl.Socket()
    sock.send(sock.build(nfnl.GET, flags=nfnl.F_DUMP))
    messages = []
    while not messages or messages[-1].kind != nfnl.NLMSG_DONE:
        messages = sock.receive(size)
        yield messages


def names(messages):
    return [m.policy().name for m in messages if m.kind != nfnl.NLMSG_DONE]


def interrupted(messages):
    return any(m.flags & nfnl.F_DUMP_INTR for m in messages)


def create(count, prefix="policy"):
    """Creates policies whose messages are all of the same size; returns their names."""
    made = [f"{prefix} {i:05}" for i in range(count)]
    assert not any(s.create(text).error for text in made)
    return made


def dump_while(change):
    """Dumps, and calls change(number of policies shown so far) after each buffer."""
    shown = []
    for messages in dump():
        shown += messages
        change(len(shown))
    return shown


def refcnt(expected):
    """The number of references to the module, once it is as expected: a socket lets go of its
    own a grace period after it was closed."""
    for _ in range(200):
        with open(f"/sys/module/{os.environ['MODULE']}/refcnt") as file:
            count = int(file.read())
        if count == expected:
            break
        time.sleep(0.05)
    return count


def runner(function):
    """Has bash load or unload the module, by one of its functions; whether that worked."""
    return subprocess.run(["bash", "-c", f'{function} "$MODULE"'],
                          stderr=subprocess.DEVNULL).returncode == 0


for count in (0, 1, 2000):
    made, sock = create(count), nfnl.Socket()
    parts = list(dump(sock))
    shown = sum(parts, [])
    t.equal(f"{count}: a dump shows each policy once, in the order of creation", names(shown), made)
    t.equal(f"{count}: it ends with NLMSG_DONE, without error",
            [(i, m.payload) for i, m in enumerate(shown) if m.kind == nfnl.NLMSG_DONE],
            [(count, bytes(4))])
    t.equal(f"{count}: flags, sequence number and port of each message are right",
            {(m.flags, m.seq, m.port) for m in shown},
            {(nfnl.F_MULTI, sock.seq, sock.sock.getsockname()[0])})
    s.flush()
t.check("the last of these dumps took many calls of recv", len(parts) > 20, len(parts))

made = create(200)
t.equal("a dump into buffers of an odd size, which are not aligned, is the same",
        names(sum(dump(size=9001), [])), made)
s.flush()

create(3)
for title, flags in (("NLM_F_ROOT", 0x100), ("NLM_F_MATCH", 0x200)):
    s.send(s.build(nfnl.GET, flags=flags))
    t.equal(f"{title} alone asks for a dump, too, as in the C module",
            len(s.collect(s.seq).messages), 3)
s.send(s.build(nfnl.GET, name("policy 00001"), flags=nfnl.F_DUMP))
t.equal("a dump does not look at the name", len(s.collect(s.seq).messages), 3)
s.flush()

# One buffer is always filled in advance. So when N policies have been shown,
# the kernel goes on with policy N + size (of those that are left).
made = create(400)
sizes = [len(names(part)) for part in dump()]
first, size = sizes[:2]
t.equal("buffers but the first and the last hold the same number of policies", set(sizes[1:-1]),
        {size})

# Each time, exactly the policy that the kernel would continue with is deleted, or
# replaced by another one of the same name.
for title, again in (("deleted", False), ("deleted and created again", True)):
    gone = []

    def change(shown):
        at = shown + size + len(gone)
        if at < len(made):
            gone.append(made[at])
            s.delete(made[at])
            if again:
                s.create(made[at])

    shown = dump_while(change)
    found = names(shown)
    t.check(f"{title} ahead: the dump goes on behind the gap",
            len(gone) > 3 and found[first + size] != gone[0], gone)
    t.equal(f"{title} ahead: the others are shown once, in order",
            [n for n in found if n not in gone], [n for n in made if n not in gone])
    t.equal(f"{title} ahead: the new ones are shown behind, once, in order",
            [n for n in found if n in gone], gone if again else [])
    t.check(f"{title} ahead: NLM_F_DUMP_INTR is set", interrupted(shown))
    s.flush()
    made = create(400)

answers = []
shown = dump_while(lambda _: answers.append(s.flush().error))
t.equal("all deleted: what was in buffers is shown, and no more", names(shown), made[:first + size])
t.check("all deleted: NLM_F_DUMP_INTR is set", interrupted(shown))
t.equal("all deleted: all succeeded", set(answers), {0})

# Three buffers; after the first, a change that only the third can tell of.
for title, change, last in (
        ("the last policy is deleted", lambda made: s.delete(made[-1]), []),
        ("the first policy is deleted", lambda made: s.delete(made[0]), [-1]),
        ("a policy is created", lambda made: s.create("policy new  "), [-1, "policy new  "]),
        ("nothing", lambda made: None, [-1])):
    made, parts = create(first + size + 1), []
    for messages in dump():
        if not parts:
            change(made)
        parts.append(messages)
    t.equal(f"{title} before the end: the last buffer is right", names(parts[-1]),
            [made[n] if n == -1 else n for n in last])
    t.equal(f"{title} before the end: NLM_F_DUMP_INTR is only set there, on the first message",
            [bool(m.flags & nfnl.F_DUMP_INTR) for part in parts for m in part],
            [False] * (first + size) + [title != "nothing"] + [False] * len(last))
    s.flush()

# Changes at random places. Those after the last buffer was filled cannot show.
rng, wrong, changed = random.Random(1), [], 0
for turn in range(15):
    made, parts, late = create(rng.randrange(100, 400)), [], []
    alive = list(made)
    for messages in dump():
        parts.append(messages)
        if rng.random() < 0.5:
            for victim in rng.sample(alive, min(len(alive), rng.randrange(60))):
                alive.remove(victim)
                s.delete(victim)
                late.append(len(parts))
            for i in range(rng.randrange(10)):
                s.create(f"new {len(parts)} {i}")
                late.append(len(parts))
    shown = sum(parts, [])
    expect = any(after <= len(parts) - 2 for after in late)
    changed += expect
    if [n for n in names(shown) if n in alive] != alive or interrupted(shown) != expect \
            or len(set(names(shown))) != len(names(shown)):
        wrong.append((turn, len(made), late, names(shown)))
    s.flush()
t.equal("random changes: who lives through the dump is shown once, in order, and the flag is right",
        wrong, [])
t.check("random changes: some dumps were interrupted, others were not", 0 < changed < 15, changed)

# Changes at any time, from another process, next to policies that stay.
stay = []
for i in range(300):
    stay += [f"stay {i:03}"]
    s.create(stay[-1])
    s.create(f"come and go {i}")
child = os.fork()
if child == 0:
    mine = nfnl.Socket()
    while True:
        text = f"come and go {rng.randrange(300)}"
        mine.delete(text)
        mine.create(text)
shown = [sum(dump(), []) for _ in range(20)]
os.kill(child, signal.SIGKILL)
os.waitpid(child, 0)
t.check("changes in parallel: the policies that stay are shown once, in order",
        all([n for n in names(messages) if n in stay] == stay for messages in shown))
t.check("changes in parallel: NLM_F_DUMP_INTR was seen", any(map(interrupted, shown)))
s.flush()

made = create(400)
both = [sum(parts, []) for parts in zip(*zip(dump(), dump()))]
t.equal("of two dumps at once, each shows all", [names(messages) for messages in both], [made] * 2)
t.check("and neither is interrupted", not any(map(interrupted, both)))

# A dump keeps the module, also when there is nothing left to show.
sock = nfnl.Socket()
running = dump(sock)
next(running)
t.equal("each policy and the dump hold a reference to the module", refcnt(401), 401)
s.flush()
t.equal("without policies, the dump holds one", refcnt(1), 1)
t.check("so the module cannot be unloaded", not runner("unload"))
sock.sock.close()
t.equal("when the socket is closed, it holds none", refcnt(0), 0)
t.check("and the module can be unloaded", runner("unload"))
t.check("and loaded again", runner("load"))
t.equal("there are no policies then", s.state(), [])
t.finish()
