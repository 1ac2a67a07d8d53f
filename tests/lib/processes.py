# SPDX-License-Identifier: GPL-2.0
"""Processes that run at the same time, for tests of what must not depend on who is faster."""

import ctypes
import mmap
import os
import random
import traceback


def together(*functions):
    """Runs each in a process of its own; returns what went wrong."""
    children = {}
    for number, function in enumerate(functions):
        read, write = os.pipe()
        if not (child := os.fork()):
            random.seed(number)
            try:
                function()
            except BaseException:
                os.write(write, traceback.format_exc().encode()[-4000:])
            os._exit(0)
        os.close(write)
        children[child] = read
    for child, read in children.items():
        with os.fdopen(read) as said:
            children[child] = said.read()
        if status := os.waitpid(child, 0)[1]:
            children[child] += f"a process ended with status {status:#x}"
    return "\n".join(filter(None, children.values()))


class Number:
    """A number that all processes share; it is read and written as a whole."""

    def __init__(self):
        self.memory = ctypes.c_uint64.from_buffer(mmap.mmap(-1, 8))

    @property
    def value(self):
        return self.memory.value

    @value.setter
    def value(self, value):
        self.memory.value = value
