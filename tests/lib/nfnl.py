# SPDX-License-Identifier: GPL-2.0
"""Raw nfnetlink messages for tests, and KTAP for their results.

libnetfilter_cttimeout and pyroute2 build only messages that are well formed;
what a test of the error paths needs is the opposite, byte by byte.  So this
speaks the protocol itself: struct nlmsghdr, struct nfgenmsg, struct nlattr.
"""

import errno
import os
import socket
import struct
import time
import sys

NETLINK_NETFILTER = 12
SOL_NETLINK, NETLINK_CAP_ACK, NETLINK_EXT_ACK = 270, 10, 11
SUBSYS = 8  # NFNL_SUBSYS_CTNETLINK_TIMEOUT

NLMSG_ERROR, NLMSG_DONE = 2, 3
F_REQUEST, F_MULTI, F_ACK, F_DUMP_INTR = 1, 2, 4, 0x10
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
    return attr(L3PROTO, struct.pack(">H", number))


def l4(number=6):
    return attr(L4PROTO, bytes([number]))


def data(values=None):
    """CTA_TIMEOUT_DATA from a dictionary of attribute type and seconds."""
    return nest(DATA, *(attr(k, struct.pack(">I", v)) for k, v in (values or {}).items()))


def parse(payload):
    """Attributes as a dictionary of type and payload."""
    found = {}
    while len(payload) >= 4:
        length, kind = struct.unpack_from("=HH", payload)
        if length < 4:
            break
        found[kind & 0x3FFF] = payload[4:length]
        payload = payload[(length + 3) & ~3:]
    return found


def seconds(payload):
    """The content of CTA_TIMEOUT_DATA, as a dictionary of type and seconds."""
    return {k: struct.unpack(">I", v)[0] for k, v in parse(payload).items()}


def distinct(number, base):
    """A value for each timeout of a protocol, no two of them the same."""
    return {k: base + k for k in range(1, PROTOCOLS[number][1] + 1)}


class Policy:
    """A policy, or a set of defaults, as the kernel sent it."""

    def __init__(self, payload):
        attrs = parse(payload)
        self.name = os.fsdecode(attrs[NAME].rstrip(b"\0")) if NAME in attrs else None
        self.l3num = struct.unpack(">H", attrs[L3PROTO])[0]
        self.l4proto = attrs[L4PROTO][0]
        self.use = struct.unpack(">I", attrs[USE])[0] if USE in attrs else None
        self.values = seconds(attrs[DATA])


class Message:
    """A received message."""

    def __init__(self, kind, flags, seq, port, payload):
        self.kind, self.flags, self.seq, self.port = kind, flags, seq, port
        self.payload = payload

    def policy(self):
        return Policy(self.payload[4:])


class Answer:
    """What came back: the error, what was said about it, and the objects."""

    def __init__(self):
        self.error = None           # 0 or a positive errno; None without an ack
        self.text = None            # the extack message
        self.offset = None          # offset of the attribute to blame
        self.missing = None         # type of the attribute that is missing
        self.messages = []

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
        body = struct.pack("=BBH", family, 0, 0) + b"".join(attrs)
        return struct.pack("=IHHII", 16 + len(body), subsys << 8 | command,
                           F_REQUEST | flags, self.seq, 0) + body

    def send(self, message):
        self.sock.send(message)

    def receive(self, size=65536):
        """The messages of one datagram."""
        datagram = self.sock.recv(size)
        messages = []
        while len(datagram) >= 16:
            length, kind, flags, seq, port = struct.unpack_from("=IHHII", datagram)
            messages.append(Message(kind, flags, seq, port, datagram[16:length]))
            datagram = datagram[(length + 3) & ~3:]
        return messages

    def collect(self, seq=None, size=65536):
        """Everything up to the acknowledgment or the end of a dump."""
        answer = Answer()
        while True:
            for msg in self.receive(size):
                if seq is not None and msg.seq != seq:
                    continue
                if msg.kind == NLMSG_ERROR:
                    self._error(answer, msg)
                    return answer
                if msg.kind == NLMSG_DONE:
                    answer.error = -struct.unpack_from("=i", msg.payload)[0]
                    answer.done = msg
                    return answer
                answer.messages.append(msg)

    @staticmethod
    def _error(answer, msg):
        code, inner_len = struct.unpack_from("=iI", msg.payload)
        answer.error = -code
        if not msg.flags & F_ACK_TLVS:
            return
        inner = 16 if msg.flags & F_CAPPED else (inner_len + 3) & ~3
        tlvs = parse(msg.payload[4 + inner:])
        if NLMSGERR_ATTR_MSG in tlvs:
            answer.text = tlvs[NLMSGERR_ATTR_MSG].rstrip(b"\0").decode()
        for key, field in ((NLMSGERR_ATTR_OFFS, "offset"), (NLMSGERR_ATTR_MISS_TYPE, "missing")):
            if key in tlvs:
                setattr(answer, field, struct.unpack("=I", tlvs[key])[0])

    def request(self, command, *attrs, flags=0, **kwargs):
        """Sends a request and returns its answer."""
        message = self.build(command, *attrs, flags=F_ACK | flags, **kwargs)
        self.send(message)
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


def is_root():
    return os.geteuid() == 0
