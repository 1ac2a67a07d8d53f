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

import ctypes
import errno
import os
import subprocess
import time

import iptables
import nfnl
from processes import Number, together

LOOKS = 10 * int(os.environ.get("ROUNDS") or (30 if nfnl.configured("KASAN") else 150))
CLONE_NEWNET = 0x40000000
libc = ctypes.CDLL(None, use_errno=True)
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


# In a row of policies, the oldest is deleted whenever a new one has been created. So a dump that is
# not marked as interrupted shows consecutive numbers, and as many policies as exist at one moment.
def moving(length, pauses, whole):
    s = nfnl.Socket()
    for number in range(1 << 60):
        assert not s.create(f"row {length + number:09}", 17).error
        assert not s.delete(f"row {number:09}").error
        if pauses and number % 30 == 0:
            until_seen(whole)
        yield


def dumping(length, dumps, whole, interrupted):
    for number in range(10 * dumps):
        # Those of one kind may be few.
        if number >= dumps and whole.value > 3 and interrupted.value > 3:
            break
        s = nfnl.Socket()
        s.send(s.build(nfnl.GET, flags=nfnl.F_DUMP))
        answer = s.collect(s.seq, 8192)
        numbers = [int(policy.name[4:]) for policy in answer.policies]
        assert sorted(set(numbers)) == numbers, numbers
        if any(m.flags & nfnl.F_DUMP_INTR for m in answer.messages + [answer.done]):
            interrupted.value += 1
            continue
        whole.value += 1
        assert len(numbers) in (length, length + 1), (len(numbers), numbers)
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers))), numbers


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


iptables.checked(libc.unshare(CLONE_NEWNET))
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
    t.check("there were looks when it was there, and when it was gone",
            all(number.value > LOOKS // 100 for number in seen.values()),
            [number.value for number in seen.values()])
    s.flush()

# The first row fits into one buffer. The second takes several, and so long that no dump completes
# without an interruption unless the writer pauses.
for length, dumps, pauses in (60, LOOKS // 2, False), (300, LOOKS // 5, True):
    for i in range(length):
        s.create(f"row {i:09}", 17)
    whole, interrupted = Number(), Number()
    reader = lambda: dumping(length, dumps, whole, interrupted)
    t.equal(f"a dump that was not interrupted is what there was of {length} policies at a moment, "
            f"in {dumps} dumps or more of 2 readers",
            until_done(reader, reader, writer=lambda: moving(length, pauses, whole)), "")
    print(f"# {whole.value} whole, {interrupted.value} interrupted")
    t.check("there were dumps of both kinds", whole.value > 3 and interrupted.value > 3,
            (whole.value, interrupted.value))
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
t.check("each has won, and each has lost", all(count > 3 for count in counts), counts)
none.put()
s.create("wanted", 17)
t.equal("in the end, no rule has it", (s.get("wanted").use, s.flush().error, s.state()), (1, 0, []))
t.finish()
