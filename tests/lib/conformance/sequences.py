# SPDX-License-Identifier: GPL-2.0
"""Makes sequences of steps with policies, rules and flows, from a seed and nothing else.

A step is a tuple: the name of a method of hosts.Hosts, and its arguments.  Steps
come in groups; what there is is looked at after each group.  The generator
knows which policies rules use.  That is what the modules differ in: the C
module deletes such a policy, this one does not unless it is told so.  Without
detach_in_use, such a step is followed by others of the same group that lead both
modules to the same state.
"""

import random

BACKENDS = ("iptables-legacy", "iptables-nft", "ip6tables-legacy", "ip6tables-nft")
# Name: layer 3 protocol, layer 4 protocol of the policy, and how iptables calls that.
POLICIES = {"udp one": (2, 17, "udp"), "udp two": (2, 17, "udp"), "tcp one": (2, 6, "tcp"),
            "tcp two": (2, 6, "tcp"), "gre": (2, 47, "47"), "other": (2, 255, "99"),
            "udp six": (10, 17, "udp")}
PORTS = {"udp": (90, 91), "tcp": (80, 81), "47": (0,), "99": (0,)}
EPISODE = 60
# Timeouts are multiples of this many seconds, to be recognized hours later.
GRAIN = 10000
COUNTS = {6: 11, 17: 2, 47: 2, 255: 1}


class Sequence:
    """Groups of steps for one pair of network namespaces, and what they must lead to."""

    def __init__(self, rng, limit, detach):
        self.rng, self.detach = rng, detach
        self.slots = limit // GRAIN
        self.policies = set()
        self.rules = {backend: [] for backend in BACKENDS}
        self.flows = {}         # port: what comes next for the connection
        self.port = 4000

    def values(self, number):
        return {k: GRAIN * self.rng.randrange(1, self.slots) for k in range(1, COUNTS[number] + 1)}

    def used(self, name):
        return sum(rules.count(name) for rules in self.rules.values())

    def begin(self):
        """Defaults that can be recognized, and a policy that is used in every way."""
        yield [("set_default", number, self.values(number)) for number in COUNTS]
        for name in POLICIES:
            yield [self.create(name)]
        for backend in ("iptables-nft", "iptables-legacy"):
            yield [self.add_rule(backend, "udp one", 90)]
        yield [self.add_rule("iptables-legacy", "tcp one", 80)]
        yield [self.add_rule("iptables-legacy", "gre", 0)]
        yield self.new_flow("47", 0)
        yield self.new_flow("udp", 90)
        yield self.new_flow("tcp", 80)
        yield [self.replace("udp one"), self.replace("tcp one"), self.replace("gre")]
        yield self.next_of_all()
        yield from self.delete("udp one")
        yield self.next_of_all()
        yield self.new_flow("udp", 90)
        yield [self.create("udp one")]
        yield [self.add_rule("iptables-nft", "tcp two", 81)]
        yield self.new_flow("tcp", 81)
        yield from self.flush()
        yield self.next_of_all()

    def random(self):
        """One thing that can happen."""
        rng = self.rng
        # Mostly one that there is. Sets have no order.
        there = [name for name in POLICIES if name in self.policies or rng.random() < 0.1]
        name, backend = rng.choice(there or list(POLICIES)), rng.choice(BACKENDS)
        kind = rng.choices(("create", "replace", "default", "delete", "flush", "rule", "strange",
                            "unrule", "unrules", "flow", "next"),
                           (8, 3, 1, 4, .3, 8, 1, 3, .5, 5, 8))[0]
        if kind == "create":
            return [[self.create(rng.choice(list(POLICIES)))]]
        if kind == "replace":
            return [[self.replace(name)]]
        if kind == "default":
            number = rng.choice(list(COUNTS))
            return [[("set_default", number, self.values(number))]]
        if kind == "delete":
            used = [text for text in there if self.used(text)]
            return self.delete(rng.choice(used) if used and rng.random() < 0.6 else name)
        if kind == "flush":
            return self.flush()
        if kind in ("rule", "strange"):
            protocol = POLICIES[name][2]
            if kind == "strange":
                protocol = rng.choice(list(PORTS))
            elif (POLICIES[name][0] == 10) != backend.startswith("ip6"):
                backend = backend.replace("ip6", "ip") if "ip6" in backend else "ip6" + backend[2:]
            return [[self.add_rule(backend, name, rng.choice(PORTS[protocol]), protocol)]]
        if kind == "unrule" and any(self.rules.values()):
            backend = rng.choice([b for b in BACKENDS if self.rules[b]])
            return [[self.delete_rule(backend, rng.randrange(len(self.rules[backend])))]]
        if kind == "unrules":
            return [[self.flush_rules(backend)]]
        if kind == "next" and self.flows:
            return [self.next(rng.choice(list(self.flows)))]
        protocol = rng.choice(list(PORTS))
        return [self.new_flow(protocol, rng.choice(PORTS[protocol]))]

    # Policies.

    def create(self, name):
        l3num, number, _ = POLICIES[name]
        self.policies.add(name)
        return "create", name, l3num, number, self.values(number)

    def replace(self, name):
        l3num, number, _ = POLICIES[name]
        self.policies.add(name)
        return "replace", name, l3num, number, self.values(number)

    def delete(self, name):
        used = bool(self.used(name)) and name in self.policies
        group = [("delete", name, used)]
        self.policies.discard(name)
        if used and not self.detach:
            group += self.flush_all_rules() + [("delete", name, False)]
        yield group

    def flush(self):
        used = sum(1 for name in self.policies if self.used(name))
        group = [("flush", used)]
        if used and not self.detach:
            group += self.flush_all_rules() + [("flush", 0)]
        self.policies.clear()
        yield group

    # Rules.

    def _legacy_change(self, backend, rules):
        """The legacy back end looks up the policies of all rules of the table anew."""
        if "legacy" not in backend or self.policies.issuperset(rules):
            self.rules[backend] = rules

    def add_rule(self, backend, name, port, protocol=None):
        l3num, _, wanted = POLICIES[name]
        protocol = protocol or wanted
        fits = protocol == wanted and (l3num == 10) == backend.startswith("ip6")
        if fits and name in self.policies:
            self._legacy_change(backend, self.rules[backend] + [name])
        return "add_rule", backend, name, protocol, port

    def delete_rule(self, backend, index):
        rules = self.rules[backend]
        self._legacy_change(backend, rules[:index] + rules[index + 1:])
        return "delete_rule", backend, index + 1

    def flush_rules(self, backend):
        self.rules[backend] = []
        return "flush_rules", backend

    def flush_all_rules(self):
        return [self.flush_rules(backend) for backend in BACKENDS if self.rules[backend]]

    # Flows.

    def new_flow(self, protocol, port):
        self.port += 1
        host = "fd00::" if protocol == "udp" and self.rng.random() < 0.3 else "10.0.0."
        if protocol == "tcp":
            self.flows[self.port] = "tcp_exchange"
            return [("tcp_open", self.port, host, port)]
        self.flows[self.port] = f"{'udp' if protocol == 'udp' else 'raw'}_send"
        return [("datagrams", self.port, host, protocol, port), ("send", self.port)]

    def next(self, flow):
        """The next step of the flow; TCP connections end some time."""
        rng = self.rng
        kind = self.flows[flow]
        if kind == "udp_send" and rng.random() < 0.3:
            return [("exchange", flow)]
        if not kind.startswith("tcp"):
            return [("send", flow)]
        if kind == "tcp_exchange" and rng.random() < 0.5:
            kind = rng.choice(("tcp_finish", "tcp_reset"))
        self.flows[flow] = {"tcp_finish": "tcp_close"}.get(kind, kind)
        if kind in ("tcp_reset", "tcp_close"):
            del self.flows[flow]
        return [(kind, flow)]

    def next_of_all(self):
        return [step for flow in list(self.flows) for step in self.next(flow)]


def episodes(seed, count, limit, detach):
    """Lists of groups, each list for a new pair of namespaces, with `count` groups in all."""
    rng = random.Random(seed)
    while count > 0:
        sequence = Sequence(rng, limit, detach)
        groups = list(sequence.begin())
        while len(groups) < min(count, EPISODE):
            groups += sequence.random()
        count -= len(groups)
        yield groups
