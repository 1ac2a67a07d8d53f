# SPDX-License-Identifier: GPL-2.0
#
# Turns the project's Rust sources into those of the kernel tree: for the kernel
# crate, or for a module that stands on it. What changes is where things are found
# (use declarations), who may see them, and the name of the bindings.

import re
import subprocess
import textwrap

# Where the kernel tree has what the project has elsewhere. The first that fits counts.
MOVED = [
    ("net::netlink", "net::nlmsg"),
    ("module", "module_ref"),
    ("str::PaddedStr", "str::padded::PaddedStr"),
]
# These are part of the kernel crate then; the rest of the project is the module.
ABSTRACTIONS = {"bindings", "module_ref", "net", "str", "sync"}
# Methods of Refcount itself, there, and part of the prelude
DROPPED = {"sync::refcount::RefcountExt", "alloc::__GFP_RETRY_MAYFAIL"}

WIDTH = 100
# A comment, or a part of one, that tools and reviewers look for
TAGS = ("SAFETY:", "INVARIANT:", "CAST:", "PANIC:")
COMMENT = re.compile(r"^( *//[/!]? )(?:  )?(\S.*)$")
# An example in documentation, which is a test in the kernel crate
EXAMPLE = re.compile(r"(^ *//[/!] )```ignore\n(.*?^\1```\n)", re.M | re.S)
# What a file of the kernel crate calls itself, or an example as a whole
PATH = re.compile(rf"{EXAMPLE.pattern}|(?<![\w:])kernel::", EXAMPLE.flags)
USE = re.compile(r"^use ([^;]*);\n", re.M)
# Filled from src/compat/, if there is such a thing
COMPATIBILITY = {}


def flatten(tree):
    """The paths that a use declaration stands for."""
    tree = re.sub(r"//[^\n]*", "", tree)
    tree = "".join(tree.split())

    def walk(text, prefix):
        while text:
            head = re.match(r"[^{},]*", text).group()
            text = text[len(head):]
            if text.startswith("{"):
                depth = 0
                for end, char in enumerate(text):
                    depth += (char == "{") - (char == "}")
                    if not depth:
                        break
                yield from walk(text[1:end], prefix + head)
                text = text[end + 1:]
            elif head:
                yield prefix + head
            text = text.removeprefix(",")
    return list(walk(tree, ""))


def order(name):
    """How rustfmt sorts: self, modules and functions, types, constants."""
    return (name != "self", name == "*", name.isupper() and len(name) > 1, name[:1].isupper(), name)


def layout(node, indent):
    """A tree of names in the vertical style of the kernel, which rustfmt keeps for the sake of the
    empty comment."""
    lines, last = [], None
    for name in sorted(node, key=order):
        path, child = name, node[name]
        while len(child) == 1 and "" not in child:
            (name, child), = child.items()
            path += f"::{name}"
        rest = {name or "self": child[name] for name in child}
        if rest:
            inner = layout(rest, indent + "    ")
            lines.append(f"{indent}{path}::{{\n{inner}{indent}}},\n")
        else:
            last = len(lines)
            lines.append(f"{indent}{path},\n")
    # With a group in it, the outermost list needs no help.
    if last is not None and (len(indent) > 4 or not any("{" in line for line in lines)):
        lines[last] = lines[last].replace(",\n", ", //\n")
    return "".join(lines)


def declarations(paths):
    """Use declarations for paths, one for each crate or root."""
    roots = {}
    for path in paths:
        node = roots
        for name in path.split("::"):
            node = node.setdefault(name, {})
        node[""] = {}
    ranks = {"core": 0, "pin_init": 1, "kernel": 2, "super": 3, "crate": 5}
    found = []
    for root in sorted(roots, key=lambda root: ranks.get(root, 4)):
        # An end without anything beside it needs no mark.
        def prune(node):
            return {} if list(node) == [""] else {name: prune(child) for name, child in node.items()}
        text = layout({root: prune(roots[root])}, "")
        found.append("use " + text.rstrip().removesuffix("//").rstrip().removesuffix(",") + ";\n")
    return "\n".join(found)


def compatibility(text):
    """What the names that the project needs to support several kernels are in the newest one."""
    found = {}
    for match in re.finditer(r"^pub\(crate\) use ([^;]*);\n", text, re.M):
        for path in flatten(match.group(1)):
            found[path.split("::")[-1]] = path
    return found


def current(path):
    """A path without the detour over those names."""
    root, _, rest = path.partition("::compat::")
    if root != "crate" or not rest:
        return path
    path = COMPATIBILITY[rest]
    # The prelude has these.
    return None if path.startswith(("kernel::error::code::", "kernel::prelude::")) else path


def moved(path):
    """The path of something of this project, from the root of its crate on."""
    for old, new in MOVED:
        if path == old or path.startswith(old + "::"):
            return new + path[len(old):]
    return path


def for_kernel(path, parent):
    """A path as the kernel crate has it; parent is the module that "super" stands for."""
    root, _, rest = path.partition("::")
    if root == "kernel":
        return f"crate::{rest}"
    if root == "crate":
        return None if rest in DROPPED else f"crate::{moved(rest)}"
    if root == "super" and parent:
        return "super" + moved(f"{parent}::{rest}").removeprefix(parent)
    return path


def for_module(path):
    """A path as a module has it that uses the kernel crate."""
    root, _, rest = path.partition("::")
    if root == "crate" and rest in DROPPED:
        return None
    new = moved(rest)
    if root == "crate" and new.split("::")[0] in ABSTRACTIONS:
        return f"kernel::{new}"
    return path


def replace_uses(text, convert):
    """Replaces all use declarations of a file by those that convert makes of them."""
    paths = []
    for match in USE.finditer(text):
        paths += flatten(match.group(1))
    paths = [new for new in map(current, paths) if new]
    converted = [new for new in map(convert, paths) if new]
    if not paths:
        return text
    start = USE.search(text).start()
    body = re.sub(r"\n{3,}", "\n\n", USE.sub("", text[start:]).lstrip("\n"))
    return text[:start] + declarations(converted) + "\n" + body


def constants(text):
    """The names of what C defines for Rust."""
    text = re.sub(r"\bcttimeout_helper_", "", text)
    text = text.replace("CTTIMEOUT_CONST_", "")
    return text.replace("CTTIMEOUT_RHASHTABLE_", "RUST_RHASHTABLE_")


def kernel(text, parent=""):
    """A file of the kernel crate."""
    text = replace_uses(constants(text), lambda path: for_kernel(path, parent))
    # What others may use is public; macros have a way of their own.
    for name in re.findall(r"^pub\(crate\) use (\w+);\n", text, re.M):
        text = text.replace(f"macro_rules! {name} ", f"#[macro_export]\nmacro_rules! {name} ")
    text = re.sub(r"\bpub\(crate\)", "pub", text)
    # An item for a sibling module has no user until that is added, or if options leave it out.
    if "::" not in parent:
        text = re.sub(r"\bpub\(super\)", "pub", text)
    text = re.sub(r"^ *#\[allow\(dead_code.*\)\]\n", "", text, flags=re.M)
    # Except in examples, which are users of the crate.
    text = PATH.sub(lambda match: match.group() if match.group(1) else "crate::", text)
    return runnable(text)


def runnable(text):
    """Has examples compiled and run, as unit tests. The project's own module has no such means."""
    return EXAMPLE.sub(r"\1```\n\2", text)


def module(text, bindings="kernel::bindings"):
    """A file of the module. Constants come from the crate that is named."""
    text = constants(text).replace("crate::bindings::", f"{bindings}::")
    text = re.sub(r"\bcompat::(\w+!)", r"\1", text)
    # What only the project's own build can say is not said in the kernel's.
    text = re.sub(r"\ball\((\w+), not\(CTTIMEOUT_\w+\)\)", r"\1", text)
    text = replace_uses(text, lambda path: bindings if path == "crate::bindings" else for_module(path))
    crate = bindings.split("::")[-1]
    return re.sub(r"(?<![\w:])bindings::", f"{crate}::", text)


def methods(text):
    """The methods of an extension trait, with its documentation, for the type itself."""
    trait = re.search(r"^pub\(crate\) trait .*?^\}", text, re.M | re.S).group()
    docs = dict((name, doc) for doc, name in re.findall(r"((?:^ *///[^\n]*\n)+) *fn (\w+)", trait, re.M))
    body = re.search(r"^impl \w+ for \w+ \{\n(.*?)^\}", text, re.M | re.S).group(1)
    body = re.sub(r"^( *)#\[inline\]\n *fn (\w+)",
                  lambda match: f"{docs[match.group(2)]}{match.group(1)}#[inline]\n"
                                f"{match.group(1)}pub fn {match.group(2)}", body, flags=re.M)
    return runnable(constants(body)).replace("as_raw(self)", "self.as_ptr()")


def body(text):
    """What follows the documentation and the use declarations of a file."""
    last = list(USE.finditer(text))[-1]
    return text[last.end():].strip() + "\n"


def wrapped(text):
    """Wraps comments anew where the project has lines longer than the kernel's. Examples are left alone."""
    done, paragraph, code = [], [], False

    def finish():
        if any(len(line) > WIDTH for line in paragraph):
            mark = COMMENT.match(paragraph[0]).group(1)
            words = " ".join(COMMENT.match(line).group(2) for line in paragraph)
            item = "  " if words.startswith("- ") else ""
            paragraph[:] = textwrap.wrap(words, WIDTH, initial_indent=mark, subsequent_indent=mark + item,
                                         break_long_words=False, break_on_hyphens=False)
        done.extend(paragraph)
        paragraph.clear()

    for line in text.splitlines():
        match = COMMENT.match(line)
        fence = match and match.group(2).startswith("```")
        if code and not fence:
            if len(line) > WIDTH:
                raise SystemExit(f"error: an example has a line that is too long: {line}")
            done.append(line)
            continue
        code ^= bool(fence)
        if not match or match.group(2).startswith(("- ", "#", "```", "|", *TAGS)):
            finish()
        elif paragraph and COMMENT.match(paragraph[0]).group(1) != match.group(1):
            finish()
        if match:
            paragraph.append(line)
            if match.group(2).startswith(("#", "```", "|")):
                finish()
        else:
            done.append(line)
    finish()
    return "\n".join(done) + "\n"


def formatted(text, rustfmt):
    """As rustfmt would have it."""
    text = wrapped(text)
    done = subprocess.run([rustfmt, "--edition", "2021"], input=text, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"error: rustfmt: {done.stderr}")
    return done.stdout
