# SPDX-License-Identifier: GPL-2.0
#
# Turns the project's selftests, those that need nothing but the kernel and installed
# commands, into a directory of the kernel's.

import re

DIRECTORY = "tools/testing/selftests/net/netfilter/cttimeout_rust"
# What needs more than that: programs that are built for it, other modules, the
# sources of the kernel.
PREPARED = re.compile(r"CLIENTS|MODROOT|KUNIT_MODULE|conformance|ovs\.sh")
LIBRARIES = ["conntrack.sh", "iptables.py", "ktap.sh", "netns.sh", "nfnl.py", "processes.py",
             "standalone.py", "standalone.sh", "traffic.py"]
SECTIONS = ["Modules and Rust", "Tracepoints", "Network", "Netfilter"]
OPTIONS = ["IKCONFIG", "IKCONFIG_PROC", "NAMESPACES", "NET_NS", "USER_NS", "PID_NS", "CGROUPS", "MEMCG",
           "BPF_SYSCALL", "UPROBE_EVENTS"]


def shell(text):
    """All files are in one directory there, and the test says what it needs."""
    code = re.sub(r"(?m)^ *#.*", "", text)
    found = re.findall(r"\b(?:bpftrace|conntrack|nfct|ip6?tables(?:-legacy|-nft)?)\b(?!\.)", code)
    # These two, the libraries need.
    commands = sorted({"ip", "python3", *found})
    lines = [". ./ktap.sh", ". ./standalone.sh", f"need {' '.join(commands)}"]
    if "unload " in text:
        lines.append("need_loadable")
    text = text.replace(". ../lib/ktap.sh\n", "\n".join(lines) + "\n")
    return text.replace("SCRIPTDIR/../lib", "SCRIPTDIR").replace("../lib/", "./")


def python(text):
    text = re.sub(r"^import nfnl\n", "import nfnl\nimport standalone\n", text, flags=re.M)
    if '"unload"' in text:
        return text.replace("t = nfnl.Ktap()\n", "standalone.need_loadable()\nt = nfnl.Ktap()\n")
    # It is imported for what that does.
    return text.replace("import standalone\n", "import standalone  # pylint: disable=unused-import\n")


def config(text):
    """What the tests need of a kernel, sorted, as all selftests have it."""
    found = {f"CONFIG_{name}=y" for name in OPTIONS}
    for section in SECTIONS:
        part = re.search(rf"^# {section}\n((?:CONFIG_.*\n)+)", text, re.M).group(1)
        found.update(line for line in part.splitlines() if "OPENVSWITCH" not in line)
    found.add("CONFIG_NF_CT_NETLINK_TIMEOUT_RUST=m")
    return "".join(f"{line}\n" for line in sorted(found))


def add(tree):
    tests = []
    for path in sorted(tree.project.glob("tests/selftests/cttimeout_*")):
        text = path.read_text()
        if PREPARED.search(text):
            continue
        tests.append(path.name)
        text = shell(text) if path.suffix == ".sh" else python(text)
        tree.add(f"{DIRECTORY}/{path.name}", text, 0o755)
    for name in LIBRARIES:
        text = tree.ours(f"tests/lib/{name}").replace("../lib/", "./")
        tree.add(f"{DIRECTORY}/{name}", text)
    programs = "".join(f"\t{name} \\\n" for name in tests)
    files = "".join(f"\t{name} \\\n" for name in LIBRARIES)
    tree.add(f"{DIRECTORY}/Makefile", f"""# SPDX-License-Identifier: GPL-2.0

TEST_PROGS := \\
{programs}# end of TEST_PROGS

TEST_FILES := \\
{files}# end of TEST_FILES

include ../../../lib.mk
""")
    tree.add(f"{DIRECTORY}/config", config(tree.ours("scripts/config/base.config")))
    tree.add(f"{DIRECTORY}/settings", "timeout=1800\n")
    tree.insert("tools/testing/selftests/Makefile", "TARGETS += net/netfilter/cttimeout_rust\n",
                r"TARGETS \+= net/netfilter")
