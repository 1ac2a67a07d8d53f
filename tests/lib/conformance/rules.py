# SPDX-License-Identifier: GPL-2.0
"""Compares what two modules did with the same steps."""

from collections import Counter, namedtuple

from . import differences

# A step with how it went; "before" has the differences of earlier steps of the group by name.
StepCase = namedtuple("StepCase", "step c rust before")


class Comparison:
    """Counts what is compared, and keeps what is not as it should be."""

    def __init__(self, where):
        self.where = where
        self.steps, self.compared, self.differences = Counter(), Counter(), Counter()
        self.unexpected = []

    def compare(self, what, case):
        """Compares one thing; case.step says what it belongs to."""
        self.compared[what] += 1
        if case.c == case.rust:
            return
        found = differences.find(self.where, case)
        if found:
            self.differences[found] += 1
            case.before.append(found)
        else:
            self.unexpected.append(f"{what}: {case.step}\n  C:    {case.c}\n  Rust: {case.rust}")

    def group(self, group, c, rust):
        before = []
        (c_results, c_look), (rust_results, rust_look) = c, rust
        for step, *results in zip(group, c_results, rust_results, strict=True):
            self.steps[step[0]] += 1
            self.compare("results", StepCase(step, *results, before))
        last = f"after {group}"
        for what in c_look:
            if isinstance(c_look[what], list):
                self.compared[f"{what} seen"] += len(c_look[what])
            self.compare(what, StepCase((what, last), c_look[what], rust_look[what], before))
        self.compared["groups"] += 1

    def run(self, episodes, c, rust):
        """Compares what hosts.play() returned."""
        flat = [group for groups in episodes for group in [*groups, [("leave",)]]]
        if not len(flat) == len(c) == len(rust):
            self.unexpected.append(f"{len(flat)} groups, {len(c)} and {len(rust)} results")
            return
        for group, *results in zip(flat, c, rust):
            self.group(group, *results)
