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
           "BPF_SYSCALL", "PERF_EVENTS", "SLUB_DEBUG", "UPROBE_EVENTS"]
# In those sections, but for other tests, or for the machine that the project boots
OTHERS = re.compile(r"_(?:OPENVSWITCH|DUMMY|VIRTIO_NET)=")
COMMAND = re.compile(r"\b(?:bpftrace|conntrack|nfct|ping|sysctl|ip6?tables(?:-legacy|-nft)?)\b(?![.=])")


def shell(text, library):
    """All files are in one directory there, and the test says what it needs."""
    code = text + "".join(map(library, re.findall(r"^\. \.\./lib/(\S+)", text, re.M)))
    found = COMMAND.findall(re.sub(r"(?m)(?:^|\s)#.*", "", code))
    # These two, the libraries need.
    commands = sorted({"ip", "python3", *found})
    lines = [". ./ktap.sh", ". ./standalone.sh", f"need {' '.join(commands)}"]
    if "unload " in text:
        lines.append("need_loadable")
    text = text.replace(". ../lib/ktap.sh\n", "\n".join(lines) + "\n")
    return text.replace("SCRIPTDIR/../lib", "SCRIPTDIR").replace("../lib/", "./")


def python(text):
    text = re.sub(r"^import nfnl\n", "import nfnl\nimport standalone\n", text, flags=re.M)
    # A command is the first word of a string.
    commands = sorted({"bash", *re.findall(rf'"({COMMAND.pattern})["\s]', text)})
    lines = ["standalone.need({})".format(", ".join(f'"{command}"' for command in commands))]
    if '"unload"' in text:
        lines.append("standalone.need_loadable()")
    return text.replace("t = nfnl.Ktap()\n", "\n".join([*lines, "t = nfnl.Ktap()\n"]))


def config(text):
    """What the tests need of a kernel, sorted, as all selftests have it."""
    found = {f"CONFIG_{name}=y" for name in OPTIONS}
    for section in SECTIONS:
        part = re.search(rf"^# {section}\n((?:CONFIG_.*\n)+)", text, re.M).group(1)
        found.update(line for line in part.splitlines() if not OTHERS.search(line))
    found.add("CONFIG_NF_CT_NETLINK_TIMEOUT_RUST=m")
    return "".join(f"{line}\n" for line in sorted(found))


def add(tree):
    tests = []
    for path in sorted(tree.project.glob("tests/selftests/cttimeout_*")):
        text = path.read_text()
        if PREPARED.search(text):
            continue
        tests.append(path.name)
        if path.suffix == ".sh":
            text = shell(text, lambda name: tree.ours(f"tests/lib/{name}"))
        else:
            text = python(text)
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
