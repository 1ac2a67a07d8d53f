#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
# check: plain debug
#
# A dump that takes many calls of recv shows each policy that exists throughout
# exactly once, in the order of creation, and none that was created after it began,
# whatever comes and goes in between. Its messages never carry NLM_F_DUMP_INTR, at
# which libmnl would stop.

import random

import nfnl
from nfnl import name, references, settled
from processes import Number, come_and_go, meanwhile, runner

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
    return [m.attrs[nfnl.NAME][:-1].decode() for m in messages if m.errno is None]


def flags(messages):
    return {m.flags for m in messages}


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


for count in (0, 1, 2000):
    made, sock = create(count), nfnl.Socket()
    parts = list(dump(sock))
    shown = sum(parts, [])
    t.equal(f"{count} policies: a dump shows each once, in the order of creation",
            names(shown), made)
    t.equal(f"{count} policies: a dump ends with NLMSG_DONE, without error",
            [(i, m.payload) for i, m in enumerate(shown) if m.kind == nfnl.NLMSG_DONE],
            [(count, bytes(4))])
    t.equal(f"{count} policies: flags, sequence number and port of each message are right",
            {(m.flags, m.seq, m.port) for m in shown},
            {(nfnl.F_MULTI, sock.seq, sock.sock.getsockname()[0])})
    s.flush()
t.check("2000 policies: a dump takes many calls of recv", len(parts) > 20, len(parts))

made = create(200)
t.equal("a dump into buffers of an odd size, which are not aligned, is the same",
        names(sum(dump(size=9001), [])), made)
s.flush()

create(3)
for title, flag in (("NLM_F_ROOT", 0x100), ("NLM_F_MATCH", 0x200)):
    s.send(s.build(nfnl.GET, flags=flag))
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
t.equal("all buffers of a dump but the first and the last hold the same number of policies",
        set(sizes[1:-1]), {size})

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
    t.equal(f"{title} ahead: neither those nor new ones of their names are shown",
            [n for n in found if n in gone], [])
    t.equal(f"{title} ahead: NLM_F_DUMP_INTR is not set", flags(shown), {nfnl.F_MULTI})
    s.flush()
    made = create(400)

answers = []
shown = dump_while(lambda _: answers.append(s.flush().error))
t.equal("all deleted: what was in buffers is shown, and no more", names(shown), made[:first + size])
t.equal("all deleted: NLM_F_DUMP_INTR is not set", flags(shown), {nfnl.F_MULTI})
t.equal("all deleted: each flush during the dump succeeds", set(answers), {0})

# Three buffers; after the first, a change that only the third could show.
for title, change, last in (
        ("the last policy is deleted", lambda made: s.delete(made[-1]), []),
        ("the first policy is deleted", lambda made: s.delete(made[0]), [-1]),
        ("a policy is created", lambda made: s.create("policy new  "), [-1]),
        ("the last policy is created again",
         lambda made: (s.delete(made[-1]), s.create(made[-1])), []),
        ("nothing changes", lambda made: None, [-1])):
    made, parts = create(first + size + 1), []
    for messages in dump():
        if not parts:
            change(made)
        parts.append(messages)
    t.equal(f"{title} before the end: the last buffer is right", names(parts[-1]),
            [made[n] for n in last])
    t.equal(f"{title} before the end: NLM_F_DUMP_INTR is not set", flags(sum(parts, [])),
            {nfnl.F_MULTI})
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
                if rng.random() < 0.3:
                    s.create(victim)
            for i in range(rng.randrange(10)):
                s.create(f"new {len(parts)} {i}")
                late.append(len(parts))
    shown = sum(parts, [])
    found = names(shown)
    changed += any(after <= len(parts) - 2 for after in late)
    if [n for n in found if n in alive] != alive or [n for n in made if n in found] != found \
            or flags(shown) != {nfnl.F_MULTI}:
        wrong.append((turn, len(made), late, found))
    s.flush()
t.equal("random changes: policies that exist throughout are shown once, in order, and none that is new",
        wrong, [])
t.check("random changes: some came during a dump, others did not", 0 < changed < 15, changed)

# Between any two reads, more policies are created than the buffer holds.
made, count = create(100), 0
for part, messages in enumerate(dump(size=4096)):
    count += len(names(messages))
    if part > 20:
        break
    create(3 * first, f"new {part:04}")
t.check("policies created faster than a dump is read: the dump ends all the same",
        messages[-1].kind == nfnl.NLMSG_DONE, part)
t.equal("policies created faster than a dump is read: none of them is shown", count, len(made))
s.flush()

# Changes at any time, from another process, next to policies that stay.
for title, gaps, turns in (("one policy comes and goes", 1, 200),
                           ("300 policies come and go", 300, 20)):
    stay, others, wrong, changes = [], [f"come and go {i}" for i in range(gaps)], [], Number()
    for i in range(300):
        stay += create(1, f"stay {i:03}")
        if i < gaps:
            s.create(others[i])
    with meanwhile(lambda: come_and_go(others, changes)):
        for turn in range(turns):
            shown = sum(dump(), [])
            found = names(shown)
            if [n for n in found if n in stay] != stay or len(found) != len(set(found)) or \
                    flags(shown) != {nfnl.F_MULTI} or shown[-1].errno:
                wrong.append((turn, found, flags(shown)))
    t.equal(f"{title}: {turns} dumps show 300 that stay once, in order, and have no NLM_F_DUMP_INTR "
            "or error", wrong[:3], [])
    t.check(f"{title}: there were changes during dumps", changes.value > turns, changes.value)
    s.flush()

made = create(400)
both = [sum(parts, []) for parts in zip(*zip(dump(), dump()))]
t.equal("two dumps at once: each shows all", [names(messages) for messages in both], [made] * 2)
t.equal("two dumps at once: NLM_F_DUMP_INTR is not set", flags(sum(both, [])), {nfnl.F_MULTI})

# A dump keeps the module, also when there is nothing left to show.
sock = nfnl.Socket()
running = dump(sock)
next(running)
t.equal("each policy and a dump hold a reference to the module", settled(references, 401), 401)
s.flush()
t.equal("without policies, a dump holds a reference to the module", settled(references, 1), 1)
t.check("the module cannot be unloaded during a dump", not runner("unload"))
sock.sock.close()
t.equal("when the socket is closed, a dump holds no reference", settled(references, 0), 0)
t.check("the module can be unloaded after a dump", runner("unload"))
t.check("the module can be loaded again", runner("load"))
t.equal("a module that was loaded again has no policies", s.state(), [])
t.finish()
