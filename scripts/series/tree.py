# SPDX-License-Identifier: GPL-2.0
#
# The kernel's files, as far as the series touches them, and what each step makes
# of them.

import pathlib
import re


class Tree:
    """The kernel source, with changes that are kept in memory."""

    def __init__(self, source, project):
        self.source, self.project = pathlib.Path(source), pathlib.Path(project)
        self.base, self.files, self.modes = {}, {}, {}
        self.used = set()

    def ours(self, path):
        """A file of the project."""
        self.used.add(path)
        return (self.project / path).read_text()

    def get(self, path):
        """A file of the kernel, as the steps so far have left it."""
        if path not in self.files:
            self.files[path] = self.base[path] = (self.source / path).read_text()
        return self.files[path]

    def add(self, path, text, mode=0o644):
        """A new file."""
        if path in self.files or (self.source / path).exists():
            raise SystemExit(f"error: {self.source} has a file {path} already")
        self.files[path], self.modes[path] = text, mode

    def put(self, path, text):
        """A file that there is."""
        if text == self.get(path):
            raise SystemExit(f"error: a step of the series has nothing to change in {path}")
        self.files[path] = text

    def replace(self, path, old, new):
        """Replaces a text that is there once."""
        text = self.get(path)
        if text.count(old) != 1:
            raise SystemExit(f"error: {path} does not have this once: {old}")
        self.put(path, text.replace(old, new))

    def insert(self, path, line, like, key=lambda line: line, until="(?!)"):
        """Puts a line where it belongs among those that are like it, up to a line of another kind."""
        lines = self.get(path).splitlines(keepends=True)
        end = next((number for number, text in enumerate(lines) if re.match(until, text)), len(lines))
        found = [number for number, text in enumerate(lines[:end]) if re.match(like, text)]
        if not found:
            raise SystemExit(f"error: {path} has no line like {like}")
        behind = [number for number in found if key(lines[number]) < key(line)]
        at = behind[-1] + 1 if behind else found[0]
        # An attribute stays with the line that it belongs to.
        while not behind and at and lines[at - 1].startswith("#["):
            at -= 1
        lines.insert(at, line)
        self.put(path, "".join(lines))

    def helpers(self):
        """The names of the C functions that Rust can call already."""
        names = set()
        for path in (self.source / "rust/helpers").rglob("*.c"):
            names.update(re.findall(r"\brust_helper_(\w+)\(", path.read_text()))
        return names
