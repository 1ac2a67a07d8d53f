# SPDX-License-Identifier: GPL-2.0
"""Plays groups of messages to the module that is loaded, and keeps what comes back."""

import os
import socket
import struct
import time

import nfnl
from processes import runner, start, unshare

from . import generator

FIRST_PORT = 1000


def available(module):
    """Whether there is such a module for the running kernel."""
    return os.path.exists(f"{os.environ['MODROOT']}/lib/modules/{os.uname().release}/{module}.ko")


def unload(module):
    """Unloads a module, which is in use until the namespaces of a process that ended are gone."""
    for _ in range(300):
        if runner("unload", module):
            return True
        time.sleep(0.1)
    return False


def make_sockets():
    """The sockets, in new namespaces: each with a port number that does not depend on the process.

    They show each byte of an answer, which nfnl.Socket would parse.  They differ in what acknowledgments hold, and in how much they offer to receive at once.
    """
    sockets = []
    for index in range(generator.SOCKETS):
        if index % generator.PER_NAMESPACE == 0:
            unshare()
        sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, nfnl.NETLINK_NETFILTER)
        sock.bind((FIRST_PORT + index, 0))
        sock.setblocking(False)
        kind = index % generator.PER_NAMESPACE
        sock.setsockopt(nfnl.SOL_NETLINK, nfnl.NETLINK_EXT_ACK, kind != 2)
        sock.setsockopt(nfnl.SOL_NETLINK, nfnl.NETLINK_CAP_ACK, kind == 1)
        sockets.append((sock, 4096 if kind == 0 else 16384))
    return sockets


def receive(sock, size, reads):
    """Receives all that there is, or the first `reads` datagrams of it."""
    received = b""
    while reads != 0:
        try:
            part = sock.recv(size)
        except BlockingIOError:
            break
        received += part + bytes(-len(part) % 4)
        if reads is not None:
            reads -= 1
    return received


def _play(groups, path):
    sockets = make_sockets()
    with open(path, "wb") as out:
        for group in groups:
            record = b""
            for index, messages, reads in group:
                sock, size = sockets[index]
                if messages:
                    sock.send(generator.datagram(messages))
                record += receive(sock, size, reads)
            out.write(struct.pack("=I", len(record)) + record)
        # Whatever was sent to the wrong socket.
        rest = b"".join(receive(sock, size, None) for sock, size in sockets)
        out.write(struct.pack("=I", len(rest)) + rest)


def play(module, groups, path):
    """Loads a module, plays the groups in a process of its own, and unloads the module. So nothing
    is left of an earlier play. Returns what went wrong, or None."""
    if not runner("load", module):
        return f"{module} cannot be loaded"
    status = os.waitpid(start(lambda: _play(groups, path)), 0)[1]
    if not unload(module):
        return f"{module} cannot be unloaded"
    return "not all messages could be played" if status else None


def records(path):
    """The answers, group by group, and in the end those that were left over."""
    with open(path, "rb") as file:
        while size := file.read(4):
            yield file.read(struct.unpack("=I", size)[0])
