#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
# check: debug
# needs: conntrack iptables-legacy nft
#
# The first packet of a flow waits in a queue (NFQUEUE) while its rule and its policy are
# deleted, the module is unloaded, or its network namespace ends.

import socket
import struct
import subprocess

import nfnl
from nfnl import attr, be32
from processes import in_child, new_namespace, runner

# include/uapi/linux/netfilter/nfnetlink_queue.h
QUEUE, VERDICT, CONFIG, BIND, COPY_META, ACCEPT = 3, 1, 2, 1, 1, 1
NFT = """table inet waiting {
    chain output { type filter hook output priority 0; udp dport 99 ct state new queue num 0; }
}"""
t = nfnl.Ktap()
if not nfnl.configured("NFT_QUEUE"):
    t.skip("a policy is deleted while a packet waits", "the kernel has no queues for packets")
    t.finish()


def run(command, **kwargs):
    return subprocess.run(command.split(), check=True, text=True, capture_output=True, **kwargs).stdout


class Waiting:
    """A flow whose first packet waits, in the current network namespace."""

    def __init__(self):
        self.policies, self.queue = nfnl.Socket(), nfnl.Socket()
        self.policies.create("web", 17, {1: 1100, 2: 1200})
        run("iptables-legacy -t raw -A OUTPUT -p udp --dport 99 -j CT --timeout web")
        run("nft -f -", input=NFT)
        for setting in attr(1, struct.pack("=BBH", BIND, 0, 0)), attr(2, struct.pack("=IB", 0, COPY_META)):
            assert not self.queue.request(CONFIG, setting, subsys=QUEUE).error
        self.server, self.client = [socket.socket(type=socket.SOCK_DGRAM) for _ in range(2)]
        self.server.bind(("127.0.0.1", 99))
        self.client.sendto(b"waits", ("127.0.0.1", 99))
        [packet] = self.queue.receive()
        self.number = packet.attrs[1][:4]

    def forget(self):
        """Deletes the rule and the policy; returns the error, and the references to the module."""
        run("iptables-legacy -t raw -F")
        return self.policies.delete("web").error, nfnl.references()

    def accept(self):
        """Lets the packet go on; returns what arrives, and the seconds that each flow has left."""
        verdict = attr(2, be32(ACCEPT) + self.number)
        self.queue.send(self.queue.build(VERDICT, verdict, subsys=QUEUE, flags=0))
        self.server.settimeout(20)
        arrived = self.server.recv(10)
        left = [int(line.split()[2]) for line in run("conntrack -L -p udp").splitlines()]
        run("nft delete table inet waiting")
        for each in self.queue.sock, self.server, self.client:
            each.close()
        return arrived, [1000 < seconds <= 1100 for seconds in left]


new_namespace()
waiting = Waiting()
t.equal("a packet waits: its rule and its policy can be deleted, and do not hold the module",
        waiting.forget(), (0, 0))
t.equal("a packet waits: its flow then has the timeout of the deleted policy",
        waiting.accept(), (b"waits", [True]))
run("conntrack -D -p udp")

waiting = Waiting()
t.check("a packet waits: the module is not unloaded while there are rule and policy",
        not runner("unload"))
waiting.forget()
t.check("a packet waits: the module is unloaded without rule and policy", runner("unload"))
t.equal("a packet waits: without the module, its flow has the timeout of the deleted policy",
        waiting.accept(), (b"waits", [True]))
run("conntrack -D -p udp")
t.check("a packet waited: the module can be loaded", runner("load"))


def ends():
    new_namespace()
    waiting = Waiting()
    return nfnl.references(), waiting.number


t.equal("a packet waits: its process and its namespace end", in_child(ends),
        repr((1, be32(1))))
t.equal("a packet waited: the end of its namespace drops all references to the module",
        nfnl.settled(nfnl.references, 0), 0)
t.finish()
