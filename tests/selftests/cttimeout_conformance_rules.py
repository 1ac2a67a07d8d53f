#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
# check: plain/s390x; slow: 5
#
# Takes the same steps with the C module and with this one: policies come, change
# and go, while rules of all iptables commands and flows use them. How each step
# went, the policies, the timeouts of all flows and how many rules hold policies
# are compared. They differ in what the table in lib/conformance/differences.py
# says, and in nothing else; with detach_in_use=1 that is less.
#
# SEED= and STEPS= in the environment say which steps, and how many.

import os
import time

import nfnl
from conformance import differences, hosts, player, sequences
from conformance.rules import Comparison
from processes import runner

SEED = int(os.environ.get("SEED", "1"))
STEPS = int(os.environ.get("STEPS", "30"))
C, RUST = "nfnetlink_cttimeout", os.environ["MODULE"]

t = nfnl.Ktap()


def play(module, episodes, *parameters):
    """Plays to a module that is freshly loaded."""
    start = time.monotonic()
    loaded = runner("load", module, *parameters)
    found = hosts.play(module, episodes) if loaded else []
    title = " ".join((module, *parameters))
    t.check(f"all steps are taken with {title}", found and player.unload(module))
    print(f"# in {time.monotonic() - start:.0f} s")
    late = [result for results, _ in found for result in results if "TimeoutError" in str(result)]
    t.equal(f"nothing was waited for in vain with {title}", late, [])
    return found


if not player.available(C):
    t.skip("comparison with the C module", f"this kernel has no {C}.ko")
    t.finish()
player.unload(RUST)
for where, parameters in (("rules", ()), ("rules, detach_in_use=1", ("detach_in_use=1",))):
    episodes = list(sequences.episodes(SEED, STEPS, nfnl.largest(), bool(parameters)))
    comparison = Comparison(where)
    comparison.run(episodes, play(C, episodes), play(RUST, episodes, *parameters))
    print(f"# {where}: SEED={SEED} STEPS={STEPS}: {len(episodes)} episodes")
    for title, counts in (("steps", comparison.steps), ("compared", comparison.compared),
                          ("intended differences", comparison.differences)):
        print(f"# {title}:", ", ".join(f"{n} {what}" for what, n in sorted(counts.items())))
    t.check(f"{where}: the modules differ only where it is intended",
            comparison.compared["groups"] and not comparison.unexpected,
            "\n".join([f"{len(comparison.unexpected)} unexpected"] + comparison.unexpected[:20]))
    for name in differences.expected(where):
        t.check(f"{where}: the difference {name} occurs", comparison.differences[name])
t.finish()
