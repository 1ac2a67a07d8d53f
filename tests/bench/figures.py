# SPDX-License-Identifier: GPL-2.0
"""The raw figures of a benchmark run, as tests/bench/guest.sh prints them."""

import os
import re
from statistics import median

C, RUST = "nfnetlink_cttimeout", "nfnetlink_cttimeout_rust"


class Figures:
    """The figures on a guest's console: values by module, name and size, one for each pair."""

    def __init__(self, console):
        self.values = {}
        if not os.path.exists(console):
            return
        module = None
        with open(console, errors="replace") as lines:
            for line in lines:
                fields = line.split()
                if line.startswith("RUN "):
                    module = fields[1]
                elif line.startswith("FIGURE "):
                    key = module, fields[1], int(fields[2])
                    self.values.setdefault(key, []).append(float(fields[3]))

    def all(self, module, name, size):
        """One value for each pair; empty if it was not measured."""
        return self.values.get((module, name, size), [])

    def middle(self, module, name, size):
        return median(self.all(module, name, size))

    def sizes(self, module, name):
        return sorted(key[2] for key in self.values if key[:2] == (module, name))

    def common(self, name):
        """The sizes at which both modules were measured."""
        return [n for n in self.sizes(C, name) if n in self.sizes(RUST, name)]

    def curve(self, module, name):
        return [(n, self.middle(module, name, n)) for n in self.sizes(module, name)]


def sections(path):
    """Bytes of code and of read-only data, from `llvm-size -A`."""
    code = data = 0
    with open(path) as lines:
        for line in lines:
            match = re.match(r"(\.\S+) +(\d+)", line)
            if not match:
                continue
            name, size = match[1], int(match[2])
            if re.match(r"\.(init|exit)?\.?text", name):
                code += size
            elif name.startswith(".rodata"):
                data += size
    return code, data


def groups(path):
    """Bytes of code by the part of the module it comes from, from `llvm-nm -S -C`."""
    sizes = {}
    with open(path) as lines:
        for line in lines:
            match = re.match(r"[0-9a-f]+ ([0-9a-f]+) [tT] (.*)", line)
            if not match:
                continue
            size, name = int(match[1], 16), match[2]
            own = re.search(r"nfnetlink_cttimeout_rust(?:_main)?::(\w+(?:::\w+)?)", name)
            if own:
                part = own[1]
                part = part if part.split("::")[0] in ("conntrack", "cttimeout", "net", "sync") else "the other files"
            elif name.startswith("cttimeout_helper_"):
                part = "helpers.c: inline functions of the kernel"
            else:
                part = "registration, and what was not inlined of the kernel crates"
            sizes[part] = sizes.get(part, 0) + size
    return sorted(sizes.items(), key=lambda item: -item[1])
