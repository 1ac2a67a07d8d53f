#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
# check: plain/s390x; slow: 3
#
# The clients of libnetfilter_cttimeout list all policies that stay, and report no error,
# while another process creates and deletes a policy in a loop. They give up at the first
# message with NLM_F_DUMP_INTR.

import os
import re
import shutil
import subprocess

import nfnl
from processes import Number, come_and_go, meanwhile, unshare

ROUNDS = 200
LIBRARY = os.environ["CLIENTS"] + "/cttimeout"
STAY = [f"stay {i:03}" for i in range(300)]
t = nfnl.Ktap()


unshare()
s = nfnl.Socket()
for text in STAY:
    s.create(text)
for command in ("nfct", "list", "timeout"), (LIBRARY, "list"):
    title = f"{os.path.basename(command[0])} list, {ROUNDS} times"
    if not shutil.which(command[0]):
        t.skip(title, f"{command[0]} cannot be installed here")
        continue
    turns, wrong = Number(), []
    with meanwhile(lambda: come_and_go(["comes and goes"], turns)):
        for _ in range(ROUNDS):
            done = subprocess.run(command, capture_output=True, text=True)
            names = re.findall(r"^\.(.*) = {$", done.stdout, re.M)
            if done.returncode or done.stderr or [n for n in names if n in STAY] != STAY:
                wrong.append((done.returncode, done.stderr, len(names)))
    t.equal(f"{title}: exit status 0, and all 300 policies that stay, once, in order", wrong, [])
    t.check(f"{title}: a policy came and went meanwhile", turns.value > ROUNDS, turns.value)
s.flush()
t.finish()
