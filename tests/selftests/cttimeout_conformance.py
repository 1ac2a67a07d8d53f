#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
# check: plain/debug s390x
#
# Plays the same messages, good and bad, to the C module and to this one, and
# compares each answer, byte for byte. They differ in what the table in
# lib/conformance/differences.py says, and in nothing else.
#
# SEED= and COUNT= in the environment say which messages, and how many.

import os
import tempfile
import time

import nfnl
from conformance import compare, differences, generator, player, sweeps

SEED = int(os.environ.get("SEED", "1"))
COUNT = int(os.environ.get("COUNT", "8000"))
C, RUST = "nfnetlink_cttimeout", os.environ["MODULE"]

t = nfnl.Ktap()
limit = nfnl.largest()


def make_groups():
    """The enumerated messages, then others until there are COUNT."""
    g = generator.Generator(SEED, limit)
    yield from sweeps.everything(g, COUNT)
    interlude = 5000
    while g.seq < COUNT:
        yield from g.random_group()
        if g.seq > interlude:
            interlude += 5000
            change = g.rng.choice(("nothing", "a policy comes", "the first goes", "many go"))
            yield from sweeps.dumps(g, g.rng.randrange(generator.NAMESPACES), change,
                                    g.rng.randrange(80, 120))


def report(title, counts):
    print(f"# {title}:", ", ".join(f"{n} {what}" for what, n in sorted(counts.items())))


if not player.available(C):
    t.skip("comparison with the C module", f"this kernel has no {C}.ko")
    t.finish()
player.unload(RUST)
start = time.monotonic()
groups = list(make_groups())
print(f"# made in {time.monotonic() - start:.0f} s")
with tempfile.TemporaryDirectory() as directory:
    paths = {module: f"{directory}/{module}" for module in (C, RUST)}
    for module, path in paths.items():
        start = time.monotonic()
        t.equal(f"all messages are played to {module}", player.play(module, groups, path), None)
        print(f"# in {time.monotonic() - start:.0f} s")
    comparison = compare.Comparison(limit)
    if not t.failed:
        start = time.monotonic()
        comparison.run(groups, *paths.values())
        print(f"# compared in {time.monotonic() - start:.0f} s")

print(f"# SEED={SEED} COUNT={COUNT}: {comparison.commands.total()} messages compared")
report("by command", comparison.commands)
report("by answer of the C module", comparison.results)
report("intended differences", comparison.differences)
t.check("as many messages as asked for are compared", comparison.commands.total() >= COUNT)
t.check("the modules differ only where it is intended", not comparison.unexpected,
        "\n".join([f"{len(comparison.unexpected)} unexpected"] + comparison.unexpected[:20]))
for name in differences.expected("messages"):
    t.check(f"the difference {name} occurs", comparison.differences[name])
t.finish()
