# SPDX-License-Identifier: GPL-2.0
"""Makes messages, good and bad, from a seed and nothing else.

What is made does not depend on answers, so that two modules can be played the
same bytes.  It comes in groups.  A group is a list of actions; an action is a
socket's number, the messages that it sends in one datagram, and how many
datagrams it is to receive then: None for all that there are.
"""

import random
import struct

import nfnl
from nfnl import be16, be32

NAMESPACES = 3
PER_NAMESPACE = 3
SOCKETS = NAMESPACES * PER_NAMESPACE

NUMBERS = list(nfnl.PROTOCOLS)
ATTRS = {nfnl.NEW: (1, 2, 3, 4), nfnl.GET: (1,), nfnl.DELETE: (1,), nfnl.DEFAULT_SET: (3, 4),
         nfnl.DEFAULT_GET: (2, 3)}
# Few, so that they meet often; among them the empty, the longest, and bytes of all kinds.
NAMES = [b"", b"x" * 31, b"x" * 30, b"x" * 30 + b"y", b"\xff\xfe\n%s", b"policy"] + \
        [b"policy %d" % i for i in range(25)]
UNKNOWN = (0, nfnl.USE, 6, 7, 255, 0x3FFF)
TYPE_FLAGS = (0, 0, 0, 0x8000, 0x4000, 0xC000)


class Request(nfnl.Message):
    """A message that was sent."""

    @property
    def name(self):
        """The name that the kernel understands, or None. It may still refuse it."""
        found = self.attrs.get(nfnl.NAME)
        return found if found is None else found.split(b"\0")[0]

    @property
    def l4proto(self):
        found = self.attrs.get(nfnl.L4PROTO)
        return found[0] if found else None

    @property
    def is_dump(self):
        return (self.subsys, self.command) == (nfnl.SUBSYS, nfnl.GET) \
            and bool(self.flags & nfnl.F_DUMP)

    @property
    def timeouts(self):
        """The timeouts that it asks for, by type."""
        if self.subsys != nfnl.SUBSYS or self.command not in (nfnl.NEW, nfnl.DEFAULT_SET):
            return {}
        known = nfnl.PROTOCOLS.get(self.l4proto, (None, 0))[1]
        return {kind: struct.unpack_from(">I", value)[0]
                for kind, value in nfnl.parse(self.attrs.get(nfnl.DATA, b"")).items()
                if 1 <= kind <= known and len(value) >= 4}

    def exceeds(self, limit):
        """Whether it asks for a timeout above the limit."""
        return any(value > limit for value in self.timeouts.values())


class Generator:
    """Messages with ascending sequence numbers."""

    def __init__(self, seed, limit):
        self.rng = random.Random(seed)
        self.limit = limit
        self.seq = 0
        self.good = (0, 1, 2, 59, 300, limit - 1, limit)
        self.excessive = (limit + 1, limit + 2, 2 * limit, 2 * limit + 1, 2 * limit + 2,
                          2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1)

    def message(self, command, payload=b"", flags=nfnl.F_REQUEST | nfnl.F_ACK,
                subsys=nfnl.SUBSYS, family=0):
        self.seq += 1
        return nfnl.build(subsys << 8 | command, flags, self.seq, payload, family)

    def value(self):
        if self.rng.random() < 0.01:
            return self.rng.choice(self.excessive)
        if self.rng.random() < 0.3:
            return self.rng.choice(self.good)
        return self.rng.randrange(self.limit)

    def values(self, number):
        """The content of CTA_TIMEOUT_DATA, with some of the protocol's timeouts."""
        rng = self.rng
        kinds = range(1, nfnl.PROTOCOLS.get(number, (None, 3))[1] + 1)
        return b"".join(nfnl.attr(kind, be32(self.value()))
                        for kind in rng.sample(kinds, rng.randrange(min(len(kinds), 4) + 1)))

    def content(self, kind, index):
        """The content of attribute `kind` in a good message for the name of that index."""
        rng = self.rng
        stray = rng.random() < 0.1
        if kind == nfnl.NAME:
            return NAMES[index] + b"\0"
        if kind == nfnl.L3PROTO:
            common = be16((nfnl.IPV4, nfnl.IPV6)[index % 2])
            return be16(rng.choice((0, 1, 2, 7, 10, 12, 255, 256, 0x200, 0xA00, 65535,
                                    rng.randrange(65536)))) if stray else common
        if kind == nfnl.L4PROTO:
            return bytes([rng.randrange(256) if stray else NUMBERS[index % len(NUMBERS)]])
        return self.values(NUMBERS[index % len(NUMBERS)])

    def attributes(self, command):
        """Type and payload of the attributes of a good message."""
        index = self.rng.randrange(len(NAMES))
        return [(kind | (nfnl.NLA_F_NESTED if kind == nfnl.DATA else 0), self.content(kind, index))
                for kind in ATTRS.get(command, ATTRS[nfnl.NEW])]

    # Errors in attributes. Each function takes a list of them, and returns bytes.

    def _missing(self, attrs):
        # Without its name, a delete is a flush, and that often the tables would always be empty.
        if len(attrs) > 1 or self.rng.random() < 0.1:
            del attrs[self.rng.randrange(len(attrs))]
        return encode(attrs)

    def _repeated(self, attrs):
        kind, _ = self.rng.choice(attrs)
        other = self.content(kind & 0x3FFF, self.rng.randrange(len(NAMES)))
        attrs.insert(self.rng.randrange(len(attrs) + 1), (kind, other))
        return encode(attrs)

    def _shuffled(self, attrs):
        self.rng.shuffle(attrs)
        return encode(attrs)

    def _resized(self, attrs):
        at = self.rng.randrange(len(attrs))
        kind, payload = attrs[at]
        size = max(0, self.rng.choice((0, 1, 2, 3, 4, 31, 32, 33, len(payload) - 1,
                                       len(payload) + self.rng.randrange(5))))
        attrs[at] = kind, payload[:size].ljust(size, self.rng.choice((b"\0", b"\0", b"z")))
        return encode(attrs)

    def _unknown(self, attrs):
        junk = self.rng.randbytes(self.rng.randrange(9))
        attrs.insert(self.rng.randrange(len(attrs) + 1), (self.rng.choice(UNKNOWN), junk))
        return encode(attrs)

    def _flagged(self, attrs):
        return encode([((kind & 0x3FFF) | self.rng.choice(TYPE_FLAGS), payload)
                       for kind, payload in attrs])

    def _junk_name(self, attrs):
        text = self.rng.choice((b"", b"unterminated", b"x" * 31, b"x" * 32, b"x" * 32 + b"\0",
                                b"x" * 200 + b"\0", b"policy\0behind\0", b"policy\0" + b"z" * 30,
                                b"\0\0\0", self.rng.randbytes(self.rng.randrange(40))))
        return encode([(k, text if k == nfnl.NAME else p) for k, p in attrs])

    def _junk_data(self, attrs):
        rng = self.rng
        inner = rng.choice((
            b"", b"\0\0\0\0", b"\3\0\1\0", b"\xff\xff\1\0", b"\5\0\1\0", b"abc",
            nfnl.attr(rng.choice((0, 12, 16, 0x3FFF)), be32(self.limit + 1)),
            nfnl.attr(1, b"\0" * rng.choice((0, 1, 2, 3, 5, 8))),
            nfnl.attr(rng.choice(TYPE_FLAGS) | 1, be32(self.value())),
            nfnl.attr(1, be32(self.value())) + nfnl.attr(1, be32(self.value())),
            nfnl.attr(1, be32(self.value())) + b"???", rng.randbytes(rng.randrange(24))))
        return encode([(k, inner if k & 0x3FFF == nfnl.DATA else p) for k, p in attrs])

    def _broken(self, attrs):
        """An attribute whose length is wrong."""
        raw = bytearray(encode(attrs))
        raw[0:2] = struct.pack("=H", self.rng.choice((0, 1, 3, 4, 5, 6, 7, 60, 1000, 65535)))
        return bytes(raw)

    def _left_over(self, attrs):
        return encode(attrs) + self.rng.choice((b"?", b"???", b"????", b"\4\0", bytes(4)))

    MUTATIONS = (_missing, _missing, _repeated, _repeated, _shuffled, _resized, _resized, _unknown,
                 _flagged, _junk_name, _junk_data, _junk_data, _broken, _left_over)

    def flags(self, command):
        rng = self.rng
        if rng.random() < 0.1:
            return rng.randrange(65536)
        flags = nfnl.F_REQUEST
        flags |= nfnl.F_ACK if rng.random() < 0.9 else 0
        if command == nfnl.NEW:
            flags |= rng.choice((0, nfnl.F_CREATE, nfnl.F_CREATE | nfnl.F_EXCL, nfnl.F_REPLACE,
                                 nfnl.F_REPLACE | nfnl.F_CREATE, nfnl.F_REPLACE | nfnl.F_EXCL))
        elif command == nfnl.GET and rng.random() < 0.1:
            flags |= rng.choice((0x100, 0x200, nfnl.F_DUMP))
        return flags

    def any(self):
        """A message of any kind."""
        rng = self.rng
        command = rng.choices((0, 1, 2, 3, 4, rng.randrange(256)), (45, 20, 15, 8, 10, 2))[0]
        attrs = self.attributes(command)
        payload = rng.choice(self.MUTATIONS)(self, attrs) if rng.random() < 0.4 else encode(attrs)
        return self.message(command, payload, self.flags(command),
                            family=rng.choice((0, 2, 10, 255)))

    def cut(self):
        """A message cut off, or with another length in its header; to be a datagram's last."""
        raw = self.any()
        if Request(raw).exceeds(self.limit):
            return self.cut()
        length = self.rng.randrange(len(raw) + 3)
        shorter = struct.pack("=I", length) + raw[4:length]
        return self.rng.choice((raw[:max(1, length)], shorter.ljust(16, b"\0")))

    def mend(self, messages):
        """The messages, and behind each that asks for too much, which wraps in one module only, one
        that lets both end up in the same state."""
        mended = []
        for raw in messages:
            mended.append(raw)
            request = Request(raw)
            if not request.exceeds(self.limit):
                continue
            if request.command == nfnl.NEW and request.name is not None:
                mended.append(self.message(nfnl.DELETE, nfnl.name(request.name[:31])))
            elif request.command == nfnl.DEFAULT_SET:
                values = {k: 60 + k for k in range(1, nfnl.PROTOCOLS[request.l4proto][1] + 1)}
                mended.append(self.message(nfnl.DEFAULT_SET,
                                           nfnl.l4(request.l4proto) + nfnl.data(values)))
        return mended

    def action(self, socket, messages):
        return socket, self.mend(messages), None

    def random_group(self):
        """One datagram; or two, sent before the answers to the first are received."""
        rng = self.rng
        actions = []
        for _ in range(2 if rng.random() < 0.1 else 1):
            messages = [self.any()]
            while rng.random() < 0.4:
                messages.append(self.any())
            if rng.random() < 0.02:
                messages.append(self.cut())
            actions.append((rng.randrange(SOCKETS), messages))
        # A dump shall be over before something else happens; the others have their own place.
        alone = []
        for socket, messages in actions:
            dumps = [raw for raw in messages if Request(raw).is_dump]
            alone += [[self.action(socket, [raw])] for raw in dumps]
            messages[:] = [raw for raw in messages if raw not in dumps]
        actions = [(socket, self.mend(messages), 0) for socket, messages in actions if messages]
        late = [(socket, [], None) for socket, _, _ in actions]
        return [group for group in ([*actions, *late], *alone) if group]


def datagram(messages):
    """Messages in one piece, each but the last with its padding."""
    return b"".join(raw + bytes(-len(raw) % 4) for raw in messages[:-1]) + messages[-1]


def encode(attrs):
    return b"".join(nfnl.attr(kind, payload) for kind, payload in attrs)
