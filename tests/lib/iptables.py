# SPDX-License-Identifier: GPL-2.0
"""The legacy IPv4 tables, as a whole: what iptables-legacy does last, in one system call.

A test that makes something fail inside the kernel needs that call alone, without everything that a
program does before it.  iptables itself makes the content, once; here it is only read and put back.
"""

import ctypes
import socket
import struct

from processes import checked, libc

SOL_IP, IPT_SO_GET_INFO, IPT_SO_GET_ENTRIES, IPT_SO_SET_REPLACE = 0, 64, 65, 64
INFO = "=32sI5I5III"  # struct ipt_getinfo
COUNTERS = 16         # sizeof(struct xt_counters)


class Table:
    """The content of a table of the current network namespace at this moment."""

    def __init__(self, name):
        self.name = name.encode()
        self.open()
        *info, self.count, size = self._info()
        self.hooks = info[1:]  # valid_hooks, hook_entry[], underflow[]
        header = struct.pack("=32sII", self.name, size, 0)  # struct ipt_get_entries
        self.entries = self._get(IPT_SO_GET_ENTRIES, header + bytes(size))[len(header):]

    def open(self):
        """Switches to the table of the network namespace that is current now."""
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)

    def _get(self, option, buffer):
        data = ctypes.create_string_buffer(buffer, len(buffer))
        length = ctypes.c_uint(len(buffer))
        checked(libc.getsockopt(self.sock.fileno(), SOL_IP, option, data, ctypes.byref(length)))
        return data.raw

    def _info(self):
        size = struct.calcsize(INFO)
        return struct.unpack(INFO, self._get(IPT_SO_GET_INFO, self.name.ljust(size, b"\0")))

    def replacer(self):
        """Makes all ready to put the content back; returns a function that does it."""
        old = self._info()[-2]
        counters = ctypes.create_string_buffer(COUNTERS * old)
        replace = struct.pack("=32sIII5I5IIQ", self.name, self.hooks[0], self.count,
                              len(self.entries), *self.hooks[1:], old,
                              ctypes.addressof(counters)) + self.entries

        def put(_counters=counters):  # which have to live until then
            checked(libc.setsockopt(self.sock.fileno(), SOL_IP, IPT_SO_SET_REPLACE, replace,
                                    len(replace)))
        return put

    def put(self):
        self.replacer()()
