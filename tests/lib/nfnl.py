# SPDX-License-Identifier: GPL-2.0
"""A netlink client for tests, and KTAP for their results.

libnetfilter_cttimeout and pyroute2 build only messages that are well formed.  Tests of the error paths
need the opposite, byte by byte.  So this client speaks the protocol itself: struct nlmsghdr, struct
nfgenmsg, struct nlattr.
"""

import errno
import os
import socket
import struct
import sys
import time

NETLINK_NETFILTER = 12
SOL_NETLINK, NETLINK_CAP_ACK, NETLINK_EXT_ACK = 270, 10, 11
SUBSYS = 8  # NFNL_SUBSYS_CTNETLINK_TIMEOUT

NLMSG_ERROR, NLMSG_DONE = 2, 3
F_REQUEST, F_MULTI, F_ACK = 1, 2, 4
F_REPLACE, F_EXCL, F_CREATE, F_DUMP = 0x100, 0x200, 0x400, 0x300
F_CAPPED, F_ACK_TLVS = 0x100, 0x200
NLMSGERR_ATTR_MSG, NLMSGERR_ATTR_OFFS, NLMSGERR_ATTR_MISS_TYPE = 1, 2, 5
NLA_F_NESTED = 0x8000

# enum ctnl_timeout_msg_types, enum ctattr_timeout
NEW, GET, DELETE, DEFAULT_SET, DEFAULT_GET = range(5)
NAME, L3PROTO, L4PROTO, DATA, USE = range(1, 6)

TCP_SYN_SENT, TCP_SYN_RECV, TCP_ESTABLISHED = 1, 2, 3
UDP_UNREPLIED, UDP_REPLIED = 1, 2
IPV4, IPV6 = 2, 10
# l4proto: (name, number of timeouts)
PROTOCOLS = {1: ("icmp", 1), 6: ("tcp", 11), 17: ("udp", 2), 47: ("gre", 2),
             58: ("icmpv6", 1), 132: ("sctp", 9), 255: ("generic", 1)}


def be16(number):
    return struct.pack(">H", number)


def be32(number):
    return struct.pack(">I", number)


def attr(kind, payload=b""):
    """An attribute with its padding."""
    length = 4 + len(payload)
    return struct.pack("=HH", length, kind) + payload + bytes(-length % 4)


def nest(kind, *attrs):
    return attr(kind | NLA_F_NESTED, b"".join(attrs))


def name(text):
    """CTA_TIMEOUT_NAME. A str holds bytes that are not UTF-8 as os.fsdecode() does."""
    return attr(NAME, (os.fsencode(text) if isinstance(text, str) else text) + b"\0")


def l3(number=IPV4):
    return attr(L3PROTO, be16(number))


def l4(number=6):
    return attr(L4PROTO, bytes([number]))


def timeouts(values):
    """The content of CTA_TIMEOUT_DATA from a dictionary of type and seconds."""
    return b"".join(attr(kind, be32(value)) for kind, value in values.items())


def data(values=None):
    return nest(DATA, timeouts(values or {}))


def parse(payload):
    """Attributes as the kernel's nla_parse() finds them: of repeated ones the last, and none behind
    one whose length is wrong."""
    found = {}
    while len(payload) >= 4:
        length, kind = struct.unpack_from("=HH", payload)
        if not 4 <= length <= len(payload):
            break
        found[kind & 0x3FFF] = payload[4:length]
        payload = payload[(length + 3) & ~3:]
    return found


def distinct(number, base):
    """A value for each timeout of a protocol, no two of them the same."""
    return {k: base + k for k in range(1, PROTOCOLS[number][1] + 1)}


def references(module=None):
    """How many references to a module there are."""
    with open(f"/sys/module/{module or os.environ['MODULE']}/refcnt") as file:
        return int(file.read())


class Policy:
    """A policy, or a set of defaults, as the kernel sent it."""

    def __init__(self, attrs):
        self.name = os.fsdecode(attrs[NAME].rstrip(b"\0")) if NAME in attrs else None
        self.l3num = int.from_bytes(attrs[L3PROTO], "big")
        self.l4proto = attrs[L4PROTO][0]
        self.use = int.from_bytes(attrs[USE], "big") if USE in attrs else None
        self.values = {k: int.from_bytes(v, "big") for k, v in parse(attrs[DATA]).items()}


def build(kind, flags, seq, payload, family=0):
    """A message: struct nlmsghdr, struct nfgenmsg, and what follows."""
    body = struct.pack("=BBH", family, 0, 0) + payload
    return struct.pack("=IHHII", 16 + len(body), kind, flags, seq, 0) + body


class Message:
    """A message, sent or received, as the kernel reads and writes it. One that was sent may be cut off."""

    def __init__(self, raw):
        self.raw = raw
        self.length, self.kind, self.flags, self.seq, self.port = struct.unpack(
            "=IHHII", raw[:16].ljust(16, b"\0"))
        self.subsys, self.command = self.kind >> 8, self.kind & 0xff

    @property
    def payload(self):
        return self.raw[16:self.length]

    @property
    def attrs(self):
        return parse(self.payload[4:])

    def policy(self):
        return Policy(self.attrs)

    @property
    def errno(self):
        """0 or a positive number, if this is an acknowledgment or the end of a dump."""
        if self.kind in (NLMSG_ERROR, NLMSG_DONE):
            return -struct.unpack_from("=i", self.raw, 16)[0]
        return None

    @property
    def tlvs(self):
        """Where the attributes of an extended acknowledgment begin, or None."""
        if self.kind != NLMSG_ERROR or not self.flags & F_ACK_TLVS:
            return None
        echoed = struct.unpack_from("=I", self.raw, 20)[0]
        return 20 + (16 if self.flags & F_CAPPED else (echoed + 3) & ~3)

    @property
    def said(self):
        """The attributes of an extended acknowledgment by type."""
        return parse(self.raw[self.tlvs:self.length]) if self.tlvs else {}


def split(received):
    """The messages of what was received."""
    messages = []
    while received:
        length = max(struct.unpack_from("=I", received)[0], 16)
        messages.append(Message(received[:length]))
        received = received[(length + 3) & ~3:]
    return messages


class Answer:
    """An answer: the error, the message about it, and the objects."""

    def __init__(self):
        self.error = None           # 0 or a positive errno; None without an ack
        self.text = None            # the extack message
        self.offset = None          # offset of the attribute to blame
        self.missing = None         # type of the attribute that is missing
        self.messages = []
        self.last = None            # the acknowledgment, or the end of a dump

    @property
    def policies(self):
        return [m.policy() for m in self.messages]

    @property
    def errno_name(self):
        # Python's table has this number under another name.
        if self.error == errno.EOPNOTSUPP:
            return "EOPNOTSUPP"
        return errno.errorcode.get(self.error, self.error)


class Socket:
    """A netlink socket in the current network namespace."""

    def __init__(self, rcvbuf=None):
        self.sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
        self.sock.bind((0, 0))
        self.sock.setsockopt(SOL_NETLINK, NETLINK_EXT_ACK, 1)
        self.sock.settimeout(20)
        if rcvbuf:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        self.seq = 0

    def build(self, command, *attrs, flags=F_ACK, family=0, subsys=SUBSYS):
        self.seq += 1
        return build(subsys << 8 | command, F_REQUEST | flags, self.seq, b"".join(attrs), family)

    def send(self, message):
        self.sock.send(message)

    def receive(self, size=65536):
        """The messages of one datagram."""
        return split(self.sock.recv(size))

    def collect(self, seq=None, size=65536):
        """Everything up to the acknowledgment or the end of a dump."""
        answer = Answer()
        while True:
            for message in self.receive(size):
                if seq is not None and message.seq != seq:
                    continue
                if message.errno is None:
                    answer.messages.append(message)
                    continue
                answer.error, answer.last = message.errno, message
                if NLMSGERR_ATTR_MSG in message.said:
                    answer.text = message.said[NLMSGERR_ATTR_MSG].rstrip(b"\0").decode()
                for key, field in ((NLMSGERR_ATTR_OFFS, "offset"),
                                   (NLMSGERR_ATTR_MISS_TYPE, "missing")):
                    if key in message.said:
                        setattr(answer, field, struct.unpack("=I", message.said[key])[0])
                return answer

    def request(self, command, *attrs, flags=0, **kwargs):
        """Sends a request and returns its answer."""
        self.send(self.build(command, *attrs, flags=F_ACK | flags, **kwargs))
        return self.collect(self.seq)

    def dump(self, size=65536):
        self.send(self.build(GET, flags=F_DUMP))
        return self.collect(self.seq, size)

    def create(self, text, number=6, values=None, l3num=IPV4, flags=F_CREATE | F_EXCL):
        return self.request(NEW, name(text), l3(l3num), l4(number), data(values), flags=flags)

    def get(self, text):
        """The policy, or None."""
        answer = self.request(GET, name(text))
        return answer.policies[0] if answer.messages else None

    def delete(self, text):
        return self.request(DELETE, name(text))

    def default_get(self, number, l3num=IPV4):
        """The namespace's timeouts for a protocol."""
        return self.request(DEFAULT_GET, l3(l3num), l4(number)).policies[0].values

    def default_set(self, number, values):
        return self.request(DEFAULT_SET, l4(number), data(values))

    def flush(self):
        return self.request(DELETE)

    def state(self):
        """All policies, comparable."""
        return [(p.name, p.l3num, p.l4proto, p.use, p.values) for p in self.dump().policies]


def settled(function, expected):
    """Calls the function until it returns what is expected, for a while at most, and returns its
    last result: some things are only completed some time later."""
    for _ in range(300):
        if (result := function()) == expected:
            break
        time.sleep(0.1)
    return result


class Ktap:
    """Results of a test program."""

    def __init__(self):
        self.count = self.failed = self.skipped = 0

    def check(self, title, good, detail=""):
        self.count += 1
        if not good:
            self.failed += 1
            for line in str(detail).splitlines():
                print("#", line)
        print(f"{'ok' if good else 'not ok'} {self.count} {title}", flush=True)

    def equal(self, title, actual, expected):
        self.check(title, actual == expected, f"got {actual!r}, expected {expected!r}")

    def skip(self, title, reason):
        self.count += 1
        self.skipped += 1
        print(f"ok {self.count} {title} # SKIP {reason}", flush=True)

    def finish(self):
        print(f"1..{self.count}")
        sys.exit(1 if self.failed or not self.count else 4 if self.skipped == self.count else 0)


def configuration():
    """The running kernel's, as text."""
    # Where Python is a minimal one, it knows gzip by this alone.
    import zlib
    with open("/proc/config.gz", "rb") as packed:
        return zlib.decompress(packed.read(), wbits=31).decode()


def configured(option):
    """Whether the running kernel has an option built in."""
    return f"CONFIG_{option}=y\n" in configuration()


def hz():
    """CONFIG_HZ of the running kernel."""
    for line in configuration().splitlines():
        if line.startswith("CONFIG_HZ="):
            return int(line.split("=")[1])
    raise RuntimeError("no CONFIG_HZ in /proc/config.gz")


def largest():
    """The largest timeout in seconds: what conntrack counts is signed 32-bit jiffies."""
    return (2 ** 31 - 1) // hz()
