# SPDX-License-Identifier: GPL-2.0
"""Compares what two modules answered, message by message."""

from collections import Counter, namedtuple
import errno

import nfnl

from . import differences, generator, player

COMMANDS = ("new", "get", "delete", "default-set", "default-get")

Case = namedtuple("Case", "request c rust limit earlier later")


def command_name(request):
    if len(request.raw) < 16 or request.length != len(request.raw):
        return "cut off"
    if request.subsys != nfnl.SUBSYS or request.command >= len(COMMANDS):
        return "unknown"
    return "dump" if request.is_dump else COMMANDS[request.command]


def result_name(answer):
    """An answer in a word: the error, or what there is instead."""
    if not answer:
        return "no answer"
    code = answer[-1].errno
    if code is None:
        return "object without acknowledgment"
    if answer[-1].kind == nfnl.NLMSG_DONE:
        return "dump"
    if code == 0:
        return "object" if len(answer) > 1 else "success"
    return "EOPNOTSUPP" if code == errno.EOPNOTSUPP else errno.errorcode.get(code, str(code))


def replies(record):
    """The messages that all sockets received, by port and sequence number."""
    found = {}
    for reply in nfnl.split(record):
        found.setdefault((reply.port, reply.seq), []).append(reply)
    return found


class Comparison:
    """Counts what is compared, and keeps what is not as it should be."""

    def __init__(self, limit):
        self.limit = limit
        self.commands, self.results, self.differences = Counter(), Counter(), Counter()
        self.unexpected = []

    def group(self, group, c_record, rust_record):
        c, rust = replies(c_record), replies(rust_record)
        sent = [(index, generator.Request(raw)) for index, messages, _ in group for raw in messages]
        requests = [request for _, request in sent]
        for number, (index, request) in enumerate(sent):
            self.commands[command_name(request)] += 1
            key = player.FIRST_PORT + index, request.seq
            answers = c.pop(key, []), rust.pop(key, [])
            self.results[result_name(answers[0])] += 1
            if [r.raw for r in answers[0]] != [r.raw for r in answers[1]]:
                case = Case(request, *answers, self.limit, requests[:number],
                            requests[number + 1:])
                found = differences.find("messages", case)
                if found:
                    self.differences[found] += 1
                else:
                    self.report(request, *answers)
        if c or rust:
            self.unexpected.append(f"answers to nobody: C {show(c)}, Rust {show(rust)}")

    def report(self, request, c, rust):
        lines = [f"{command_name(request)} {request.raw.hex()}"]
        for module, answer in (("C", c), ("Rust", rust)):
            lines.append(f"  {module}: {result_name(answer)}")
            lines += [f"    {reply.raw.hex()}" for reply in answer[:3]]
        self.unexpected.append("\n".join(lines))

    def run(self, groups, c_path, rust_path):
        """Compares two records of the same groups."""
        c_records, rust_records = player.records(c_path), player.records(rust_path)
        for group in groups:
            self.group(group, next(c_records), next(rust_records))
        self.group([], next(c_records), next(rust_records))


def show(by_key):
    return {key: [reply.raw.hex() for reply in answer] for key, answer in by_key.items()}
