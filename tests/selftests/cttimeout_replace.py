#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
# check: plain debug
#
# NLM_F_REPLACE changes the values of a policy, and nothing else; concurrent readers
# see either the old or the new value of a state, never anything else.

import json
import os
import select

import nfnl
from nfnl import attr, be32, data, distinct, l3, l4, name, nest

READERS, READS = 2, 2000

t = nfnl.Ktap()
s = nfnl.Socket()


def replace(text, number, values, l3num=nfnl.IPV4, flags=nfnl.F_REPLACE):
    return s.create(text, number, values, l3num, flags)


def state_with(text, values):
    """The state if only the values of one policy changed."""
    return [p[:4] + (values,) if p[0] == text else p for p in before]


for number, (protocol, count) in nfnl.PROTOCOLS.items():
    for l3num in (nfnl.IPV4, nfnl.IPV6):
        s.create(f"{protocol} {l3num}", number, distinct(number, 100 + l3num), l3num)

for number, (protocol, count) in nfnl.PROTOCOLS.items():
    text, before = f"{protocol} {nfnl.IPV6}", s.state()
    for title, flags in (("NLM_F_REPLACE", nfnl.F_REPLACE),
                         ("NLM_F_REPLACE and NLM_F_CREATE", nfnl.F_REPLACE | nfnl.F_CREATE)):
        values = distinct(number, 2000 + flags)
        answer = replace(text, number, values, nfnl.IPV6, flags)
        t.equal(f"{protocol}: {title} changes all values, no other policy, and not the order",
                (answer.error, answer.text, s.state()), (0, None, state_with(text, values)))
        t.equal(f"{protocol}: get shows the values of {title}", s.get(text).values, values)
    for value in (0, 1, nfnl.largest()):
        values = {k: value for k in range(1, count + 1)}
        t.equal(f"{protocol}: {value} is accepted for all values",
                (replace(text, number, values, nfnl.IPV6).error, s.state()),
                (0, state_with(text, values)))

    # A value that is not given goes back to the default, and does not stay as it was.
    original, defaults = s.default_get(number), distinct(number, 3000)
    s.default_set(number, defaults)
    wrong = []
    for state in range(1, count + 1):
        replace(text, number, distinct(number, 4000), nfnl.IPV6)
        replace(text, number, {state: 5000}, nfnl.IPV6)
        if s.state() != state_with(text, defaults | {state: 5000}):
            wrong.append((state, s.get(text).values))
    t.equal(f"{protocol}: values that are not given return to the defaults of now", wrong, [])
    replace(text, number, {}, nfnl.IPV6)
    s.default_set(number, original)
    t.equal(f"{protocol}: with no value at all, all values return to the defaults of now",
            s.state(),
            state_with(text, defaults))
    t.equal(f"{protocol}: a replace does not touch the defaults", s.default_get(number), original)

    # The bad value comes last, so the good ones would already have been applied.
    before = s.state()
    good = attr(1, be32(6000))
    answer = s.request(nfnl.NEW, name(text), l3(nfnl.IPV6), l4(number),
                       nest(nfnl.DATA, good, attr(1, b"ab")), flags=nfnl.F_REPLACE)
    t.equal(f"{protocol}: a replace with a bad value fails and changes nothing",
            (answer.errno_name, s.state()), ("ERANGE", before))

    for other in (0, nfnl.IPV4, 255, 0x0a00):
        answer = replace(text, number, distinct(number, 6000), other)
        t.equal(f"{protocol}: the policy cannot be changed to l3num {other}",
                (answer.errno_name, answer.text, answer.offset, s.state()),
                ("EINVAL", f"the policy is for layer 3 protocol 10, not {other}",
                 20 + len(name(text)), before))
    spelled = {58: "ipv6-icmp", 33: "dccp", 99: "protocol 99"}
    wrong = []
    for other in set(nfnl.PROTOCOLS) - {number} | {33, 99}:
        words = [spelled.get(n) or nfnl.PROTOCOLS[n][0] for n in (other, number)]
        answer = replace(text, other, {1: 6000}, nfnl.IPV6)
        if (answer.errno_name, answer.text, answer.offset) != (
                "EINVAL", "{} cannot replace {}".format(*words), 28 + len(name(text))):
            wrong.append((other, answer.errno_name, answer.text, answer.offset))
    t.equal(f"{protocol}: the policy cannot be changed to another l4proto",
            (wrong, s.state()), ([], before))

before = s.state()
answer = s.request(nfnl.NEW, name("new"), l3(), l4(17), data({1: 7, 2: 8}), flags=nfnl.F_REPLACE)
t.equal("without a policy to replace, NLM_F_REPLACE creates one", (answer.error, s.state()),
        (0, before + [("new", nfnl.IPV4, 17, 1, {1: 7, 2: 8})]))
s.flush()


def start_reader(states):
    """Reads the policy "shared" in a child; returns a file that in the end holds what it saw."""
    ours, theirs = os.pipe()
    if os.fork() == 0:
        mine, seen = nfnl.Socket(), [set() for _ in range(states)]
        for _ in range(READS):
            for state, value in mine.get("shared").values.items():
                seen[state - 1].add(value)
        with open(theirs, "w") as out:
            json.dump([sorted(values)[:5] for values in seen], out)
        os._exit(0)
    os.close(theirs)
    return open(ours)


# In old and new, each byte of what the kernel stores differs. The defaults are
# in neither, so it would show if they were written before the values.
for number in (6, 132):
    protocol, count = nfnl.PROTOCOLS[number]
    old, new = distinct(number, 1000), distinct(number, 8000000)
    s.create("shared", number, old)
    readers = [start_reader(count) for _ in range(READERS)]
    running, errors = readers, set()
    while running:
        for values in (new, old):
            errors.add(replace("shared", number, values).error)
        done = select.select(running, [], [], 0)[0]
        running = [reader for reader in running if reader not in done]
    saw = [json.load(reader) for reader in readers]
    t.equal(f"{protocol}: while others read, all replaces succeed", errors, {0})
    t.equal(f"{protocol}: readers see the old values and the new, and no others",
            [sorted(set().union(*values)) for values in zip(*saw)],
            [[old[state], new[state]] for state in old])
    s.flush()

t.equal("after all replacements, no policy is left", s.state(), [])
t.finish()
