#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
# check: plain/s390x
# needs: iptables-legacy
#
# Whatever is wrong with a request: the error number, the text, and the
# attribute that is blamed or missing are the right ones, and nothing changes.

import os
import struct
import subprocess

import nfnl
from nfnl import attr, data, l3, l4, name, nest, timeouts

NEW, GET, DELETE, SET, DEFAULT_GET = range(5)
COMMANDS = {NEW: "new", GET: "get", DELETE: "delete", SET: "default-set",
            DEFAULT_GET: "default-get"}
KERNEL = "Attribute failed policy validation"  # the netlink core's own words

t = nfnl.Ktap()
s = nfnl.Socket()


def everything():
    return s.state(), [s.default_get(number) for number in nfnl.PROTOCOLS]


def attempt(command, attrs, flags=0, blame=None, inside=None):
    """Sends a request. Returns its error, its text, the type of a missing attribute, and whether
    attrs[blame] is blamed, or what is "inside" bytes into its payload."""
    answer = s.request(command, *attrs, flags=flags)
    offset = None
    if blame is not None:
        offset = 20 + len(b"".join(attrs[:blame])) + (4 + inside if inside is not None else 0)
    return answer.errno_name, answer.text, answer.missing, answer.offset == offset


def refused(title, error, text, command, *attrs, missing=None, **kwargs):
    before = everything()
    t.equal(f"{COMMANDS[command]}: {title}",
            (attempt(command, attrs, **kwargs), everything()), ((error, text, missing, True), before))


s.create("tcp", 6, nfnl.distinct(6, 500))
s.create("udp", 17, nfnl.distinct(17, 600), nfnl.IPV6)

# A missing attribute is named; if several are missing, the first of them is.
full = {nfnl.NAME: name("new"), nfnl.L3PROTO: l3(), nfnl.L4PROTO: l4(), nfnl.DATA: data()}
for command, needed in ((NEW, (1, 2, 3, 4)), (GET, (1,)), (SET, (3, 4)), (DEFAULT_GET, (2, 3))):
    for kind in needed:
        refused(f"attribute {kind} is missing", "EINVAL", f"required attribute {kind} is missing",
                command, *(a for k, a in full.items() if k != kind), missing=kind)
    refused("everything is missing", "EINVAL", f"required attribute {needed[0]} is missing",
            command, missing=needed[0])

# Names that exist, or do not.
taken = (name("tcp"), l3(), l4(), data({1: 7}))
refused("the name exists, NLM_F_EXCL", "EEXIST", "a policy has this name already", NEW, *taken,
        flags=nfnl.F_CREATE | nfnl.F_EXCL, blame=0)
refused("the name exists, NLM_F_EXCL and NLM_F_REPLACE", "EEXIST",
        "a policy has this name already", NEW, *taken, flags=nfnl.F_REPLACE | nfnl.F_EXCL, blame=0)
refused("the name exists, for another protocol", "EEXIST", "a policy has this name already", NEW,
        l3(nfnl.IPV6), name("tcp"), l4(17), data(), flags=nfnl.F_EXCL, blame=1)
refused("the name exists, no flags", "EBUSY",
        "a policy has this name already, and NLM_F_REPLACE is not set", NEW, *taken,
        flags=nfnl.F_CREATE, blame=0)
refused("replace for another layer 3 protocol", "EINVAL",
        "the policy is for layer 3 protocol 2, not 10", NEW, name("tcp"), l3(nfnl.IPV6), l4(6),
        data({1: 7}), flags=nfnl.F_REPLACE, blame=1)
refused("replace for another layer 4 protocol", "EINVAL", "tcp cannot replace udp", NEW,
        data({1: 7}), name("udp"), l3(nfnl.IPV6), l4(6), flags=nfnl.F_REPLACE, blame=3)
refused("replace for a protocol that is not tracked", "EINVAL", "protocol 99 cannot replace udp",
        NEW, name("udp"), l3(nfnl.IPV6), l4(99), data({1: 7}), flags=nfnl.F_REPLACE, blame=2)
for command in (GET, DELETE):
    refused("no such policy", "ENOENT", "no policy has this name", command, l3(), name("sctp"),
            blame=1)

# Protocols that are not tracked: all but seven.
untracked = [n for n in range(256) if n not in nfnl.PROTOCOLS]
names = {33: "dccp", 136: "udplite"}
before = everything()
for command in (NEW, SET, DEFAULT_GET):
    got = {n: attempt(command, (name("new"), l3(), l4(n), data({1: 7})), blame=2)
           for n in untracked}
    wrong = {n: how for n, how in got.items() if how !=
             ("EOPNOTSUPP", f"{names.get(n, f'protocol {n}')} is not tracked by this kernel",
              None, True)}
    t.equal(f"{COMMANDS[command]}: {len(untracked)} protocols are not tracked",
            (wrong, everything()), ({}, before))

# Malformed attributes: the netlink policy refuses them.
bad_names = {"of 32 bytes": (b"x" * 32 + b"\0", "EINVAL"), "without NUL": (b"abc", "EINVAL"),
             "of 32 bytes without NUL": (b"x" * 32, "EINVAL"), "of no bytes": (b"", "EINVAL"),
             "with too much behind its NUL": (b"abc\0" + b"x" * 29, "ERANGE")}
for command in (NEW, GET, DELETE):
    for title, (text, error) in bad_names.items():
        refused(f"a name {title}", error, KERNEL, command, l3(), attr(nfnl.NAME, text), l4(),
                data(), flags=nfnl.F_REPLACE if command == NEW else 0, blame=1)
for command in (NEW, SET, DEFAULT_GET):
    for title, index, broken in (("l3num of 0 bytes", 1, attr(nfnl.L3PROTO)),
                                 ("l3num of 1 byte", 1, attr(nfnl.L3PROTO, b"\2")),
                                 ("l4proto of 0 bytes", 2, attr(nfnl.L4PROTO)),
                                 ("data of 3 bytes", 3, attr(nfnl.DATA, b"abc"))):
        attrs = [name("new"), l3(), l4(), data()]
        attrs[index] = broken
        refused(title, "ERANGE", KERNEL, command, *attrs, blame=index)

# Values that are too short, too long, or 0: when creating, replacing and setting defaults.
limit = nfnl.largest()
for title, command, text, flags in (("new", NEW, "new", nfnl.F_CREATE),
                                    ("replace", NEW, "old", nfnl.F_REPLACE),
                                    ("default-set", SET, "", 0)):
    for number, (protocol, count) in nfnl.PROTOCOLS.items():
        s.create("old", number, nfnl.distinct(number, 700))
        wrong, before = [], everything()
        for state in range(1, count + 1):
            # All other values are good.
            inner = timeouts({k: 7 for k in range(1, count + 1) if k != state})
            attrs = (name(text), l3(), l4(number), nest(nfnl.DATA, inner, attr(state, b"abc")))
            got = attempt(command, attrs, flags, blame=3, inside=len(inner))
            if got != ("ERANGE", KERNEL, None, True):
                wrong.append((state, got))
        t.equal(f"{title}: {protocol} values that are too short", (wrong, everything()),
                ([], before))

        wrong, defaults = [], s.default_get(number)
        excess = f"is limited to {limit} seconds"
        for state in range(1, count + 1):
            for value, kept, words in ((0, 0, "is 0: flows in that state expire at once"),
                                       (limit + 1, limit, excess),
                                       (2 ** 32 // nfnl.hz() + 1, limit, excess),
                                       (2 ** 32 - 1, limit, excess)):
                values = dict.fromkeys(range(1, count + 1), 7)
                answer = s.request(command, name(text), l3(), l4(number),
                                   data(values | {state: value}), flags=flags)
                got = s.default_get(number) if command == SET else s.get(text).values
                if (answer.error, answer.text, got) != (
                        0, f"timeout attribute {state} {words}", values | {state: kept}):
                    wrong.append((state, value, answer.error, answer.text, got))
                s.delete("new")
        s.default_set(number, defaults)
        t.equal(f"{title}: {protocol} values that are too large are capped, and 0 is kept, with a "
                "warning", (wrong, everything()[1]), ([], before[1]))
        s.delete("old")
before = everything()
junk = (bytes(4), b"\3\0\1\0", b"\xff\xff\1\0", b"\xff" * 64, b"\1\2\3\4\5")
t.equal("default-set: bytes that are no attributes are no values, and change nothing",
        ([s.request(SET, l4(), attr(nfnl.DATA, j)).error for j in junk], everything()),
        ([0] * len(junk), before))

# A policy that rules use stays.
def iptables(*args):
    subprocess.run(("iptables-legacy", "-w", "-t", "raw") + args, check=True)


def use(policy, dport):
    iptables("-A", "OUTPUT", "-p", policy, "--dport", str(dport), "-j", "CT", "--timeout", policy)


s.delete("udp")
s.create("udp", 17)
use("tcp", 1)
refused("a rule uses the policy", "EBUSY", "policy is used by 1 rule", DELETE, name("tcp"), blame=0)
answer = s.flush()
t.equal("delete: without a name, the policy that a rule uses is kept",
        (answer.error, answer.text, [(p[0], p[3]) for p in s.state()]),
        (0, "1 policy is used by rules and was kept", [("tcp", 2)]))
s.create("udp", 17)
for policy, dport in (("tcp", 2), ("tcp", 3), ("udp", 4)):
    use(policy, dport)
refused("rules use the policy", "EBUSY", "policy is used by 3 rules", DELETE, name("tcp"), blame=0)
before = everything()
answer = s.flush()
t.equal("delete: without a name, policies that rules use are kept",
        (answer.error, answer.text, everything()),
        (0, "2 policies are used by rules and were kept", before))
iptables("-F", "OUTPUT")

# The core refuses commands that do not exist.
before = everything()
answers = [s.request(command, *taken) for command in (5, 6, 128, 255)]
t.equal("commands that do not exist fail, and nothing changes",
        ([a.errno_name for a in answers], everything()), (["EINVAL"] * 4, before))

# Messages that are cut off: in the datagram, by their own length, and in between.
message = s.build(NEW, name("cut"), l3(), l4(), data())
for size in range(1, len(message)):
    s.send(message[:size])
for size in range(16):
    s.send(struct.pack("=I", size) + message[4:])
answer = s.request(GET, name("cut"))  # would find an answer to one of the others first
t.equal("messages longer than their datagram, or too short for a header, are not even answered",
        (answer.errno_name, everything()), ("ENOENT", before))
cut = []
for size in range(16, len(message)):
    s.send(struct.pack("=I", size) + message[4:size])
    answer = s.collect()
    cut.append((size, answer.errno_name, (answer.text or "").startswith("required attribute")))
t.equal("messages without struct nfgenmsg do nothing, those with attributes cut off fail",
        (cut, everything()),
        ([(size, 0, False) if size < 20 else (size, "EINVAL", True)
          for size in range(16, len(message))], before))

# Several messages in a datagram: each stands for itself.
s.send(s.build(NEW, name("first"), l3(), l4(), data()) + s.build(NEW, *taken) +
       s.build(NEW, name("third"), l3(), l4(), data()))
answers = [s.collect(seq) for seq in range(s.seq - 2, s.seq + 1)]
t.equal("of three messages in a datagram, the second fails, with its own text and offset",
        [(a.errno_name, a.text, a.offset) for a in answers],
        [(0, None, None), ("EBUSY", "a policy has this name already, and NLM_F_REPLACE is not set",
                           20), (0, None, None)])
t.equal("of three messages, one of which fails, the first and the third are carried out", everything(),
        (before[0] + [(p, nfnl.IPV4, 6, 1, s.default_get(6)) for p in ("first", "third")],
         before[1]))

# Without CAP_NET_ADMIN nothing works, not even reading. A child process gives the capability up.
before = everything()
child = os.fork()
if child == 0:
    os.setuid(65534)
    mine = nfnl.Socket()
    answers = [mine.request(command, *taken) for command in COMMANDS] + [mine.dump()]
    os._exit(len([a for a in answers if a.errno_name != "EPERM" or a.messages]))
t.equal("without CAP_NET_ADMIN every command is refused",
        os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), 0)
t.equal("a request without CAP_NET_ADMIN changes nothing", everything(), before)

s.flush()
t.equal("after all refused requests, no policy is left", s.state(), [])
t.finish()
