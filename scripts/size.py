#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
#
# Prints how large the source is, in Markdown: lines of Rust in src/, comments
# included and unit tests not; unsafe blocks, functions, impls and traits, in unit tests
# and examples, too; and the types of each file. "make bench" adds the bytes of code.
#
# usage: size.py [DIRECTORY]   (another checkout than this one)

import pathlib
import re
import sys

UNSAFE = re.compile(r"unsafe (?:\{|fn|impl|extern|trait)")
TYPE = re.compile(r"\s*(?:pub(?:\([^)]*\))? )?(?:unsafe )?(?:struct|enum|union|trait) (\w+)"
                  r"|(?:pub(?:\([^)]*\))? )?type (\w+)")
TESTS = re.compile(r"#\[(?:cfg\((?:test|CONFIG_\w*KUNIT\w*)\)|kunit_tests\(.*\))\]")


def without_tests(lines):
    """The lines outside modules of tests, which end with a brace in the first column."""
    kept, skipping = [], False
    for line in lines:
        skipping = skipping or bool(TESTS.match(line))
        if not skipping:
            kept.append(line)
        # A module in a file of its own, which has that in its first line, ends here.
        skipping = skipping and line != "}" and not re.match(r"(pub(\([^)]*\))? )?mod \w+;", line)
    return kept


def main():
    top = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else __file__).resolve()
    source = top / "src" if top.is_dir() else top.parent.parent / "src"
    total, unsafe, types = 0, 0, 0
    rows = []
    for path in sorted(source.rglob("*.rs")):
        lines = path.read_text().splitlines()
        count = sum(bool(UNSAFE.search(line)) for line in lines)
        unsafe += count
        if path.name == "tests.rs":
            continue
        lines = without_tests(lines)
        names = [match[1] or match[2] for match in map(TYPE.match, lines) if match]
        total, types = total + len(lines), types + len(names)
        rows.append(f"| `{path.relative_to(source.parent)}` | {len(lines):,} | {count or ''} "
                    f"| {', '.join(names)} |")
    print("| in src | |\n| --- | --- |")
    print(f"| lines of Rust, comments included, without unit tests | {total:,} |")
    print(f"| lines with an `unsafe` block, function, impl or trait, also in tests and examples | {unsafe} |")
    print(f"| types: structs, enums, unions, traits, names of types | {types} |\n")
    print("| file | lines | unsafe | types |\n| --- | --- | --- | --- |")
    print("\n".join(rows))


main()
