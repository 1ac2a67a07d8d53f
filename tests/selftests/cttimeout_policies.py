#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
# check: plain/debug s390x builtin
#
# Policies can be created, read and deleted, for each protocol and with any
# name, and answers are, byte for byte, those of the C module.

import os

import nfnl
from nfnl import attr, be32, data, distinct, l3, l4, name, nest, references

t = nfnl.Ktap()
s = nfnl.Socket()
defaults = {number: s.default_get(number) for number in nfnl.PROTOCOLS}


def raw_name(message):
    return message.attrs[nfnl.NAME]


def make(*attrs):
    """Creates a policy of these attributes, and returns how it reads, or the error."""
    answer = s.request(nfnl.NEW, *attrs, flags=nfnl.F_CREATE | nfnl.F_EXCL)
    policies = s.dump().policies
    s.flush()
    return (policies[-1].name, policies[-1].l3num, policies[-1].l4proto,
            policies[-1].values) if answer.error == 0 and policies else answer.errno_name


# Every protocol, in both families and in those that no rule will ever ask for.
expected = []
for number, (protocol, _) in nfnl.PROTOCOLS.items():
    for l3num in (nfnl.IPV4, nfnl.IPV6, 0, 7, 255, 256, 65535):
        text, values = f"{protocol}-{l3num}", distinct(number, 1000 + l3num)
        s.create(text, number, values, l3num)
        expected.append((text, l3num, number, 1, values))
t.equal("a dump shows each policy as it was created, in that order", s.state(), expected)
got = [s.get(policy[0]) for policy in expected]
t.equal("get shows each policy as it was created",
        [(p.name, p.l3num, p.l4proto, p.use, p.values) for p in got if p], expected)
t.equal("delete finds every second policy",
        {s.delete(policy[0]).error for policy in expected[::2]}, {0})
t.equal("a delete of every second policy leaves the others, in order", s.state(), expected[1::2])
t.equal("get does not find policies that were deleted",
        [s.get(policy[0]) for policy in expected[::2]],
        [None] * len(expected[::2]))
answer = s.flush()
t.equal("a delete without a name succeeds and has nothing to say", (answer.error, answer.text),
        (0, None))
t.equal("a delete without a name deletes all", s.state(), [])

# Names are bytes: any but NUL, up to 31 of them.
names = [b"", b"a", b"A", b"x" * 30, b"x" * 31, b"x" * 30 + b"y", b"y" + b"x" * 30, b"\n", b" ",
         b"%s%n{}", bytes(range(1, 32)), bytes(range(32, 63)), bytes(range(127, 158)),
         b"\xff" * 31, b"\xc3(", "späť".encode()]
t.equal("names of all kinds are accepted",
        {s.create(n, values=distinct(6, 100 * i)).error for i, n in enumerate(names)}, {0})
answers = [s.request(nfnl.GET, name(n)) for n in names]
t.equal("get answers with the bytes of the name and one NUL",
        [raw_name(m) for a in answers for m in a.messages], [n + b"\0" for n in names])
t.equal("get by each name finds its own policy",
        [a.policies[0].values for a in answers if a.messages],
        [distinct(6, 100 * i) for i in range(len(names))])
t.equal("a dump has the bytes of each name and one NUL", [raw_name(m) for m in s.dump().messages],
        [n + b"\0" for n in names])
t.equal("a name ends at its first NUL", s.get(b"a\0b").values, distinct(6, 100))
t.equal("get finds no policy whose name is only similar",
        [s.get(n) for n in (b"x" * 29, b"y", b"a ", b"\xff")],
        [None] * 4)
t.equal("policies with names of all kinds can be deleted", {s.delete(n).error for n in names}, {0})
t.equal("a dump is empty when all policies were deleted by name", s.state(), [])
t.equal("what follows a NUL in a new name is dropped", make(name(b"a\0b\0\0"), l3(), l4(), data()),
        ("a", nfnl.IPV4, 6, defaults[6]))

# Values.
for number, (protocol, count) in nfnl.PROTOCOLS.items():
    t.equal(f"{protocol}: without values a policy has the defaults",
            make(name("p"), l3(), l4(number), data()), ("p", nfnl.IPV4, number, defaults[number]))
    for value in (0, 1, nfnl.largest()):
        one = [{k: value} for k in range(1, count + 1)]
        t.equal(f"{protocol}: {value} is taken for each state, the others have the defaults",
                [make(name("p"), l3(), l4(number), data(v))[3] for v in one],
                [defaults[number] | v for v in one])

# Answers as the C module writes them.
def payload(number, values, with_name):
    """struct nfgenmsg and the attributes, in the order and with the padding of the C module."""
    use = attr(nfnl.USE, be32(1)) if with_name else b""
    return (bytes(4) + (name("layout") if with_name else b"") + l3(nfnl.IPV6) + l4(number) +
            use + data(values))


def layout(message):
    return message.kind, message.flags, message.seq, message.port, message.payload


port = s.sock.getsockname()[0]
for number, (protocol, _) in nfnl.PROTOCOLS.items():
    values = distinct(number, 0x010200)
    s.create("layout", number, values, nfnl.IPV6)
    for title, ask, kind, expected in (
            ("get", lambda: s.request(nfnl.GET, name("layout"), family=nfnl.IPV4), nfnl.NEW,
             payload(number, values, True)),
            ("a dump", s.dump, nfnl.NEW, payload(number, values, True)),
            ("default-get", lambda: s.request(nfnl.DEFAULT_GET, l3(nfnl.IPV6), l4(number)),
             nfnl.DEFAULT_SET, payload(number, defaults[number], False))):
        t.equal(f"{protocol}: the answer to {title} is that of the C module, byte for byte",
                [layout(m) for m in ask().messages],
                [(nfnl.SUBSYS << 8 | kind, nfnl.F_MULTI, s.seq, port, expected)])
    s.flush()

# Acknowledgments come when asked for, and only then.
s.create("quiet")
for command, attrs in ((nfnl.NEW, (name("new"), l3(), l4(), data())),
                       (nfnl.GET, (name("quiet"),)), (nfnl.DELETE, (name("quiet"),)),
                       (nfnl.DEFAULT_SET, (l4(), data())), (nfnl.DEFAULT_GET, (l3(), l4()))):
    s.send(s.build(command, *attrs, flags=0))
asked = s.seq
s.send(s.build(nfnl.DELETE, name("new")))
answers = [(m.kind & 0xff, m.seq - asked) for _ in range(3) for m in s.receive()]
t.equal("without NLM_F_ACK only get and default-get answer", answers,
        [(nfnl.NEW, -3), (nfnl.DEFAULT_SET, 0), (nfnl.NLMSG_ERROR, 1)])
t.equal("commands without NLM_F_ACK are carried out", s.state(), [])

# Attributes that a request may hold beyond those that it needs.
junk = attr(0, b"junk") + attr(6) + attr(0x3fff, bytes(100)) + attr(nfnl.USE, b"\xff" * 7)
t.equal("attributes of unknown types, and CTA_TIMEOUT_USE, are ignored",
        make(junk, name("p"), junk, l3(), junk, l4(17), junk, data({1: 5}), junk),
        ("p", nfnl.IPV4, 17, defaults[17] | {1: 5}))
inner = [attr(k, be32(v)) for k, v in ((0, 7), (1, 5), (3, 2 ** 32 - 1), (0x3fff, 7))]
t.equal("values of unknown types are ignored",
        make(name("p"), l3(), l4(17), nest(nfnl.DATA, *inner)),
        ("p", nfnl.IPV4, 17, defaults[17] | {1: 5}))
t.equal("the last of repeated attributes counts",
        make(name("o"), name("p"), l3(7), l3(), l4(6), l4(17), data({1: 5}), data({2: 6})),
        ("p", nfnl.IPV4, 17, defaults[17] | {2: 6}))
inner = [attr(k, be32(v)) for k, v in ((1, 5), (2, 6), (1, 2 ** 32 - 1), (1, 8))]
t.equal("the last of repeated values counts",
        make(name("p"), l3(), l4(17), nest(nfnl.DATA, *inner)),
        ("p", nfnl.IPV4, 17, {1: 8, 2: 6}))
inner = attr(0x4000 | 1, be32(5))
t.equal("flags in the types of attributes do not matter",
        make(name("p"), l3(), l4(17), attr(nfnl.DATA, inner)),
        ("p", nfnl.IPV4, 17, defaults[17] | {1: 5}))
t.equal("an attribute may be longer than its number, and bytes may be left over",
        make(name("p"), attr(nfnl.L3PROTO, b"\0\x0a????"), attr(nfnl.L4PROTO, b"\x11????"),
             attr(nfnl.DATA, attr(1, be32(5) + b"????") + b"???"), b"??"),
        ("p", nfnl.IPV6, 17, defaults[17] | {1: 5}))
t.equal("NLM_F_CREATE is not asked for", (s.create("p", flags=0).error, s.flush().error), (0, 0))

many = [(f"policy {i}", nfnl.IPV4, 17, 1, {1: i, 2: 5000 + i}) for i in range(1000)]
t.equal("1000 policies can be made", {s.create(m[0], 17, m[4]).error for m in many}, {0})
t.equal("a dump shows 1000 policies in the order of their creation", s.state(), many)
t.equal("get finds each of 1000 policies", [p and p.values for p in (s.get(m[0]) for m in many)],
        [m[4] for m in many])
t.equal("1000 policies can be deleted at once", (s.flush().error, s.state()), (0, []))
# A module that is built into the kernel has no reference count.
if os.path.exists(f"/sys/module/{os.environ['MODULE']}/refcnt"):
    t.equal("without policies, there is no reference to the module", references(), 0)
t.finish()
