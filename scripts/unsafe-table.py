#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
#
# Prints a Markdown table of the unsafe code in src/: for each file, the number of its unsafe
# blocks, functions and impls, and the type invariants that they rely on, in the file's own
# words. SECURITY.md has a copy; "unsafe-table.py --check FILE" checks that copy.

import pathlib
import re
import sys

TOP = pathlib.Path(__file__).resolve().parent.parent
COUNTED = (r"unsafe \{", r"unsafe (?:extern \"C\" )?fn \w", r"unsafe (?:impl|trait)\b")
BEGIN, END = "<!-- unsafe-table begins -->", "<!-- unsafe-table ends -->"


def invariants(lines):
    """The type invariants in a file, as (type, text)."""
    text = None
    for line in lines:
        if line.strip() == "/// # Invariants":
            text = []
        elif text is not None and line.startswith("///"):
            text.append(line[3:].strip().removeprefix("- "))
        elif text is not None and (found := re.match(r"(?:pub\S* )?(?:struct|trait) (\w+)", line)):
            yield found[1], " ".join(" ".join(text).split())
            text = None


def table():
    yield "| file | blocks | functions | impls and traits | invariants |"
    yield "| --- | --- | --- | --- | --- |"
    totals = [0] * len(COUNTED)
    for path in sorted((TOP / "src").rglob("*.rs")):
        lines = path.read_text().splitlines()
        code = "\n".join(line for line in lines if not line.lstrip().startswith("//"))
        counts = [len(re.findall(pattern, code)) for pattern in COUNTED]
        if not any(counts):
            continue
        totals = [a + b for a, b in zip(totals, counts)]
        rests_on = "<br>".join(f"`{name}`: {text}" for name, text in invariants(lines))
        yield f"| `{path.relative_to(TOP)}` | {' | '.join(map(str, counts))} | {rests_on} |"
    yield f"| all | {' | '.join(map(str, totals))} | |"


def main():
    wanted = "\n".join(table())
    if len(sys.argv) != 3 or sys.argv[1] != "--check":
        print(wanted)
        return 0
    text = pathlib.Path(sys.argv[2]).read_text()
    return text.split(BEGIN)[-1].split(END)[0].strip() != wanted


sys.exit(main())
