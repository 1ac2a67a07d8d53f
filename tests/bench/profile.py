#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Prints the kernel functions that the instructions of a request are in. QEMU writes
down the address of each instruction.

usage: profile.py SOCKET LOG CONSOLE SYSTEM_MAP DEMANGLER

SOCKET is QEMU's for debuggers (-gdb unix:SOCKET,server=on -S), LOG its log file
(-D), CONSOLE a file that the guest's console goes to (tests/bench/guest.sh
profile), SYSTEM_MAP the kernel's symbols.  Prints a table for each kind of
request.
"""

import bisect
import os
import re
import socket
import subprocess
import sys

MODULES = "nfnetlink_cttimeout", "nfnetlink_cttimeout_rust"
# The guest's requests to each module. The guest sends each twice, and calls the pair
# of hooks six times; the last time counts.
REQUESTS = "delete", "create", "get", "replace", "dump", "default-get"
HOOKS = "find and put, by a rule"
# All requests come through the first, the calls of hooks through the second.
ENTRIES = "nfnetlink_rcv", "call_hooks"
# Where interrupts end.
RETURNS = ("common_interrupt_return", "restore_regs_and_return_to_kernel", "native_iret",
           "native_irq_return_iret")
RIP, RSP = 16, 7                    # among the registers
SHOWN = 30


class Debugger:
    """The few parts of GDB's protocol that are needed here."""

    def __init__(self, path, log):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(path)
        self.file = self.sock.makefile("rb")
        self.log = log

    def ask(self, text):
        data = text.encode()
        self.sock.sendall(b"$%s#%02x" % (data, sum(data) & 255))
        return self.receive()

    def receive(self):
        while self.file.read(1) != b"$":
            pass
        text = b""
        while not text.endswith(b"#"):
            text += self.file.read(1)
        self.file.read(2)
        self.sock.sendall(b"+")
        return text[:-1].decode()

    def monitor(self, command):
        """Gives a command to QEMU; returns the answer."""
        reply, output = self.ask("qRcmd," + command.encode().hex()), ""
        while reply != "OK":
            output += bytes.fromhex(reply[1:]).decode()
            reply = self.receive()
        return output

    def breakpoint(self, address):
        if self.ask(f"Z1,{address:x},1") != "OK":
            sys.exit(f"there can be no breakpoint at {address:x}")

    def one_instruction_blocks(self, on):
        """Whether QEMU translates instructions one by one, so that each is in the log."""
        for name in ("one-insn-per-tb", "singlestep"):
            if "unknown" not in self.monitor(f"{name} {on}"):
                return
        sys.exit("QEMU cannot translate single instructions")

    def skip(self):
        """Goes on to a breakpoint and past it."""
        self.ask("c")
        self.ask("s")

    def trace(self):
        """Goes on to a breakpoint, and from there to the return from that function; the
        addresses of all instructions on the way."""
        self.ask("c")
        registers = self.ask("g")
        rip, stack = (int.from_bytes(bytes.fromhex(registers[16 * n:16 * n + 16]), "little")
                      for n in (RIP, RSP))
        end = int.from_bytes(bytes.fromhex(self.ask(f"m{stack:x},8")), "little")
        self.breakpoint(end)
        begin = os.path.getsize(self.log)
        self.one_instruction_blocks("on")
        self.monitor("log exec,nochain")
        self.ask("s")
        self.ask("c")
        self.monitor("log none")
        self.one_instruction_blocks("off")
        self.ask(f"z1,{end:x},1")
        with open(self.log) as log:
            log.seek(begin)
            addresses = [int(a, 16) for a in re.findall(r"\[[0-9a-f]+/([0-9a-f]{16})/", log.read())]
        if rip not in addresses:
            sys.exit("QEMU's log lacks what it should hold")
        return addresses


def symbols(lines):
    """Sorted (address, name) of functions, from lines like those of /proc/kallsyms."""
    found = []
    for line in lines:
        address, kind, name = line.split()[:3]
        if kind in "tT":
            found.append((int(address, 16), name))
    return sorted(found)


def console_symbols(text, module):
    return symbols(re.findall(rf"^SYMBOL {module} (.*)$", text, re.M))


def read(path):
    with open(path, errors="replace") as file:
        return file.read()


def count(addresses, table):
    """Instructions by function, without those of interrupts."""
    starts = [address for address, _ in table]
    counts = {}
    interrupted = returning = False
    for address in addresses:
        name = table[bisect.bisect_right(starts, address) - 1][1]
        if name.startswith("asm_sysvec_") or name == "asm_common_interrupt":
            interrupted, returning = True, False
        elif name in RETURNS:
            returning = True
        elif returning:
            interrupted = False
        if not interrupted:
            counts[name] = counts.get(name, 0) + 1
    return counts


def readable(names, demangler):
    """The names of functions in the source, without the arguments of types."""
    result = subprocess.run([demangler], input="\n".join(names), capture_output=True, text=True, check=True)
    for line in result.stdout.splitlines():
        line = line.replace("nfnetlink_cttimeout_rust_main::", "")
        # From the inside: arguments go, and of <Type as Trait> the type stays.
        while (shorter := re.sub(r"(\w|::)?<([^<>]*)>",
                                 lambda m: m[1].strip(":") if m[1] else m[2].split(" as ")[0], line)) != line:
            line = shorter
        yield line


def print_table(title, c, rust, demangler):
    totals = sum(c.values()), sum(rust.values())
    print(f"\n## {title}\n\n| function | C | Rust |\n| --- | --- | --- |\n"
          f"| **all** | {totals[0]} | {totals[1]} |")
    # First what differs most.
    names = sorted({*c, *rust}, key=lambda n: (-abs(c.get(n, 0) - rust.get(n, 0)), -c.get(n, 0)))
    for name, text in zip(names[:SHOWN], readable(names[:SHOWN], demangler)):
        print(f"| {text} | {c.get(name, '')} | {rust.get(name, '')} |")
    rest = [sum(counts.get(name, 0) for name in names[SHOWN:]) for counts in (c, rust)]
    print(f"| the others | {rest[0]} | {rest[1]} |")


def main():
    path, log, console, system_map, demangler = sys.argv[1:]
    with open(system_map) as file:
        kernel = symbols(file)
    debugger = Debugger(path, log)
    debugger.breakpoint(dict(map(reversed, kernel))[ENTRIES[0]])
    traces = {}
    for module in MODULES:
        # The policies to begin with.
        for _ in range(10):
            debugger.skip()
        if module == MODULES[0]:
            debugger.breakpoint(dict(map(reversed, console_symbols(read(console), module)))[ENTRIES[1]])
        for _ in REQUESTS:
            debugger.skip()
        for request in REQUESTS:
            traces[module, request] = debugger.trace()
        for _ in range(5):
            debugger.skip()
        traces[module, HOOKS] = debugger.trace()
        # The flush after which the module can go.
        debugger.skip()
    text = read(console)
    debugger.ask("D")

    print("# Where the instructions of a request are\n\nIn the kernel, with 10 policies; dump: of all ten.")
    for request in REQUESTS + (HOOKS,):
        counts = [count(traces[module, request], sorted(kernel + console_symbols(text, module)))
                  for module in MODULES]
        print_table(request, *counts, demangler)


if __name__ == "__main__":
    main()
