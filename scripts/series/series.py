#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
#
# Makes a git repository of the kernel's files that the series touches, with one
# commit for each step, on top of one that has them as they are.
#
# usage: series.py PROJECT KERNEL_SOURCE REPOSITORY RUSTFMT AUTHOR

import fnmatch
import inspect
import pathlib
import subprocess
import sys

import steps
from tree import Tree

project, source, repository, rustfmt, author = sys.argv[1:]
repository = pathlib.Path(repository)
name, _, email = author.partition(" <")
IDENTITY = ["-c", f"user.name={name}", "-c", f"user.email={email.rstrip('>')}"]


def git(*arguments, **kwargs):
    subprocess.run(["git", "-C", repository, *IDENTITY, *arguments], check=True, **kwargs)


def write(files, modes):
    for path, text in files.items():
        path = repository / path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(modes.get(str(path.relative_to(repository)), 0o644))


def commit(message):
    git("add", "-A")
    git("commit", "-q", "-s", "-F", "-", input=message.encode())


tree = Tree(source, project)
series = steps.Series(tree, rustfmt, author)
commits, before = [], {}
for step in steps.STEPS:
    step(series)
    changed = {path: text for path, text in tree.files.items() if before.get(path, tree.base.get(path)) != text}
    commits.append((inspect.getdoc(step), changed))
    before = dict(tree.files)

if series.unused:
    raise SystemExit(f"error: no patch has these helpers: {', '.join(series.unused)}")
# The lists of modules are the kernel's own.
abstractions = {str(path.relative_to(project)) for root in ("net", "sync")
                for path in pathlib.Path(project, "src", root).rglob("*.rs")}
unused = abstractions - tree.used - {"src/net/mod.rs", "src/sync/mod.rs"}
if unused:
    raise SystemExit(f"error: no patch has these files: {', '.join(sorted(unused))}")
new = {path for path in tree.files if path not in tree.base}
mine = [line.split("\t")[1] for line in tree.files["MAINTAINERS"].splitlines() if line.startswith("F:\t")
        and line not in tree.base["MAINTAINERS"].splitlines()]
alone = {path for path in new if not any(path.startswith(at) if at.endswith("/") else fnmatch.fnmatch(path, at)
                                         for at in mine)}
if alone:
    raise SystemExit(f"error: the entry in MAINTAINERS has none of: {', '.join(sorted(alone))}")

git("init", "-q", "-b", "series")
write(tree.base, tree.modes)
commit("the kernel as it is")
git("tag", "base")
for message, changed in commits:
    write(changed, tree.modes)
    commit(message)
