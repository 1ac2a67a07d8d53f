# SPDX-License-Identifier: GPL-2.0
"""The beginning of a run of messages: everything that can be enumerated, and cases that must occur."""

import itertools
import struct

import nfnl
from nfnl import attr, be32, data, l3, l4, name

from .generator import ATTRS, NAMES, PER_NAMESPACE, SOCKETS, Request, encode

BATCH = 8
DEFAULT = nfnl.F_REQUEST | nfnl.F_ACK
COMMANDS = list(ATTRS)


def batches(generator, messages, socket=0):
    """Groups of a few messages each; dumps go alone."""
    batch = []
    for raw in itertools.chain(messages, [None]):
        alone = raw is not None and Request(raw).is_dump
        if batch and (raw is None or alone or len(batch) == BATCH):
            yield [generator.action(socket, batch)]
            batch = []
        if alone:
            yield [generator.action(socket, [raw])]
        elif raw is not None:
            batch.append(raw)


def numbers(g):
    """Every layer 4 protocol, and layer 3 protocols of both byte orders."""
    for number in range(256):
        yield g.message(nfnl.NEW, name("sweep") + l3() + l4(number) + data({1: number}))
        yield g.message(nfnl.DEFAULT_SET, l4(number) + data({1: 1000 + number}))
        yield g.message(nfnl.DEFAULT_GET, l3() + l4(number))
        yield g.message(nfnl.DELETE, name("sweep"))
    for number in [*range(16), *(n << 8 for n in range(1, 16)), 0xFF, 0x100, 0xFF00, 0xFFFF]:
        yield g.message(nfnl.NEW, name("sweep") + l3(number) + l4() + data())
        yield g.message(nfnl.GET, name("sweep"))
        yield g.message(nfnl.NEW, name("sweep") + l3(2) + l4() + data(), DEFAULT | nfnl.F_REPLACE)
        yield g.message(nfnl.DEFAULT_GET, l3(number) + l4())
        yield g.message(nfnl.DELETE, name("sweep"))


def l3_numbers(g):
    """Every layer 3 protocol there can be, by the command that takes any."""
    for number in range(1 << 16):
        yield g.message(nfnl.DEFAULT_GET, l3(number) + l4())


def values(g):
    """Every timeout of every protocol with the values at the edges."""
    for number, (_, count) in nfnl.PROTOCOLS.items():
        yield g.message(nfnl.NEW, name("edge") + l3() + l4(number) + data(), DEFAULT)
        for kind in range(1, count + 1):
            for value in (0, 1, g.limit, g.limit + 1, 2 ** 31 - 1, 2 ** 32 - 1):
                inner = l3() + l4(number) + data({kind: value})
                yield g.message(nfnl.NEW, name("edge") + inner, DEFAULT | nfnl.F_REPLACE)
                yield g.message(nfnl.GET, name("edge"))
                if value == g.limit + 1:
                    yield g.message(nfnl.NEW, name("edge two") + inner)
                    yield g.message(nfnl.DEFAULT_SET, inner)
        yield g.message(nfnl.DELETE, name("edge"))


def attributes(g):
    """Each attribute of each command: missing, repeated, of every length that could matter."""
    good = {nfnl.NAME: b"policy 1\0", nfnl.L3PROTO: b"\0\2", nfnl.L4PROTO: b"\6",
            nfnl.DATA: attr(1, be32(5))}
    for command, wanted in ATTRS.items():
        for chosen in itertools.chain.from_iterable(
                itertools.combinations(good, n) for n in range(len(good) + 1)):
            yield g.message(command, encode([(k, good[k]) for k in chosen]))
        for kind in good:
            for size in (*range(10), 30, 31, 32, 33, 40):
                for filler in (b"\0", b"x"):
                    odd = good[kind][:size].ljust(size, filler)
                    yield g.message(command, encode(
                        [(k, odd if k == kind else good[k]) for k in {*wanted, kind}]))
            yield g.message(command, encode([(k, good[k]) for k in good] + [(kind, b"")]))


def flags(g):
    """Each flag alone, and all combinations of those that commands look at; on names that are
    there and on names that are not."""
    meant = (nfnl.F_ACK, nfnl.F_REPLACE, nfnl.F_EXCL, nfnl.F_CREATE, 0x800)
    sets = [1 << n for n in range(16)] + [DEFAULT | 1 << n for n in range(16)] + [
        nfnl.F_REQUEST | sum(chosen) for n in range(len(meant) + 1)
        for chosen in itertools.combinations(meant, n)]
    for command, value in itertools.product(COMMANDS, sets):
        yield g.message(nfnl.NEW, name("there") + l3() + l4() + data(), nfnl.F_REQUEST)
        for text in ("there", "not there"):
            yield g.message(command, name(text) + l3() + l4() + data({3: value + 1}), value)
        yield g.message(nfnl.DELETE, name("not there"), nfnl.F_REQUEST)


def faults(g):
    """Messages with two faults or more: which of them is told?"""
    names = [name("there"), name("not there"), attr(nfnl.NAME, b"no end")]
    numbers = [l4(), l4(17), l4(99), attr(nfnl.L4PROTO)]
    inner = [data({1: 5}), data({1: g.limit + 1}), attr(nfnl.DATA, attr(1, b"\1")),
             attr(nfnl.DATA, b"abc")]
    for text, number, family, values, value in itertools.product(
            names, numbers, (l3(), l3(7)), inner, (nfnl.F_CREATE, nfnl.F_EXCL, nfnl.F_REPLACE)):
        yield g.message(nfnl.NEW, name("there") + l3() + l4() + data(), nfnl.F_REQUEST)
        yield g.message(nfnl.NEW, text + number + family + values, DEFAULT | value)
        yield g.message(nfnl.DELETE, name("not there"), nfnl.F_REQUEST)
    for number, values in itertools.product(numbers, inner):
        yield g.message(nfnl.DEFAULT_SET, number + values)


def headers(g):
    """Message types that there are not, and messages that are cut off."""
    whole = name("cut") + l3() + l4() + data()
    for command in range(5, 256):
        yield [(0, [g.message(command, whole)], None)]
    # Control messages; the beginning of a batch; subsystems that nobody has.
    for subsys, command in ((0, 1), (0, 2), (0, 3), (0, 4), (0, 16), (0, 17), (13, 0), (255, 1)):
        yield [(0, [g.message(command, whole, subsys=subsys)], None)]
    for size in range(1, 20 + len(whole)):
        raw = g.message(nfnl.NEW, whole)
        yield [(0, [raw[:size]], None)]
        yield [(0, [struct.pack("=I", size) + raw[4:max(size, 16)]], None)]


def dumps(g, namespace, change, policies=90):
    """A dump of several buffers, and a change after the first."""
    reader, writer = namespace * PER_NAMESPACE, namespace * PER_NAMESPACE + 1
    texts = ["slow %02d" % i for i in range(policies)]
    creates = [g.message(nfnl.NEW, name(t) + l3() + l4() + data({1: i}))
               for i, t in enumerate(texts)]
    yield from batches(g, [g.message(nfnl.DELETE)] + creates, writer)
    changes = {
        "nothing": lambda: [],
        "a policy comes": lambda: [g.message(nfnl.NEW, name("late") + l3() + l4() + data())],
        "the first goes": lambda: [g.message(nfnl.DELETE, name(texts[0]))],
        # Among them is the one that the kernel is about to go on with.
        "many go": lambda: [g.message(nfnl.DELETE, name(t)) for t in texts[policies // 3:-5]],
    }[change]()
    yield [(reader, [g.message(nfnl.GET, flags=DEFAULT | nfnl.F_DUMP)], 1),
           *((writer, [raw], None) for raw in changes), (reader, [], None)]
    yield [(writer, [g.message(nfnl.DELETE)], None)]


def second_dump(g, socket):
    """A dump, and before it is received another one on the same socket."""
    yield [(socket, [g.message(nfnl.NEW, name(NAMES[3]) + l3() + l4() + data()),
                     *(g.message(nfnl.GET, flags=DEFAULT | nfnl.F_DUMP) for _ in range(2))], None)]


def everything(g, count):
    """All of the above; layer 3 protocols only if `count` messages leave room for more than them."""
    for messages in (numbers(g), values(g), attributes(g), flags(g), faults(g)):
        yield from batches(g, messages)
    if count >= 1 << 17:
        yield from batches(g, l3_numbers(g))
    yield from headers(g)
    for change in ("nothing", "a policy comes", "the first goes", "many go"):
        yield from dumps(g, 0, change)
    yield from second_dump(g, SOCKETS - 1)
