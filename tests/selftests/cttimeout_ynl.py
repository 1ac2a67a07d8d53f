#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
# check: plain/s390x; slow: 8
#
# Shows that the YNL specification describes the module: the kernel's own tool
# for such specifications, tools/net/ynl, accepts it, and drives every command
# and the dump with it. What the tool sends and receives is compared with what
# nfnl.py does, which knows nothing of the specification.

import errno
import json
import os
import subprocess
import sys

import nfnl
from processes import Number, come_and_go, meanwhile

SPEC = "../../Documentation/netlink/specs/cttimeout.yaml"
SOURCE = os.environ["CLIENTS"] + "/source"
SCHEMA = f"{SOURCE}/Documentation/netlink/netlink-raw.yaml"
CLI = f"{SOURCE}/tools/net/ynl/pyynl/cli.py"

t = nfnl.Ktap()
if not os.path.isdir(SOURCE):
    t.skip("YNL", "the kernel was built without its source tree at hand")
    t.finish()
try:
    import jsonschema
    import yaml
except ImportError as error:
    t.skip("YNL", f"{error.name} cannot be installed here")
    t.finish()
sys.path.append(f"{SOURCE}/tools/net/ynl")
# pylint: disable=wrong-import-position
from pyynl.lib import Netlink, NlError, YnlFamily

HEADER = {"nfgen-family": 0, "version": 0, "res-id": 0}
s = nfnl.Socket()


def load(path):
    with open(path, encoding="utf-8") as stream:
        return yaml.safe_load(stream)


def refused(title, number, extack, command, attrs, flags=()):
    """Checks the error, and everything that YNL makes of the extended acknowledgment."""
    before = s.state()
    try:
        ynl.do(command, attrs, list(flags))
        actual = None
    except NlError as error:
        extack_told = dict(error.nl_msg.extack or {})
        extack_told.pop("miss-type-doc", None)
        actual = (errno.errorcode[error.error], extack_told)
    t.equal(f"{command}: {title}", (actual, s.state() == before),
            ((errno.errorcode[number], extack), True))


def cli(*args):
    """Runs the tool as people do. Returns whether it succeeded, and what it printed."""
    done = subprocess.run([sys.executable, CLI, "--spec", SPEC, "--schema", SCHEMA, *args],
                          capture_output=True, text=True, check=False)
    return done.returncode == 0, (done.stdout + done.stderr).strip()


try:
    jsonschema.validate(load(SPEC), load(SCHEMA))
    invalid = ""
except jsonschema.ValidationError as error:
    invalid = str(error)
t.check("the specification is valid", not invalid, invalid)

ynl = YnlFamily(SPEC, schema=SCHEMA)

# Each protocol and family: what goes in by the specification comes out without it, and back.
ipproto = {number: entry.name for number, entry in ynl.consts["ipproto"].entries_by_val.items()}
wanted, defaults = [], {}
for number, (_, count) in nfnl.PROTOCOLS.items():
    proto = ipproto[number]
    states = list(ynl.attr_sets[f"{proto}-attrs"])
    t.equal(f"{proto}: all timeouts are in the specification", len(states), count)
    for l3num in (nfnl.IPV4, nfnl.IPV6):
        base = 1000 * len(wanted) + 100
        raw = nfnl.distinct(number, base)
        policy = {"name": f"{proto}-{l3num}", "l3proto": l3num, "l4proto": proto,
                  "data": {state: base + i for i, state in enumerate(states, 1)}}
        ynl.do("new", policy, [Netlink.NLM_F_CREATE, Netlink.NLM_F_EXCL])
        wanted.append(HEADER | policy | {"use": 1})
        t.equal(f"{proto}, family {l3num}: new", s.state()[-1],
                (policy["name"], l3num, number, 1, raw))
        t.equal(f"{proto}, family {l3num}: get", ynl.do("get", {"name": policy["name"]}),
                wanted[-1])
    ynl.do("default-set", {"l4proto": proto, "data": policy["data"]})
    t.equal(f"{proto}: default-set", s.default_get(number), raw)
    t.equal(f"{proto}: default-get", ynl.do("default-get", {"l3proto": 10, "l4proto": proto}),
            HEADER | {"l3proto": 10, "l4proto": proto, "data": policy["data"]})
    defaults[proto] = policy["data"]
t.equal("get: dump", ynl.dump("get", {}), wanted)
t.equal("the specification has no protocol without timeouts",
        sorted(ipproto.values()), sorted(f for f in ynl.sub_msgs["timeout-data"].formats))

tcp = {"name": "tcp-2", "l3proto": 2, "l4proto": "tcp", "data": {"established": 7}}
ynl.do("new", dict(tcp), [Netlink.NLM_F_REPLACE])
t.equal("new: with NLM_F_REPLACE, values are replaced, and the rest is the defaults",
        ynl.do("get", {"name": "tcp-2"})["data"], defaults["tcp"] | {"established": 7})

# The limit, as the specification tells it
most, hz = nfnl.largest(), nfnl.hz()
t.check("the specification tells this kernel's limit",
        f"{most} for HZ={hz}" in " ".join(load(SPEC)["doc"].split()), f"{most} for HZ={hz}")
for value in (0, most, most + 1, 2 ** 32 - 1):
    ynl.do("new", tcp | {"data": {"close": value}}, [Netlink.NLM_F_REPLACE])
    t.equal(f"new: {value} seconds, up to the limit", ynl.do("get", {"name": "tcp-2"})["data"]["close"],
            min(value, most))

# Refusals, in words
refused("no name", errno.EINVAL,
        {"msg": "required attribute 1 is missing", "miss-type": "name"}, "get", {})
refused("no timeouts", errno.EINVAL,
        {"msg": "required attribute 4 is missing", "miss-type": "data"},
        "new", {"name": "new", "l3proto": 2, "l4proto": "tcp"})
refused("no such name", errno.ENOENT,
        {"msg": "no policy has this name", "bad-attr": ".name"}, "get", {"name": "new"})
refused("the name is too long", errno.EINVAL,
        {"msg": "Attribute failed policy validation", "bad-attr": ".name",
         "policy": {"type": "nul-string", "max-length": 31}},
        "get", {"name": "n" * 32})
refused("the name exists", errno.EEXIST,
        {"msg": "a policy has this name already", "bad-attr": ".name"},
        "new", tcp, [Netlink.NLM_F_EXCL])
refused("another family", errno.EINVAL,
        {"msg": "the policy is for layer 3 protocol 2, not 10", "bad-attr": ".l3proto"},
        "new", tcp | {"l3proto": 10}, [Netlink.NLM_F_REPLACE])
for proto in ("dccp", "udplite"):
    refused(f"{proto} is not tracked", errno.EOPNOTSUPP,
            {"msg": f"{proto} is not tracked by this kernel", "bad-attr": ".l4proto"},
            "default-set", {"l4proto": proto, "data": {}})

# A rule, and the tool as people use it
subprocess.run("iptables -t raw -A OUTPUT -p tcp -j CT --timeout tcp-2".split(), check=True)
t.equal("get: a rule counts", ynl.do("get", {"name": "tcp-2"})["use"], 2)
refused("a rule uses it", errno.EBUSY,
        {"msg": "policy is used by 1 rule", "bad-attr": ".name"}, "delete", {"name": "tcp-2"})
t.equal("cli: the error is told in words", cli("--do", "delete", "--json", '{"name": "tcp-2"}'),
        (False, "Netlink error: policy is used by 1 rule: Device or resource busy "
                "{'bad-attr': '.name'}"))
done, text = cli("--do", "get", "--json", '{"name": "udp-2"}', "--output-json")
t.equal("cli: get", (done, json.loads(text)), (True, ynl.do("get", {"name": "udp-2"})))
ynl.do("delete", {"name": "udp-2"})
t.equal("delete: the policy is gone, others are not",
        [p[0] for p in s.state() if p[0].startswith("udp")], ["udp-10"])
done, text = cli("--do", "delete")
t.check("cli: delete, without a name, tells what it kept",
        done and "1 policy is used by rules and was kept" in text, text)
t.equal("cli: delete, without a name, deletes all other policies",
        [policy["name"] for policy in ynl.dump("get", {})], ["tcp-2"])

subprocess.run("iptables -t raw -F".split(), check=True)
s.flush()
t.equal("get: a dump of nothing", ynl.dump("get", {}), [])

# While a policy comes and goes
stay, turns, wrong = [f"stay {i:03}" for i in range(300)], Number(), []
for text in stay:
    s.create(text)
with meanwhile(lambda: come_and_go(["comes and goes"], turns)):
    for _ in range(20):
        names = [policy["name"] for policy in ynl.dump("get", {})]
        if [name for name in names if name in stay] != stay:
            wrong.append(names)
t.equal("get: dumps while a policy comes and goes show the 300 that stay, once, in order", wrong, [])
t.check("get: a policy came and went during the dumps", turns.value > 20, turns.value)
s.flush()
t.finish()
