# SPDX-License-Identifier: GPL-2.0
"""Requests and answers as the kernel reads and writes them.

nfnl.parse() is for messages that are well formed.  What is compared here need
not be, so this goes by the rules of the kernel's own nla_parse().
"""

import struct

import nfnl


def attrs(payload):
    """Attributes as the kernel finds them: of repeated ones the last, and none behind a bad one."""
    found = {}
    while len(payload) >= 4:
        length, kind = struct.unpack_from("=HH", payload)
        if not 4 <= length <= len(payload):
            break
        found[kind & 0x3FFF] = payload[4:length]
        payload = payload[(length + 3) & ~3:]
    return found


class Request:
    """A message that was sent."""

    def __init__(self, raw):
        self.raw = raw
        padded = raw[:16].ljust(16, b"\0")
        self.length, kind, self.flags, self.seq, _ = struct.unpack("=IHHII", padded)
        self.subsys, self.command = kind >> 8, kind & 0xff

    @property
    def attrs(self):
        return attrs(self.raw[20:self.length])

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

    def exceeds(self, limit):
        """Whether it asks for a timeout above the limit."""
        if self.subsys != nfnl.SUBSYS or self.command not in (nfnl.NEW, nfnl.DEFAULT_SET):
            return False
        known = nfnl.PROTOCOLS.get(self.l4proto, (None, 0))[1]
        return any(1 <= kind <= known and len(value) >= 4 and
                   struct.unpack_from(">I", value)[0] > limit
                   for kind, value in attrs(self.attrs.get(nfnl.DATA, b"")).items())


class Reply:
    """A message that came back."""

    def __init__(self, raw):
        self.raw = raw
        _, self.kind, self.flags, self.seq, self.port = struct.unpack_from("=IHHII", raw)

    @property
    def errno(self):
        """0 or a positive number, if this is an acknowledgment or the end of a dump."""
        if self.kind in (nfnl.NLMSG_ERROR, nfnl.NLMSG_DONE):
            return -struct.unpack_from("=i", self.raw, 16)[0]
        return None

    def _echo(self):
        """Where the copy of the request ends in an acknowledgment."""
        size = struct.unpack_from("=I", self.raw, 20)[0]
        return 20 + (16 if self.flags & nfnl.F_CAPPED or not self.errno else (size + 3) & ~3)

    @property
    def said(self):
        """The extended acknowledgment: attributes by type."""
        has = self.kind == nfnl.NLMSG_ERROR and self.flags & nfnl.F_ACK_TLVS
        return attrs(self.raw[self._echo():]) if has else {}

    def without(self, flag):
        """The bytes without a flag and, if that is NLM_F_ACK_TLVS, without what was said."""
        raw = self.raw
        if flag == nfnl.F_ACK_TLVS and self.said:
            raw = raw[:self._echo()]
        length = len(raw) if len(raw) != len(self.raw) else struct.unpack_from("=I", raw)[0]
        return struct.pack("=IHH", length, self.kind, self.flags & ~flag) + raw[8:]


def replies(record):
    """The messages of what a socket received, by port and sequence number."""
    found = {}
    at = 0
    while at < len(record):
        length = max(struct.unpack_from("=I", record, at)[0], 16)
        reply = Reply(bytes(record[at:at + length]))
        found.setdefault((reply.port, reply.seq), []).append(reply)
        at += (length + 3) & ~3
    return found
