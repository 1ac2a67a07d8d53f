# SPDX-License-Identifier: GPL-2.0
#
# Turns src/helpers.c into files of the kernel's rust/helpers/: the functions have
# other names there, and each group of them is a file.

import re

GROUP = re.compile(r"^/\*(?: | \*|\n \*)+([a-z_]+/[a-z_/]+\.h)", re.M)
FUNCTION = re.compile(r"^([a-z][^;{}()]*?\**)(cttimeout_helper_(\w+))\(([^{;]*)\)\n\{", re.M)
WIDTH = 80


def groups(text):
    """The parts of the file, by the header that their comments name first."""
    found = list(GROUP.finditer(text))
    ends = [match.start() for match in found[1:]] + [len(text)]
    parts = {}
    for match, end in zip(found, ends):
        part = text[match.start():end].strip()
        # A comment that only names the headers has done its duty.
        part = re.sub(r"^/\* [a-z0-9_/., ]+\.h \*/\n\n", "", part)
        part = re.sub(r"^(/\*\n \* )[a-z0-9_/]+\.h: (\w)", lambda match: match.group(1) + match.group(2).upper(), part)
        parts[match.group(1)] = part + "\n"
    return parts


def signature(kind, name, parameters):
    """A function's head, wrapped as the kernel does."""
    text = f"__rust_helper {kind.strip()}"
    text += "" if text.endswith("*") else " "
    head, line = "", f"{text}{name}("
    if len(line) + len(parameters.split(",")[0].strip()) + 1 > WIDTH or len(line) > WIDTH - 25:
        head, line = f"{text.rstrip()}\n", f"{name}("
    column = len(line)
    words = [word.strip() for word in parameters.replace("\n", " ").split(",")]
    words = [re.sub(r"\s+", " ", word) for word in words]
    for number, word in enumerate(words):
        word += "," if number < len(words) - 1 else ")"
        if len(line.expandtabs(8)) + len(word) + 1 > WIDTH and not line.endswith("("):
            head += line.rstrip() + "\n"
            line = "\t" * (column // 8) + " " * (column % 8)
        line += word + " "
    return head + line.rstrip() + "\n{"


def helpers(text, existing):
    """A group's code. Helpers that the kernel has already are left out."""
    for match in list(FUNCTION.finditer(text)):
        if match.group(3) in existing:
            end = text.index("\n}\n", match.start()) + 3
            text = text.replace(text[match.start():end], "").strip() + "\n"
    text = FUNCTION.sub(
        lambda match: signature(match.group(1), f"rust_helper_{match.group(3)}", match.group(4)),
        text)
    text = re.sub(r"\n{3,}", "\n\n", text)
    return text.replace("CTTIMEOUT_RHASHTABLE_", "RUST_RHASHTABLE_")


def define(text, name):
    """A constant with its comment."""
    found = re.search(rf"^/\*[^\n]*\*/\n#define CTTIMEOUT_{name} [^\n]*\n", text, re.M).group()
    return found.replace("CTTIMEOUT_", "RUST_")
