# SPDX-License-Identifier: GPL-2.0
"""Processes that run at the same time, in namespaces and memory cgroups of their own; and the module
that they use."""

import atexit
import contextlib
import ctypes
import errno
import mmap
import os
import pathlib
import random
import signal
import subprocess
import traceback

import nfnl

CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
MNT_DETACH = 2
CGROUPS = pathlib.Path("/run/cttimeout-cgroups")
libc = ctypes.CDLL(None, use_errno=True)


def checked(result):
    """Raises OSError if a function of the C library has failed."""
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def unshare(flags=CLONE_NEWNET):
    checked(libc.unshare(flags))


def new_namespace():
    """A network namespace for this process, with its loopback up."""
    unshare()
    subprocess.run("ip link set lo up", shell=True, check=True)


class Network:
    """Entered, makes a namespace that has a name the current one."""

    def __init__(self, name):
        self.path = f"/run/netns/{name}"

    def __enter__(self):
        self.home = open("/proc/self/ns/net")
        with open(self.path) as namespace:
            checked(libc.setns(namespace.fileno(), CLONE_NEWNET))

    def __exit__(self, *_):
        with self.home:
            checked(libc.setns(self.home.fileno(), CLONE_NEWNET))


def start(function, say=lambda text: print("#", text.replace("\n", "\n# "), flush=True)):
    """Runs the function in a new process; says what went wrong. Returns the process's number."""
    if child := os.fork():
        return child
    status = 0
    try:
        function()
    except BaseException:
        say(traceback.format_exc()[-4000:])
        status = 1
    os._exit(status)


def in_child(function):
    """Runs the function in a process of its own; returns the repr() of its result."""
    read, write = os.pipe()
    child = start(lambda: os.write(write, repr(function()).encode()),
                  lambda text: os.write(write, text.encode()))
    os.close(write)
    with os.fdopen(read) as answer:
        text = answer.read()
    status = os.waitpid(child, 0)[1]
    return text if not status else f"{text} and then status {status}"


def together(*functions):
    """Runs each in a process of its own; returns what went wrong."""
    children = {}
    for number, function in enumerate(functions):
        def seeded(function=function, number=number):
            random.seed(number)
            function()

        read, write = os.pipe()
        children[start(seeded, lambda text, write=write: os.write(write, text.encode()))] = read
        os.close(write)
    for child, read in children.items():
        with os.fdopen(read) as said:
            children[child] = said.read()
        status = os.waitpid(child, 0)[1]
        if status and not children[child]:
            children[child] = f"a process ended with status {status:#x}"
    return "\n".join(filter(None, children.values()))


@contextlib.contextmanager
def meanwhile(*functions):
    """Runs each in a process of its own until the block has ended, or before that raises an error."""
    children = [start(function) for function in functions]
    try:
        yield children
        ended = [child for child in children if os.waitid(
            os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT)]
        if ended:
            raise ChildProcessError(f"processes {ended} have ended too early")
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def come_and_go(texts, turns):
    """Deletes and creates policies without end; counts in how many turns."""
    sock = nfnl.Socket()
    while True:
        text = random.choice(texts)
        assert sock.delete(text).error in (0, errno.ENOENT)
        assert not sock.create(text).error
        turns.value += 1


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


def runner(function, module=None, *parameters):
    """Has bash load or unload a module, by the function of that name; whether that worked."""
    return subprocess.run(["bash", "-c", '"$@"', "bash", function, module or os.environ["MODULE"],
                           *parameters], stderr=subprocess.DEVNULL).returncode == 0


class Cgroup:
    """A memory cgroup of its own."""

    def __init__(self, name):
        if not os.path.ismount(CGROUPS):
            CGROUPS.mkdir(exist_ok=True)
            atexit.register(lambda: (libc.umount2(bytes(CGROUPS), MNT_DETACH), CGROUPS.rmdir()))
            checked(libc.mount(b"none", bytes(CGROUPS), b"cgroup2", 0, None))
            (CGROUPS / "cgroup.subtree_control").write_text("+memory")
        self.path = CGROUPS / name
        self.path.mkdir(exist_ok=True)
        self.remove = self.path.rmdir

    def write(self, file, value):
        (self.path / file).write_text(str(value))

    def enter(self):
        """Moves this process into the cgroup."""
        self.write("cgroup.procs", os.getpid())

    def numbers(self, file):
        """The numbers in a file by name, or the only one."""
        text = (self.path / file).read_text()
        return {key: int(number) for key, number in map(str.split, text.splitlines())} \
            if " " in text else int(text)
