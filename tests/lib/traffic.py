#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Sends and receives real packets, one step at a time, for shell tests.

One process has both ends of each connection: a socket belongs to the network
namespace that it was made in.  It reads one command a line from standard input
and answers each with a line: "ok", or "error" and what went wrong.

  listen SOCKET NS TYPE ADDRESS PORT             makes a server's socket
  connect SOCKET NS TYPE ADDRESS PORT FROM PORT  starts a connection; does not wait
  accept SOCKET LISTENER PORT                    waits for a connection from PORT
  send SOCKET                                    sends a packet
  receive SOCKET                                 waits for a packet
  answer SOCKET                                  waits for a packet, and sends one back
  finish SOCKET                                  says that there is no more to send
  close SOCKET                                   closes the socket in good order
  reset SOCKET                                   closes the socket with an abort

TYPE is tcp, udp, sctp, or the number of any other IP protocol, for a raw socket
(where ports mean nothing).
"""

import socket
import struct
import sys

from processes import Network

STREAMS = {"tcp": socket.IPPROTO_TCP, "sctp": 132}
# Raw sockets send it as it is. For GRE it is a header of version 0 that says
# that an IPv4 packet follows; to other protocols it means nothing.
PAYLOAD = struct.pack(">HH", 0, 0x0800) + b"a packet"


class Traffic:
    """The sockets by name, and the commands."""

    def __init__(self):
        self.sockets = {}

    def make(self, name, network, kind, address, port):
        """A socket that is bound to a local address."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with Network(network):
            if kind in STREAMS:
                sock = socket.socket(family, socket.SOCK_STREAM, STREAMS[kind])
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            elif kind == "udp":
                sock = socket.socket(family, socket.SOCK_DGRAM)
            else:
                sock = socket.socket(family, socket.SOCK_RAW, int(kind))
                port = 0
        sock.settimeout(30)
        sock.bind((address, int(port)))
        self.sockets[name] = sock
        return sock

    def listen(self, name, network, kind, address, port):
        sock = self.make(name, network, kind, address, port)
        if kind in STREAMS:
            sock.listen(16)

    def connect(self, name, network, kind, address, port, source, source_port):
        sock = self.make(name, network, kind, source, source_port)
        if kind not in STREAMS and kind != "udp":
            port = 0
        sock.setblocking(False)
        try:
            sock.connect((address, int(port)))
        except BlockingIOError:
            pass
        sock.settimeout(30)

    def accept(self, name, listener, port):
        # A connection that an earlier step kept from being established may turn up late.
        while True:
            sock, peer = self.sockets[listener].accept()
            if peer[1] == int(port):
                break
            sock.close()
        sock.settimeout(30)
        self.sockets[name] = sock

    def send(self, name):
        self.sockets[name].send(PAYLOAD)

    def receive(self, name):
        if not self.sockets[name].recv(4096):
            raise EOFError("the other end has closed the connection")

    def answer(self, name):
        _, sender = self.sockets[name].recvfrom(4096)
        self.sockets[name].sendto(PAYLOAD, sender)

    def finish(self, name):
        self.sockets[name].shutdown(socket.SHUT_WR)

    def close(self, name):
        self.sockets.pop(name).close()

    def reset(self, name):
        linger = struct.pack("=ii", 1, 0)
        self.sockets[name].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.close(name)


def main():
    traffic = Traffic()
    for line in sys.stdin:
        command, *args = line.split()
        try:
            getattr(traffic, command)(*args)
            print("ok", flush=True)
        except (OSError, EOFError) as error:
            print("error", error, flush=True)


if __name__ == "__main__":
    main()
