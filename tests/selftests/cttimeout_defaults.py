#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
# check: plain/s390x
#
# The default timeouts of a namespace can be read and set for each protocol, new
# policies take them over, and other namespaces do not notice. All other protocols are
# refused, and no number leads to a warning of the kernel.

import atexit
import pathlib
import subprocess

import nfnl
from nfnl import data, distinct, l3, l4
from processes import Network

# The names that the sysctls have for the states, in the order of the netlink
# attributes; some states have none.
SYSCTLS = {
    1: ["icmp_timeout"],
    6: ["tcp_timeout_" + state for state in
        ("syn_sent", "syn_recv", "established", "fin_wait", "close_wait", "last_ack", "time_wait",
         "close", "", "max_retrans", "unacknowledged")],
    17: ["udp_timeout", "udp_timeout_stream"],
    47: ["gre_timeout", "gre_timeout_stream"],
    58: ["icmpv6_timeout"],
    132: ["sctp_timeout_" + state for state in
          ("closed", "cookie_wait", "cookie_echoed", "established", "shutdown_sent",
           "shutdown_recd", "shutdown_ack_sent", "heartbeat_sent", "")],
    255: ["generic_timeout"],
}

t = nfnl.Ktap()
s = nfnl.Socket()


def sysctl(number, state):
    """The file of a state's sysctl, or None."""
    name = SYSCTLS[number][state - 1]
    return None if name.endswith("_") else f"/proc/sys/net/netfilter/nf_conntrack_{name}"


def read_sysctls(number):
    found = {}
    for state in range(1, len(SYSCTLS[number]) + 1):
        if sysctl(number, state):
            with open(sysctl(number, state)) as file:
                found[state] = int(file.read())
    return found


def socket_in(namespace):
    """A socket of another namespace; it stays there, whoever uses it."""
    with Network(namespace):
        return nfnl.Socket()


def all_defaults(sock):
    return {number: sock.default_get(number) for number in nfnl.PROTOCOLS}


subprocess.run("ip netns add defaults", shell=True, check=True)
other = socket_in("defaults")
untouched, elsewhere = all_defaults(s), all_defaults(other)

for number, (protocol, count) in nfnl.PROTOCOLS.items():
    original = s.default_get(number)
    t.equal(f"{protocol}: default-get shows each state, and what the sysctls show",
            (list(original), {k: original[k] for k in read_sysctls(number)}),
            (list(range(1, count + 1)), read_sysctls(number)))
    answers = [s.request(nfnl.DEFAULT_GET, l3(n), l4(number))
               for n in (nfnl.IPV4, nfnl.IPV6, 0, 7, 65535)]
    t.equal(f"{protocol}: default-get repeats l3num, and has no name and no use",
            [(p.name, p.l3num, p.l4proto, p.use, p.values) for a in answers for p in a.policies],
            [(None, n, number, None, original) for n in (nfnl.IPV4, nfnl.IPV6, 0, 7, 65535)])

    s.create("old", number)
    values = distinct(number, 4000)
    t.equal(f"{protocol}: default-set needs no l3num", s.default_set(number, values).error, 0)
    t.equal(f"{protocol}: default-get shows what was set", s.default_get(number), values)
    t.equal(f"{protocol}: sysctls show what was set by default-set", read_sysctls(number),
            {k: values[k] for k in read_sysctls(number)})
    answer = s.request(nfnl.DEFAULT_SET, l3(nfnl.IPV6), l4(number), data(distinct(number, 5000)))
    t.equal(f"{protocol}: l3num may be given, and makes no difference",
            (answer.error, s.default_get(number, nfnl.IPV4), s.default_get(number, nfnl.IPV6)),
            (0, distinct(number, 5000), distinct(number, 5000)))

    wrong, values = [], distinct(number, 5000)
    for state in values:
        for value in (0, 1, nfnl.largest(), 6000 + state):
            error = s.default_set(number, {state: value}).error
            values[state] = value
            got = s.default_get(number)
            if error or got != values:
                wrong.append((state, value, error, got))
    t.equal(f"{protocol}: setting one state leaves the others alone", wrong, [])
    t.equal(f"{protocol}: setting none changes nothing",
            (s.default_set(number, {}).error, s.default_get(number)), (0, values))
    for state in read_sysctls(number):
        values[state] = 7000 + state
        with open(sysctl(number, state), "w") as file:
            file.write(str(values[state]))
    t.equal(f"{protocol}: default-get shows what was set by sysctl", s.default_get(number), values)

    s.create("new", number)
    s.create("half", number, {1: 9})
    t.equal(f"{protocol}: a new policy takes the defaults", s.get("new").values, values)
    t.equal(f"{protocol}: a new policy takes the defaults for what it does not set",
            s.get("half").values, values | {1: 9})
    t.equal(f"{protocol}: an older policy keeps those of its time", s.get("old").values, original)
    s.flush()
    t.equal(f"{protocol}: other protocols are not affected",
            {n: v for n, v in all_defaults(s).items() if n != number},
            {n: v for n, v in untouched.items() if n != number})
    t.equal(f"{protocol}: other namespaces are not affected", all_defaults(other), elsewhere)
    other.default_set(number, distinct(number, 8000))
    other.create("there", number)
    t.equal(f"{protocol}: another namespace has defaults of its own",
            (other.default_get(number), other.get("there").values, s.default_get(number)),
            (distinct(number, 8000), distinct(number, 8000), values))
    t.equal(f"{protocol}: another namespace has policies of its own",
            (s.state(), other.flush().error), ([], 0))
    other.default_set(number, elsewhere[number])
    s.default_set(number, original)

t.equal("the defaults of all protocols are restored", all_defaults(s), untouched)
# A namespace whose policies and defaults were in use goes, and a new one of its name is fresh.
other.create("left behind", values=distinct(6, 100))
other.default_set(6, distinct(6, 100))
other.sock.close()
subprocess.run("ip netns del defaults && ip netns add defaults", shell=True, check=True)
other = socket_in("defaults")
t.equal("a new namespace has the kernel's defaults, and no policies",
        (all_defaults(other), other.state()), (elsewhere, []))
other.sock.close()
subprocess.run("ip netns del defaults", shell=True, check=True)

# nf_ct_l4proto_find() has a tracker for six protocols; for all other numbers, the generic one,
# whose own number is 255. (A warning would now end the guest.)
panic = pathlib.Path("/proc/sys/kernel/panic_on_warn")
atexit.register(panic.write_text, panic.read_text())
panic.write_text("1")
for l3num in None, 0, nfnl.IPV4, nfnl.IPV6, 255:
    title, family = f"256 protocols, l3num {l3num}:", [] if l3num is None else [l3(l3num)]
    answers = {n: s.request(nfnl.DEFAULT_GET, *family, l4(n)) for n in range(256)}
    t.equal(f"{title} default-get shows the defaults of those with a tracker",
            {n: a.policies[0].values for n, a in answers.items() if a.policies},
            untouched if family else {})
    t.equal(f"{title} default-get refuses all others, and all without l3num",
            {n: a.errno_name for n, a in answers.items()},
            {n: "EINVAL" if not family else 0 if n in untouched else "EOPNOTSUPP"
             for n in range(256)})
    errors = {n: s.request(nfnl.DEFAULT_SET, *family, l4(n), data({1: 77})).errno_name
              for n in range(256)}
    t.equal(f"{title} default-set refuses those without a tracker, and changes all others",
            (errors, all_defaults(s)),
            ({n: 0 if n in untouched else "EOPNOTSUPP" for n in range(256)},
             {n: values | {1: 77} for n, values in untouched.items()}))
    for number, values in untouched.items():
        s.default_set(number, values)
t.equal("256 protocols: the defaults are restored", all_defaults(s), untouched)
t.finish()
