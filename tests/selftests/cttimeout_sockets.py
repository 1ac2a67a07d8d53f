#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
# check: plain/s390x
#
# Requests as sockets may send them: many in one datagram, one of which fails or is
# cut off, or one in pieces; attributes as large as they can be; answers that nobody reads.

import errno
import struct

import nfnl
from nfnl import attr, be32, data, l3, l4, name, nest

t = nfnl.Ktap()
s = nfnl.Socket()


def new(text, number=17, values=None, flags=nfnl.F_CREATE | nfnl.F_EXCL | nfnl.F_ACK):
    return s.build(nfnl.NEW, name(text), l3(), l4(number), data(values), flags=flags)


def batch(*messages):
    """Sends them as one datagram; returns the errors, in order."""
    s.send(b"".join(messages))
    first = s.seq - len(messages) + 1
    return [s.collect(seq).errno_name for seq in range(first, s.seq + 1)]


def names():
    return [policy[0] for policy in s.state()]


# Many in one datagram
t.equal("three messages in a datagram: the one in the middle fails, the others do not",
        batch(new("first"), new("second", 200), new("third")), [0, "EOPNOTSUPP", 0])
t.equal("three messages in a datagram: two do what they are to do", names(), ["first", "third"])
t.equal("four messages in a datagram: each sees what those before it have done",
        batch(new("fourth"), new("fourth"), s.build(nfnl.DELETE, name("fourth")), new("fourth")),
        [0, "EEXIST", 0, 0])
s.flush()
t.equal("a hundred messages in a datagram succeed",
        batch(*(new(f"policy {i:03}") for i in range(100))), [0] * 100)
t.equal("a hundred messages in a datagram are carried out, in order",
        names(), [f"policy {i:03}" for i in range(100)])
s.flush()

# Cut off: the core ignores a message that claims to be longer than the datagram, and what follows.
whole, broken, behind = new("whole"), bytearray(new("broken")), new("behind")
struct.pack_into("=I", broken, 0, 1000)
s.send(whole + bytes(broken) + behind)
t.equal("a message before one that is cut off succeeds", s.collect(s.seq - 2).error, 0)
t.equal("a message that is cut off, and one behind it, are ignored", names(), ["whole"])
s.flush()

# In pieces
message = new("pieces")
s.sock.sendmsg([message[:10], message[10:30], message[30:]])
t.equal("a message in three pieces of memory is one", (s.collect(s.seq).error, names()),
        (0, ["pieces"]))
message = new("halves")
for half in message[:20], message[20:]:  # the name's attribute comes first in the second
    s.send(half)
t.equal("two halves of a message, in a datagram each, are none", names(), ["pieces"])
s.flush()

# As large as it can be: the last of many attributes of a type counts
many = nest(nfnl.DATA, *(attr(1, be32(i % 1000)) for i in range(8190)))
t.check("an attribute of timeouts has nearly 64 KiB", len(many) > 65500, len(many))
answer = s.request(nfnl.NEW, name("large"), l3(), l4(17), many, flags=nfnl.F_CREATE)
t.equal("an attribute of nearly 64 KiB is taken",
        (answer.error, s.get("large").values[1]), (0, 8189 % 1000))
unknown = nest(nfnl.DATA, attr(1, be32(7)), attr(100, bytes(65000)))
answer = s.request(nfnl.NEW, name("large"), l3(), l4(17), unknown, flags=nfnl.F_REPLACE)
t.equal("a timeout of an unknown type, and nearly 64 KiB, is ignored",
        (answer.error, s.get("large").values[1]), (0, 7))
huge = bytes([1]) * 65531
good = {nfnl.NAME: name("large"), nfnl.L3PROTO: l3(), nfnl.L4PROTO: l4(17), nfnl.DATA: data()}
for command in nfnl.NEW, nfnl.GET, nfnl.DEFAULT_SET, nfnl.DEFAULT_GET, nfnl.DELETE:
    def error_with(kind):
        """The message if that attribute is the large one"""
        attrs = [attr(kind, huge) if kind == other else right for other, right in good.items()]
        return s.request(command, *attrs, flags=nfnl.F_REPLACE).error

    before = s.state(), s.default_get(17)
    t.equal(f"command {command}: a name of 64 KiB is refused", error_with(nfnl.NAME), errno.EINVAL)
    t.equal(f"command {command}: a name of 64 KiB changes nothing",
            (s.state(), s.default_get(17)), before)
    answer = s.request(command, *good.values(), attr(100, huge), flags=nfnl.F_REPLACE)
    t.equal(f"command {command}: an attribute of an unknown type, and 64 KiB, is ignored",
            answer.error, 0)
    s.create("large", 17)
    errors = {kind: error_with(kind) for kind in (nfnl.L3PROTO, nfnl.L4PROTO, nfnl.DATA)}
    t.check(f"command {command}: a number or a nest of 64 KiB may be refused, or taken",
            set(errors.values()) <= {0, errno.EINVAL, errno.ENOENT}, errors)
s.flush()

# Answers that nobody reads
made = [f"policy {i:03}" for i in range(300)]
for text in made:
    s.send(new(text, flags=nfnl.F_CREATE))
t.equal("300 commands without NLM_F_ACK are carried out", names(), made)
slow = nfnl.Socket(rcvbuf=1)  # as small as the kernel allows
for text in made:
    try:
        slow.send(slow.build(nfnl.GET, name(text), flags=0))
    except OSError as error:
        t.check("a request on a full socket is refused at most for want of room",
                error.errno == errno.ENOBUFS, error)
        break
lost, received = None, 0
while lost is None:
    try:
        received += len(slow.receive())
    except OSError as error:
        lost = error.errno or repr(error)  # a timeout has no number
t.equal("a socket whose answers are not read is told that some are lost", lost, errno.ENOBUFS)
t.check("a socket whose answers are not read has those for which there was room",
        received < 300, received)
slow.sock.settimeout(1)
try:
    while slow.receive():
        pass
except OSError:
    pass
t.equal("a socket whose answers were lost works again", slow.get("policy 007").name, "policy 007")

# A socket that is full learns nothing of what it has sent, which is done all the same.
full = nfnl.Socket(rcvbuf=1)
try:
    for text in made:
        full.send(full.build(nfnl.GET, name(text), flags=0))
except OSError:
    pass
for text in "unheard 1", "unheard 2":
    full.send(full.build(nfnl.NEW, name(text), l3(), l4(17), data(), flags=nfnl.F_CREATE | nfnl.F_ACK))
made += ["unheard 1", "unheard 2"]
t.equal("commands of a full socket are carried out", names(), made)
full.send(full.build(nfnl.GET, flags=nfnl.F_DUMP))
full.sock.settimeout(1)
shown = []
while True:
    try:
        shown += [m.policy().name for m in full.receive() if m.seq == full.seq and m.kind >> 8 == nfnl.SUBSYS]
    except OSError as error:
        if error.errno is None:  # nothing more comes
            break
t.equal("a dump for a full socket goes on as there is room", shown, made)
t.equal("a socket that was full works again", full.get("policy 007").name, "policy 007")
t.equal("a socket whose answers were lost has dumps again",
        [p.name for p in slow.dump().policies], made)
t.equal("another socket has not noticed a full one", names(), made)
s.flush()
t.finish()
