# SPDX-License-Identifier: GPL-2.0
"""Two hosts on a veth pair, in namespaces of their own: takes steps there, with the clients that
people use, and tells what there is then."""

import fcntl
import os
import struct
import subprocess
import termios
import time

import nfnl
import traffic
from nfnl import references
from processes import Network

from . import sequences

CLIENT, SERVER = "conformance-client", "conformance-server"
# Conntrack is active in a namespace as long as something there asks for it.
TRACK = "add table inet a; add chain inet a b { type filter hook input priority 0; }; " \
        "add rule inet a b ct state invalid"

# Where the kernel tells of rules that hold policies
TRACING = "/sys/kernel/tracing/"
EVENTS = TRACING + "events/cttimeout/"

patience = 20


def run(*command):
    """Runs a command. Returns its exit code and the end of what it complained of."""
    done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    return done.returncode, done.stderr.strip().split("\n")[-1]


def wait_for(what, condition):
    """Waits until a condition comes true. After one wait in vain, the others are short."""
    global patience
    end = time.monotonic() + patience
    while not condition():
        if time.monotonic() > end:
            patience = 1
            raise TimeoutError(what)
        time.sleep(0.05)


def write(path, text):
    with open(path, "w") as file:
        file.write(text)


class Hosts:
    """The hosts, as a context manager: entering it moves the process into the client's namespace;
    leaving it deletes both."""

    def __init__(self, module):
        self.module = module
        self.traffic = traffic.Traffic()
        self.born = {}          # when a flow began

    def __enter__(self):
        self.traced = os.path.exists(EVENTS)
        if self.traced:
            write(TRACING + "trace", "")
            for event in "hold", "release":
                write(f"{EVENTS}cttimeout_{event}/enable", "1")
        for command in (f"netns add {CLIENT}", f"netns add {SERVER}",
                        f"link add veth0 netns {CLIENT} type veth peer name veth0 netns {SERVER}"):
            subprocess.run(["ip", *command.split()], check=True)
        for number, name in enumerate((CLIENT, SERVER), 1):
            with Network(name):
                # On a busy machine, a FIN could be sent again, which to conntrack is another one.
                for key, value in (("ipv6/conf/all/accept_dad", 0), ("ipv6/conf/veth0/accept_dad", 0),
                                   ("ipv6/conf/veth0/accept_ra", 0), ("ipv4/tcp_early_retrans", 0),
                                   ("ipv4/tcp_rto_min_us", 60000000)):
                    write(f"/proc/sys/net/{key}", str(value))
                for command in (f"addr add 10.0.0.{number}/24 dev veth0",
                                f"addr add fd00::{number}/64 dev veth0 nodad",
                                "link set veth0 up"):
                    subprocess.run(["ip", *command.split()], check=True)
        for kind, ports in sequences.PORTS.items():
            for port in ports:
                for host in ("10.0.0.", "fd00::") if kind == "udp" else ("10.0.0.",):
                    self.traffic.listen(f"{kind} {host} {port}", SERVER, kind, host + "2", port)
        self.network = Network(CLIENT)
        self.network.__enter__()
        subprocess.run(["nft", TRACK], check=True)
        self.netlink = nfnl.Socket()
        return self

    def __exit__(self, *_):
        self.netlink.sock.close()
        self.network.__exit__()
        for sock in self.traffic.sockets.values():
            sock.close()
        for name in (CLIENT, SERVER):
            subprocess.run(["ip", "netns", "del", name], check=True)

    def take(self, step):
        """Takes a step. Returns how it went, in a form that can be compared."""
        kind, *args = step
        try:
            return getattr(self, kind)(*args)
        except (OSError, EOFError) as error:
            return repr(error)

    # Policies: by nfct where it knows how.

    def create(self, name, l3num, number, values):
        return self.netlink.create(name, number, values, l3num).errno_name

    def replace(self, name, l3num, number, values):
        return self.netlink.create(name, number, values, l3num, nfnl.F_REPLACE).errno_name

    def set_default(self, number, values):
        return self.netlink.default_set(number, values).errno_name

    def delete(self, name, _used):
        return run("nfct", "delete", "timeout", name)

    def flush(self, _used):
        answer = self.netlink.flush()
        return answer.errno_name, answer.text

    # Rules. When nf_tables closes the socket of a command, it has waited for the end of the rules
    # that the command deleted.

    def add_rule(self, backend, name, protocol, port):
        match = ["-p", protocol] + (["--dport", str(port)] if port else [])
        return run(backend, "-w", "-t", "raw", "-A", "OUTPUT", *match, "-j", "CT", "--timeout", name)

    def delete_rule(self, backend, index):
        return run(backend, "-w", "-t", "raw", "-D", "OUTPUT", str(index))

    def flush_rules(self, backend):
        return run(backend, "-w", "-t", "raw", "-F", "OUTPUT")

    # Flows. When a step is over, all packets have arrived.

    def datagrams(self, port, host, protocol, server_port):
        self.traffic.connect(f"c{port}", CLIENT, protocol, host + "2", server_port, host + "1",
                             port)
        self.born[port] = f"{protocol} {host} {server_port}", time.monotonic()

    def send(self, port):
        self.traffic.send(f"c{port}")
        self.traffic.receive(self.born[port][0])

    def exchange(self, port):
        server, born = self.born[port]
        # UDP flows have the timeout of the replied when they are older than 2 seconds.
        time.sleep(max(0, born + 2.5 - time.monotonic()))
        self.traffic.send(f"c{port}")
        self.traffic.answer(server)
        self.traffic.receive(f"c{port}")

    def tcp_open(self, port, host, server_port):
        self.traffic.connect(f"c{port}", CLIENT, "tcp", host + "2", server_port, host + "1", port)
        self.traffic.accept(f"s{port}", f"tcp {host} {server_port}", port)

    def _acknowledged(self, port):
        """Whether either end has nothing that the other has not acknowledged."""
        return not any(struct.unpack("=i", fcntl.ioctl(self.traffic.sockets[f"{end}{port}"],
                                                       termios.TIOCOUTQ, bytes(4)))[0]
                       for end in "cs")

    def tcp_exchange(self, port):
        for sender, receiver in ("cs", "sc"):
            self.traffic.send(f"{sender}{port}")
            self.traffic.receive(f"{receiver}{port}")
        wait_for("an acknowledgment", lambda: self._acknowledged(port))

    def _wait_for_state(self, port, state):
        wait_for(state, lambda: any(flow[2].startswith(f"{state} ") and f" sport={port} " in flow[2]
                                    for flow in self.flows()))

    def tcp_finish(self, port):
        self.traffic.finish(f"c{port}")
        self._wait_for_state(port, "CLOSE_WAIT")

    def tcp_close(self, port):
        self.traffic.close(f"s{port}")
        self._wait_for_state(port, "TIME_WAIT")
        self.traffic.close(f"c{port}")

    def tcp_reset(self, port):
        self.traffic.reset(f"c{port}")
        self.traffic.close(f"s{port}")
        self._wait_for_state(port, "CLOSE")

    # The state of the hosts.

    def policies(self):
        return self.netlink.state()

    def references(self):
        """How many rules hold policies. The C module holds a reference to itself for each of them,
        in addition to those for the policies; this module traces each rule that comes and goes."""
        if not self.traced:
            return references(self.module) - len(self.policies())
        with open(TRACING + "trace") as file:
            told = file.read()
        return told.count(" cttimeout_hold: ") - told.count(" cttimeout_release: ")

    def flows(self):
        """Protocol, timeout, and the rest of each flow. Timeouts are told by the last multiple of
        GRAIN seconds that they can have been set to."""
        found = []
        for family in ("ipv4", "ipv6"):
            out = subprocess.run(["conntrack", "-L", "-f", family], capture_output=True, text=True)
            for line in out.stdout.splitlines():
                _, number, seconds, rest = line.split(maxsplit=3)
                if number != "58":      # neighbours are found at times of their own
                    found.append((int(number), -(-int(seconds) // sequences.GRAIN),
                                  rest.rsplit(" use=", 1)[0]))
        return sorted(found)

    def look(self):
        """All of it."""
        policies, references = self.policies(), self.references()
        return {"policies": [policy[:3] + policy[4:] for policy in policies],
                "uses": ([policy[3] for policy in policies], references),
                "references": references, "flows": self.flows()}


def play(module, episodes):
    """Plays episodes to the module that is loaded. Returns what the steps of each group led to, and
    what there was then; and after each episode, whether the namespaces took everything along."""
    found = []
    for groups in episodes:
        with Hosts(module) as hosts:
            for group in groups:
                found.append(([hosts.take(step) for step in group], hosts.look()))
        try:
            wait_for("references", lambda: references(module) == 0)
            found.append((["all gone"], {}))
        except TimeoutError as error:
            found.append(([repr(error)], {}))
    return found
