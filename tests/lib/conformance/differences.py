# SPDX-License-Identifier: GPL-2.0
"""How this module differs from the C module.  Whatever is not in this table must be the same.

An entry says what differs and why, and in which comparison.  Its test tells whether a given pair of
answers differs in this way and in no other.  Each entry must occur in each run of what it is for.
"""

from collections import namedtuple
import errno
import struct

import nfnl

LEFT_OVER = {nfnl.NLMSGERR_ATTR_MSG: b"bytes leftover after parsing attributes\0"}

Difference = namedtuple("Difference", "name where reason test")


# Messages. "case" has the request, the answers of both modules as lists of nfnl.Message, the limit,
# and the earlier and the later requests of the group.

def errors(case):
    """The error numbers of both modules' acknowledgments; None where there is none."""
    found = []
    for answer in (case.c, case.rust):
        if len(answer) > 1 or any(r.kind != nfnl.NLMSG_ERROR for r in answer):
            return None, None
        found.append(answer[0].errno if answer else None)
    return found


def without_text(reply):
    """The bytes of an acknowledgment without its attributes, and without the flag for them."""
    raw = reply.raw[:reply.tlvs]
    length = len(raw) if reply.tlvs else reply.length
    return struct.pack("=IHH", length, reply.kind, reply.flags & ~nfnl.F_ACK_TLVS) + raw[8:]


def only_text_differs(case):
    return None not in errors(case) and without_text(case.rust[0]) == without_text(case.c[0])


def text(case):
    said = set(case.rust[0].said) if only_text_differs(case) and case.rust[0].errno else ()
    # The C module says nothing, but the core may have done so before the module was asked.
    return nfnl.NLMSGERR_ATTR_MSG in said and case.c[0].said in ({}, LEFT_OVER)


def left_over(case):
    return only_text_differs(case) and not case.rust[0].errno and \
        case.rust[0].said == LEFT_OVER and not case.c[0].said


def warned(case, wanted, text):
    """Whether a success comes with this text about the last such timeout."""
    kinds = [kind for kind, value in sorted(case.request.timeouts.items()) if wanted(value)]
    return kinds and only_text_differs(case) and not case.rust[0].errno and case.rust[0].said == {
        nfnl.NLMSGERR_ATTR_MSG: f"timeout attribute {kinds[-1]} {text}\0".encode()}


def too_long(case):
    return warned(case, lambda value: value > case.limit,
                  f"is limited to {case.limit} seconds")


def zero(case):
    return warned(case, lambda value: not value, "is 0: flows in that state expire at once")


def is_dump(answer):
    return bool(answer) and answer[-1].kind == nfnl.NLMSG_DONE and \
        all(r.kind == nfnl.SUBSYS << 8 | nfnl.NEW for r in answer[:-1])


def dump_complete(case):
    # The C module stops at a policy that has gone.
    return is_dump(case.c) and is_dump(case.rust) and len(case.c) < len(case.rust) and \
        any(r.command == nfnl.DELETE for r in case.later) and \
        [r.raw for r in case.c] == [r.raw for r in case.rust[:len(case.c) - 1] + case.rust[-1:]]


def dump_ends(case):
    late = [r.name for r in case.later if r.command == nfnl.NEW]
    return is_dump(case.c) and is_dump(case.rust) and len(case.c) > len(case.rust) and \
        [r.raw for r in case.rust] == [
            r.raw for r in case.c
            if r.kind == nfnl.NLMSG_DONE or r.attrs[nfnl.NAME].rstrip(b"\0") not in late]


def second_dump(case):
    return [r.errno for r in case.c] == [errno.EBUSY] and is_dump(case.rust) and \
        any(request.is_dump for request in case.earlier)


# Rules and flows. "case" has a step, or ("policies", ...) and the like for what there is after it,
# and the results of both modules; "before" are the names of earlier differences of the group.

def delete_refused(case):
    return case.step[0] == "delete" and case.step[2] and case.c == (0, "") and \
        case.rust[0] != 0 and case.rust[1].endswith("Device or resource busy")


def deleted_before(case):
    return case.step[0] == "delete" and "delete_refused" in case.before and case.c[0] != 0 and \
        case.c[1].endswith("No such file or directory") and case.rust == (0, "")


def flush_keeps(case):
    kept = case.step[1]
    words = "1 policy is used by rules and was kept" if kept == 1 else \
        f"{kept} policies are used by rules and were kept"
    return case.step[0] == "flush" and kept and (case.c, case.rust) == ((0, None), (0, words))


def uses_of_rules(case):
    """How many rules the uses of all policies count, and how many rules there are."""
    if case.step[0] != "uses" or case.c[1] != case.rust[1] or len(case.c[0]) != len(case.rust[0]) \
            or any(c < rust for c, rust in zip(case.c[0], case.rust[0])):
        return None, None
    return sum(use - 1 for use in case.rust[0]), case.rust[1]


def use_counts_rules(case):
    counted, rules = uses_of_rules(case)
    return counted is not None and counted == rules


def use_counts_own_rules(case):
    # Some of the rules are those of policies that were deleted.
    counted, rules = uses_of_rules(case)
    return counted is not None and counted <= rules


DIFFERENCES = [
    Difference("text", "messages", """An error comes with a text and the attribute to blame. The C
        module says nothing but the number.""", text),
    Difference("left_over", "messages", """A success comes with the netlink core's warning if
        bytes in CTA_TIMEOUT_DATA are no attribute. With either module, the core gives it if they
        are outside.""", left_over),
    Difference("too_long", "messages", """A timeout that is too long for conntrack becomes the
        largest possible one, with a warning. In the C module, such values wrap.""", too_long),
    Difference("zero", "messages", """A success comes with a warning if a timeout is 0.""", zero),
    Difference("dump_complete", "messages", """A dump shows all policies that exist throughout. The C
        module stops without a word if the one to go on with is gone.""", dump_complete),
    Difference("dump_ends", "messages", """A dump shows no policy that was created after it began,
        and so ends. The C module shows such policies.""", dump_ends),
    Difference("second_dump", "messages", """The last buffer of a dump holds its end if there is
        room, and the dump is over. The C module sends the end in a buffer of its own, and refuses
        another dump on the socket until that is received.""", second_dump),
    Difference("delete_refused", "rules", """A policy that rules use is not deleted. The C module
        deletes it, and the rules go on applying it.""", delete_refused),
    Difference("deleted_before", "rules", """Consequence: when the rules have gone, it can be
        deleted.""", deleted_before),
    Difference("flush_keeps", "rules", """If all policies are to be deleted, those that rules use
        are kept, and the answer says so.""", flush_keeps),
    Difference("use_counts_rules", "rules", """CTA_TIMEOUT_USE is 1, and 1 for each rule. In the
        C module, flows count, too, and rules twice.""", use_counts_rules),
    Difference("use_counts_own_rules", "rules, detach_in_use=1", """The same, where rules may be
        left of a policy that was deleted.""", use_counts_own_rules),
]


def find(where, case):
    """The name of the difference, None if it is none that is intended."""
    for difference in DIFFERENCES:
        if difference.where == where and difference.test(case):
            return difference.name
    return None


def expected(where):
    return [d.name for d in DIFFERENCES if d.where == where]
