#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Turns the raw figures of make bench into a page of Markdown and plots.

usage: report.py DIRECTORY

DIRECTORY holds the consoles of the guests (curve, flows, race, neighbours and, after
a full run, native and native-large), and what scripts/bench.sh wrote about the two
modules and their source.
"""

import os
import sys
from statistics import median

from figures import C, RUST, Figures, groups, sections
from plot import picture

COMMANDS = "create", "get", "replace", "delete"
CURVES = (("create", "create"), ("get", "get"), ("replace", "replace"), ("delete", "delete"),
          ("default-get", "default-get"), ("dump", "dump, per policy"), ("hooks", "find and put, by a rule"),
          ("hooks-few", "find and put, of the same 64"))
# In user-mode Linux, system calls take too long for figures of commands.
NATIVE_CURVES = CURVES[5:]
FLOOR = "floor", "chain of loads"
FLOOR_IS = """The policies are looked up in random order. With many, a lookup loads four cache lines that are
not in the cache: the bucket of the hash table, the line with the object's name and hash links, the
line with its count of users, and, when the reference is put, the object's first. Three of these
loads wait for one another, as the processor loads the second and the third at the same time. The
chain of loads is this: for as many objects of 192 bytes, in the same order, a bucket, two lines of
the object that it points to, and the object's first, from which the next bucket follows. It hashes
nothing, compares nothing, and counts no references.
"""


class Bound:
    """A row of the table: values, one for each pair, and their limit."""

    def __init__(self, title, basis, values, limit, least=False, unit=""):
        self.title, self.basis, self.values = title, basis, sorted(values)
        self.limit, self.least, self.unit = limit, least, unit

    def holds(self):
        middle = median(self.values)
        return middle >= self.limit if self.least else middle <= self.limit

    def row(self):
        digits = ".0f" if self.unit else ".3f"
        # No row shall look as if it held when it does not.
        if not self.holds() and f"{median(self.values):{digits}}" == f"{self.limit:{digits}}":
            digits = ".5f"
        values = f"{median(self.values):{digits}}{self.unit}"
        if len(self.values) > 1:
            values += f" ({self.values[0]:{digits}} to {self.values[-1]:{digits}})"
        bound = f"{'≥' if self.least else '≤'} {self.limit}{self.unit}"
        return f"| {self.title} | {self.basis} | {values} | {bound} | {'yes' if self.holds() else '**no**'} |"


def count(size):
    return "1 policy" if size == 1 else f"{size:,} policies"


def ratios(above, below):
    """Of the values of one pair each."""
    return [a / b for a, b in zip(above, below)]


def against_c(figures, title, name, size, limit, least=False):
    values = ratios(figures.all(RUST, name, size), figures.all(C, name, size))
    return Bound(f"{title}, {count(size)}", "Rust / C", values, limit, least)


def against_itself(figures, title, name, size, small, limit):
    values = ratios(figures.all(RUST, name, size), figures.all(RUST, name, small))
    return Bound(f"{title}, {count(size)}", f"{size:,} / {small:,}", values, limit)


def curve_bounds(curve):
    """Commands and dumps as the table grows."""
    largest = curve.sizes(RUST, "get")[-1]
    for name in COMMANDS:
        for size in (1, 10):
            yield against_c(curve, name, name, size, 1.05)
    for name in COMMANDS:
        yield against_itself(curve, name, name, largest, 10, 1.15)
    for size in curve.common("dump"):
        yield against_c(curve, "dump", "dump", size, 1.0)
    yield against_itself(curve, "dump, per policy", "dump", largest, 1000, 1.2)


def hook_bounds(figures, title, one, with_floor):
    """`one`: the bound with one policy."""
    for size in figures.common("hooks"):
        yield against_c(figures, title, "hooks", size, one if size == 1 else 1.0)
    largest = figures.sizes(RUST, "hooks")[-1]
    yield Bound(f"{title}, the same 64 of {largest:,} policies", f"64 of {largest:,} / 100 policies",
                ratios(figures.all(RUST, "hooks-few", largest), figures.all(RUST, "hooks", 100)), 1.5)
    if with_floor:
        yield Bound(f"{title}, random among {largest:,} policies", "Rust / chain of loads",
                    ratios(figures.all(RUST, "hooks", largest), figures.all(RUST, "floor", largest)), 1.5)


def flow_bounds(flows):
    """Deletes beside tracked flows."""
    number = flows.sizes(RUST, "delete-unused")[-1]
    yield Bound(f"delete of a policy no flow uses, {number:,} flows", f"{number:,} / 0 flows",
                ratios(flows.all(RUST, "delete-unused", number), flows.all(RUST, "delete-unused", 0)), 1.15)
    used = flows.all(RUST, "delete-used", number)
    yield Bound(f"delete of a policy {number:,} flows use", "Rust / C",
                ratios(used, flows.all(C, "delete-used", number)), 1.0)
    policies = flows.sizes(RUST, "flush-flows")[-1]
    beside = [a - b for a, b in zip(flows.all(RUST, "flush-flows", policies),
                                    flows.all(RUST, "flush", policies))]
    yield Bound(f"flush of {policies:,} policies, 5 of them used by {number:,} flows: what the flows add",
                "walks of the flow table", ratios(beside, used), 1.99)


def race_bounds(race):
    """Two readers at once."""
    for suffix, text, limit in (("", "2 clients", 1.0), ("-writer", "2 clients and a writer, beside 5,000 flows", 1.3)):
        for name in ("get", "default-get"):
            yield against_c(race, f"{name} by {text}, throughput", f"race-{name}{suffix}", 10, limit, True)


def neighbour_bounds(figures):
    """Two namespaces at work at the same time."""
    for size in figures.sizes(RUST, "wait-flush"):
        longest = figures.all(RUST, "wait-beside", size)
        title = f"longest create and delete beside a flush of {size:,}"
        yield Bound(title, "beside / the flush", ratios(longest, figures.all(RUST, "wait-flush", size)), 0.1)
        yield Bound(title, "beside / alone", ratios(longest, figures.all(RUST, "wait-alone", size)), 3.0)
    for size in figures.sizes(RUST, "end-beside"):
        yield Bound(f"end of an empty namespace beside that of one with {size:,}", "beside / alone",
                    ratios(figures.all(RUST, "end-beside", size), figures.all(RUST, "end-alone", size)), 3.0)
    size = figures.sizes(RUST, "pair-beside")[-1]
    for suffix, text in ("", "mean"), ("-99", "99th percentile"):
        yield Bound(f"create and delete beside a table of {size:,} that is filled and flushed, {text}",
                    "beside / alone", ratios(figures.all(RUST, f"pair-beside{suffix}", size),
                                             figures.all(RUST, f"pair-alone{suffix}", size)), 1.3)
    yield Bound("create and delete in two namespaces, throughput", "two / one",
                ratios(figures.all(RUST, "pairs-two", 1), figures.all(RUST, "pairs-one", 1)), 1.9, True)


def load_bound(curve):
    size = curve.sizes(RUST, "load")[-1]
    return Bound(f"loading {size:,} policies, per policy", "all / the first 1,000",
                 ratios(curve.all(RUST, "load", size), curve.all(RUST, "load-first", size)), 1.15)


def memory_bounds(curve, flows):
    for name, text in ("memory", "all TCP"), ("memory-zones", "as Open vSwitch makes them"):
        for size in curve.common(name):
            yield Bound(f"memory of a policy, {count(size)}, {text}", "Rust - C",
                        [a - b for a, b in zip(curve.all(RUST, name, size), curve.all(C, name, size))],
                        16, unit=" bytes")
    for size in flows.common("namespace"):
        yield Bound(f"memory of an idle namespace, {size:,} of them", "Rust",
                    flows.all(RUST, "namespace", size), 128, unit=" bytes")


def bounds_table(bounds):
    print("| what | measured as | median (lowest to highest pair) | bound | holds |")
    print("| --- | --- | --- | --- | --- |")
    for bound in bounds:
        print(bound.row())
    missed = sum(not bound.holds() for bound in bounds)
    print(f"\n{len(bounds) - missed} of {len(bounds)} bounds hold.\n")


def curve_table(figures, curves, digits):
    sizes = figures.sizes(RUST, "get")
    print("| | | " + " | ".join(f"{n:,}" for n in sizes) + " |")
    print("| --- " * (len(sizes) + 2) + "|")
    for name, title in curves:
        for module, label in ((C, "C"), (RUST, "Rust")):
            cells = [f"{figures.middle(module, name, n):,.{digits}f}"
                     if figures.all(module, name, n) else "" for n in sizes]
            print(f"| {title} | {label} | " + " | ".join(cells) + " |")
    print()


class Rows:
    """A table of absolute figures, with a column for C and one for Rust."""

    def __init__(self, c="C", rust="Rust"):
        print(f"| | {c} | {rust} |\n| --- | --- | --- |")

    def row(self, figures, name, sizes, title, unit=1.0):
        """Prints a figure in a unit, for each module at a size of its own."""
        cells = [f"{figures.middle(m, name, size) / unit:,.{0 if unit == 1.0 else 2}f}"
                 if figures.all(m, name, size) else "" for m, size in zip((C, RUST), sizes)]
        print(f"| {title} | {cells[0]} | {cells[1]} |")

    def rows(self, figures, name, title, unit=1.0):
        """The same for each size, which is part of the title."""
        for size in sorted({*figures.sizes(C, name), *figures.sizes(RUST, name)}):
            self.row(figures, name, (size, size), title.format(size), unit)


def other_figures(flows, race, curve):
    """The absolute figures that the bounds came from."""
    table = Rows()
    for name, text in (("delete-unused", "delete of a policy no flow uses, beside {:,} flows"),
                       ("delete-used", "delete of a policy {:,} flows use"),
                       ("flush", "flush of {:,} policies"),
                       ("flush-flows", "flush of {:,} policies, 5 of them used by flows")):
        table.rows(flows, name, text + ", instructions")
    for name in ("race-get", "race-default-get"):
        for suffix, text in (("", ""), ("-writer", " beside a writer and 5,000 flows")):
            table.row(race, name + suffix, (10, 10), f"{name[5:]} by 2 clients{text}, per second (emulated)")
    table.rows(curve, "load-first", "the first 1,000 of {:,} policies, many in a send, each, instructions")
    table.rows(curve, "load", "all {:,} policies, each, instructions")
    for name, text in ("memory", "all TCP"), ("memory-zones", "as Open vSwitch makes them"):
        table.rows(curve, name, f"memory of a policy, of {{:,}}, {text}, bytes")
    for size in curve.sizes(RUST, "memory-zones")[-1:]:
        table.row(curve, "memory-zones", (size, size), f"memory of all {size:,} policies of Open vSwitch, MiB",
                  (1 << 20) / size)
    table.rows(flows, "namespace", "memory of an idle namespace, bytes")
    print()


def of_own_sizes(figures, names):
    """A table of times for each module at the size that it was measured at."""
    sizes = [figures.sizes(module, names[0][0])[-1] for module in (C, RUST)]
    table = Rows(*(f"{label}, {count(size)}" for label, size in zip(("C", "Rust"), sizes)))
    for name, text in names:
        table.row(figures, name, sizes, f"{text}, ms", 1e6)
    print()


def neighbour_figures(figures):
    """The absolute figures behind the bounds on neighbours."""
    table = Rows()
    for size in figures.sizes(RUST, "pair-beside"):
        for suffix, text in ("", "mean"), ("-99", "99th percentile"):
            table.row(figures, f"pair-alone{suffix}", (size, size), f"create and delete alone, {text}, us", 1e3)
            table.row(figures, f"pair-noops{suffix}", (size, size),
                      f"beside a client whose messages netlink itself acknowledges, {text}, us", 1e3)
            table.row(figures, f"pair-beside{suffix}", (size, size),
                      f"beside a table of {size:,} that is filled and flushed, {text}, us", 1e3)
    table.row(figures, "pairs-one", (1, 1), "create and delete in one namespace, per second")
    table.row(figures, "pairs-two", (1, 1), "create and delete in two namespaces, per second")
    table.row(figures, "noops-one", (1, 1), "two messages that netlink itself acknowledges, one client, per second")
    table.row(figures, "noops-two", (1, 1), "the same, two clients, per second")
    print()
    of_own_sizes(figures, (("wait-flush", "flush of all"),
                           ("wait-beside", "longest create and delete meanwhile in another namespace"),
                           ("wait-alone", "longest create and delete in as much time without the flush")))
    of_own_sizes(figures, (("end-full", "end of a namespace with that many"),
                           ("end-alone", "end of an empty namespace"),
                           ("end-beside", "end of an empty namespace, right after the last process of the full one")))


def trace_table(curve):
    """The cost of tracepoints that are off."""
    print("| | with tracepoints, off | without |\n| --- | --- | --- |")
    for name, title in CURVES:
        for size in curve.sizes("untraced", name):
            print(f"| {title}, {count(size)} | {curve.middle(RUST, name, size):,.0f} "
                  f"| {curve.middle('untraced', name, size):,.0f} |")
    print()


def text_table(directory):
    print("| bytes | C | Rust |\n| --- | --- | --- |")
    sizes = [sections(os.path.join(directory, f"{module}.sections")) for module in (C, RUST)]
    print(f"| code | {sizes[0][0]:,} | {sizes[1][0]:,} |")
    print(f"| read-only data | {sizes[0][1]:,} | {sizes[1][1]:,} |\n")
    parts = groups(os.path.join(directory, f"{RUST}.symbols"))
    print("The Rust module's code by origin: " +
          ", ".join(f"{part} {size:,}" for part, size in parts) + ".\n")


def plot(directory, name, heading, figures, curves, unit):
    panels = [(title, {"C": figures.curve(C, key), "Rust": figures.curve(RUST, key)}) for key, title in curves]
    picture(os.path.join(directory, name), heading, unit, panels)


def main():
    directory = sys.argv[1]
    curve, flows, race, neighbours, native, large = (
        Figures(os.path.join(directory, f"{name}.console"))
        for name in ("curve", "flows", "race", "neighbours", "native", "native-large"))
    with open(os.path.join(directory, "setup")) as setup:
        print("# Costs, beside the C module\n\n" + setup.read())
    bounds = [*curve_bounds(curve), load_bound(curve), *flow_bounds(flows), *race_bounds(race),
              *neighbour_bounds(neighbours), *memory_bounds(curve, flows)]
    if native.values:
        bounds += hook_bounds(native, "find and put, on the real processor", 0.75, True)
        bounds += [against_c(large, "dump, on the real processor", "dump", size, 1.0)
                   for size in large.common("dump")]
    else:
        bounds += hook_bounds(curve, "find and put, by a rule", 1.25, False)
    bounds_table(bounds)

    print("A replace under traffic is not a matter of cost: the selftest cttimeout_replace shows that\n"
          "no packet sees a value that is neither the old nor the new one.\n")
    print("## By number of policies\n\nInstructions, client and system call included; for rules, those of "
          "the two hooks alone.\nThe policies are named policy0, policy1 and so on, and picked at random.\n")
    curve_table(curve, CURVES, 0)
    print("![curves](bench.svg)\n")
    plot(directory, "bench.svg", "Instructions by number of policies", curve, CURVES, "instructions")
    if native.values:
        print("Nanoseconds on the real processor, in user-mode Linux:\n")
        curve_table(native, (*NATIVE_CURVES, FLOOR), 1)
        print(FLOOR_IS)
        print("![curves](bench-native.svg)\n")
        plot(directory, "bench-native.svg", "Nanoseconds by number of policies", native, NATIVE_CURVES, "nanoseconds")
    print("## Flows, readers and memory\n")
    other_figures(flows, race, curve)
    print("## Neighbours\n\nTwo CPUs, emulated, one for each namespace. In the table that is filled and flushed over and "
          "over,\npolicies are made 100 in a send. The C module takes n² / 2 steps to fill a table, so it gets "
          "smaller\nones. The end of a namespace is the time from its last process's exit to the end of "
          "`cleanup_net()`,\nwhich handles one batch of namespaces at a time: one that ends a moment after "
          "another waits for that.\n")
    neighbour_figures(neighbours)
    print("## Tracepoints\n\nInstructions; the module was built without any for the second column.\n")
    trace_table(curve)
    print("## Size\n")
    text_table(directory)
    with open(os.path.join(directory, "size")) as size:
        print(size.read(), end="")


if __name__ == "__main__":
    main()
