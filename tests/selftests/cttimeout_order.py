#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
# check: plain debug; cpus: 4; slow: 1
# needs: iptables-legacy
#
# Litmus tests: readers that take no lock have to see a writer's steps in the order
# in which they were made. For each kind of test, there have to be observations that
# could have shown otherwise.
#
# ROUNDS= in the environment, times ten, is how often each reader looks; the default
# is 150, or 30 on a kernel with KASAN.

import errno
import os
import subprocess
import time

import iptables
import nfnl
from processes import Number, together, unshare

LOOKS = 10 * int(os.environ.get("ROUNDS") or (30 if nfnl.configured("KASAN") else 150))
t = nfnl.Ktap()


def until_done(*readers, writer):
    """Runs the readers, and the writer until they are done; returns what went wrong."""
    done = [Number() for _ in readers]

    def ending(reader, mine):
        def run():
            try:
                reader()
            finally:
                mine.value = 1
        return run

    def write():
        for step in writer():
            if all(number.value for number in done):
                return

    return together(write, *(ending(*pair) for pair in zip(readers, done)))


# A policy comes and goes while others look for it. The step says what the writer has
# been told so far, so a reader that sees the same step before and after a get knows
# what its answer must be. (More than 16 policies are searched by hash, fewer along the
# list.)
GONE, COMING, THERE, GOING = range(4)


def until_seen(count):
    """Waits until somebody has looked, however slow they are."""
    before, end = count.value, time.monotonic() + 5
    while count.value == before and time.monotonic() < end:
        time.sleep(0.001)


def coming_and_going(step, seen):
    s = nfnl.Socket()
    for number in range(1 << 60):
        step.value = 4 * number + COMING
        assert not s.create("comes and goes", 17, {1: 77}).error
        step.value = 4 * number + THERE
        yield
        if number % 2:  # half of the time, nobody is waited for
            until_seen(seen[THERE])
        step.value = 4 * number + GOING
        assert not s.delete("comes and goes").error
        step.value = 4 * (number + 1) + GONE
        yield
        if number % 2:
            until_seen(seen[GONE])


def looking(step, seen):
    s = nfnl.Socket()
    for _ in range(LOOKS):
        before = step.value
        answer = s.request(nfnl.GET, nfnl.name("comes and goes"))
        if before != step.value:
            continue
        state = before % 4
        assert state != GONE or answer.error == errno.ENOENT, ("it is gone", answer.errno_name)
        assert state != THERE or answer.error == 0, ("it is there", answer.errno_name)
        assert not answer.policies or answer.policies[0].values[1] == 77, answer.policies[0].values
        if state in (GONE, THERE):
            seen[state].value += 1


# In a row of policies, the oldest is deleted whenever a new one has been created. The writer says
# in advance what it does, and afterwards what it has done, so a reader knows which policies exist
# throughout its dump, and which were created after it began, or deleted before.
class Row:
    def __init__(self, length):
        self.length = length
        self.creating, self.created, self.deleting, self.deleted = (Number() for _ in range(4))
        self.creating.value = self.created.value = length - 1
        self.dumps, self.changed = Number(), Number()

    def moving(self, pauses):
        s = nfnl.Socket()
        for number in range(1 << 60):
            self.creating.value = self.length + number
            assert not s.create(f"row {self.length + number:09}", 17).error
            self.created.value = self.length + number
            self.deleting.value = number + 1  # so many of the oldest
            assert not s.delete(f"row {number:09}").error
            self.deleted.value = number + 1
            if pauses and number % 30 == 0:
                until_seen(self.dumps)
            yield

    def dumping(self, dumps):
        for _ in range(dumps):
            s = nfnl.Socket()
            gone, last = self.deleted.value, self.created.value
            s.send(s.build(nfnl.GET, flags=nfnl.F_DUMP))
            end = self.creating.value  # the dump has begun
            answer = s.collect(s.seq, 8192)
            first = self.deleting.value
            numbers = [int(policy.name[4:]) for policy in answer.policies]
            known = gone, first, last, end, numbers
            assert numbers == sorted(set(numbers)), known
            assert [n for n in numbers if first <= n <= last] == list(range(first, last + 1)), known
            assert all(gone <= n <= end for n in numbers), known
            assert {m.flags for m in [*answer.messages, answer.last]} == {nfnl.F_MULTI}, known
            self.dumps.value += 1
            self.changed.value += first > gone and self.creating.value > end


# If a rule takes a policy while somebody deletes it, exactly one of the two succeeds.
def deleting(deleted, busy):
    s = nfnl.Socket()
    for _ in range(1 << 60):
        error = s.delete("wanted").error
        assert error in (0, errno.EBUSY), error
        if error:
            busy.value += 1
        else:
            deleted.value += 1
            yield
            assert not s.create("wanted", 17).error
        yield


def taking(rule, none, taken, missed):
    s = nfnl.Socket()
    for _ in range(LOOKS // 5):
        try:
            rule.put()
        except OSError as error:
            assert error.errno in (errno.ENOENT, errno.EAGAIN), error
            missed.value += 1
            continue
        taken.value += 1
        for _ in range(3):
            policy = s.get("wanted")
            assert policy and policy.use == 2, ("the rule has it", policy and policy.use)
        none.put()


unshare()
s = nfnl.Socket()
print(f"# {os.cpu_count()} CPUs", flush=True)
for others in 10, 16, 40:
    for i in range(others):
        s.create(f"other {i}")
    step, seen = Number(), {GONE: Number(), THERE: Number()}
    reader = lambda: looking(step, seen)
    t.equal(f"a policy that comes and goes beside {others} others is found when it is there, in "
            f"{LOOKS} looks of 2 readers", until_done(reader, reader, writer=lambda:
                                                      coming_and_going(step, seen)), "")
    print("# looks:", *(number.value for number in seen.values()))
    t.check(f"a policy that comes and goes beside {others} others: there were looks at either state",
            all(number.value > LOOKS // 100 for number in seen.values()),
            [number.value for number in seen.values()])
    s.flush()

# The first row fits into one buffer, the second takes several.
for length, dumps, pauses in (60, LOOKS // 2, False), (300, LOOKS // 5, True):
    for i in range(length):
        s.create(f"row {i:09}", 17)
    row = Row(length)
    reader = lambda: row.dumping(dumps)
    t.equal(f"a dump of a row of {length} shows each policy that exists throughout, and none that was "
            f"created after it began or deleted before, in {dumps} dumps each of 2 readers",
            until_done(reader, reader, writer=lambda: row.moving(pauses)), "")
    print(f"# the row changed during {row.changed.value} of {row.dumps.value} dumps")
    t.check(f"the row of {length} changed during dumps", row.changed.value > 3, row.changed.value)
    s.flush()

none = iptables.Table("raw")
s.create("wanted", 17)
subprocess.run("iptables-legacy -t raw -A OUTPUT -p udp -j CT --timeout wanted", shell=True,
               check=True)
rule = iptables.Table("raw")
none.put()
deleted, busy, taken, missed = (Number() for _ in range(4))
t.equal(f"a policy that a rule has got is not deleted, in {LOOKS // 5} tries to get it",
        until_done(lambda: taking(rule, none, taken, missed),
                   writer=lambda: deleting(deleted, busy)), "")
counts = [number.value for number in (deleted, busy, taken, missed)]
print("# deleted, busy, taken, missed:", *counts)
t.check("a rule that takes a policy and a delete of it: each has won, and each has lost",
        all(count > 3 for count in counts), counts)
none.put()
s.create("wanted", 17)
t.equal("a policy without rules is used by none, and can be deleted",
        (s.get("wanted").use, s.flush().error, s.state()), (1, 0, []))
t.finish()
