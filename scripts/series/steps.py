# SPDX-License-Identifier: GPL-2.0
#
# The patches of the series, in order: the documentation of a step is its commit
# message, and its code makes the change.

import re
import textwrap

import c
import rust
import selftests

KERNEL = "rust/kernel"
BINDINGS = "rust/bindings/bindings_helper.h"
HELPERS = "rust/helpers"
MODULE = "net/netfilter/cttimeout_rust"
NAME = "nfnetlink_cttimeout_rust"
SPDX = "// SPDX-License-Identifier: GPL-2.0\n"


class Series:
    """Writes the steps' changes into a tree."""

    def __init__(self, tree, rustfmt, author):
        self.tree, self.rustfmt, self.author = tree, rustfmt, author
        self.groups = c.groups(tree.ours("src/helpers.c"))
        self.unused = set(self.groups)
        compat = tree.project / "src/compat/linux_7_3.rs"
        if compat.exists():
            rust.COMPATIBILITY.update(rust.compatibility(compat.read_text()))
        self.existing = tree.helpers()

    # Ways to put things where they belong

    def rust(self, source, target, parent=""):
        """A file of the project becomes one of the kernel crate."""
        self.tree.add(f"{KERNEL}/{target}",
                      rust.formatted(rust.kernel(self.tree.ours(f"src/{source}"), parent), self.rustfmt))

    def add_uses(self, path, *uses):
        """A file of the kernel crate uses more than before."""
        text = self.tree.get(path)
        found = list(rust.USE.finditer(text))
        old = [use for match in found for use in rust.flatten(match.group(1))]
        new = rust.declarations([*old, *uses])
        self.tree.put(path, text[:found[0].start()] + new + text[found[-1].end():])

    def module(self, path, name, condition=""):
        """A module of the kernel crate, in the list that path has."""
        if condition:
            condition = f"#[cfg({condition})]\n"
        self.tree.insert(f"{KERNEL}/{path}", f"{condition}pub mod {name};\n", r"(pub )?mod \w+;",
                         key=lambda line: re.search(r"mod (\w+);", line).group(1))

    def group(self, group):
        """The code of a group of helpers."""
        self.unused.remove(group)
        return c.helpers(self.groups[group], self.existing)

    def helpers(self, group, target, headers, condition=""):
        """A group of helpers becomes a file of C."""
        code = self.group(group)
        code = "".join(f"#include <{header}>\n" for header in headers) + f"\n{code}"
        if condition:
            code = f"{condition}\n\n{code}\n#endif\n"
        self.tree.add(f"{HELPERS}/{target}", f"{SPDX}\n{code}")
        self.tree.insert(f"{HELPERS}/helpers.c", f'#include "{target}"\n', r'#include "')

    def more_helpers(self, group, target):
        """A group of helpers goes to those that are there."""
        path = f"{HELPERS}/{target}"
        code = self.group(group)
        self.tree.put(path, f"{self.tree.get(path).rstrip()}\n\n{code}")

    def header(self, header):
        """A header for bindgen to read."""
        self.tree.insert(BINDINGS, f"#include <{header}>\n", r"#include <(linux|net|trace)/(?!hrtimer_types)",
                         until="#include <[.][.]")

    # The patches

    def gfp_flag(self):
        """rust: alloc: add __GFP_RETRY_MAYFAIL

        With this flag, an allocation that would exceed the limit of a memory
        cgroup fails; without it, one of the cgroup's processes would be killed.
        Conntrack timeout policies, at the end of this series, are charged to
        whoever creates them, and a request to create one can simply be refused.
        """
        self.tree.insert(BINDINGS,
                         "const gfp_t RUST_CONST_HELPER___GFP_RETRY_MAYFAIL = __GFP_RETRY_MAYFAIL;\n",
                         r"const gfp_t RUST_CONST_HELPER___GFP")
        name = "__GFP_RETRY_MAYFAIL"
        docs = re.search(rf"((?:^///.*\n)+)pub\(crate\) const {name}\b", self.tree.ours("src/alloc.rs"),
                         re.M).group(1)
        last = "    pub const __GFP_NOWARN: Flags = Flags(bindings::__GFP_NOWARN);\n"
        added = f"{docs}pub const {name}: Flags = Flags(bindings::{name});\n"
        self.tree.replace(f"{KERNEL}/alloc.rs", last,
                          f"{last}\n{rust.wrapped(textwrap.indent(added, '    '))}")

    def rcu(self):
        """rust: sync: rcu: add dereference() and held()

        dereference() is rcu_dereference() for pointers whose Rust type does not
        mark them as RCU-protected. It takes a guard as evidence of the read-side
        critical section.

        held() provides such evidence where C code has already taken the lock: in
        callbacks that are documented to be called under rcu_read_lock().

        Later in this series, the RCU list uses dereference(), and the conntrack
        timeout hooks use held().
        """
        path = f"{KERNEL}/sync/rcu.rs"
        self.add_uses(path, "core::ptr::NonNull")
        added = rust.kernel(rust.body(self.tree.ours("src/sync/rcu.rs")))
        self.tree.put(path, rust.formatted(f"{self.tree.get(path)}\n{added}", self.rustfmt))

    def refcount(self):
        """rust: sync: refcount: add operations for objects that others can find

        An object that is found under RCU may have no references left, or may lose
        its last one at that very moment. inc_not_zero() and dec_if_one() report
        whether they succeeded, and if the two race for the last reference, exactly
        one of them does. sub_and_test() drops many references in one step, and
        read() is for reporting the count in messages. Conntrack timeouts, later in
        this series, are such objects.
        """
        path = f"{KERNEL}/sync/refcount.rs"
        self.more_helpers("linux/refcount.h", "refcount.c")
        added = rust.methods(self.tree.ours("src/sync/refcount.rs"))
        self.add_uses(path, "crate::sync::atomic::Relaxed")
        self.tree.replace(path, "    }\n}\n\n// SAFETY: `refcount_t` is thread-safe.\nunsafe impl Send",
                          f"    }}\n\n{added}}}\n\n// SAFETY: `refcount_t` is thread-safe.\nunsafe impl Send")

    def rcu_list(self):
        """rust: sync: add an RCU list

        An intrusive, doubly linked list that is read under RCU. It is a low-level
        building block for containers: the caller is responsible for serializing
        writers, and for keeping elements alive long enough. RcuMap, later in this
        series, is such a container.
        """
        self.helpers("linux/rculist.h", "rculist.c", ["linux/rculist.h"])
        self.module("sync.rs", "rcu_list")
        self.rust("sync/rcu_list.rs", "sync/rcu_list.rs", "sync")

    def rhashtable(self):
        """rust: sync: add rhashtable

        The functions in rhashtable.h are inlined into their callers, because they
        are designed for parameters that are known at compile time. From Rust, this
        is possible for one set of parameters only, so this table is for keys of
        one fixed size: 32 bytes, padded with zeros. That is enough for the names
        by which netfilter, and networking code in general, look things up. The
        offset of the key within an element differs from type to type, and is
        stored in the table. RcuMap, added in the next patch, uses this table.
        """
        self.tree.add(f"{HELPERS}/rhashtable.h", f"""/* SPDX-License-Identifier: GPL-2.0 */

#ifndef _RUST_HELPERS_RHASHTABLE_H
#define _RUST_HELPERS_RHASHTABLE_H

{c.define(self.tree.ours("include/helpers.h"), "RHASHTABLE_KEY_LEN")}
#endif
""")
        self.helpers("linux/rhashtable.h", "rhashtable.c", ["linux/jhash.h", "linux/rhashtable.h"])
        path = f"{HELPERS}/rhashtable.c"
        self.tree.files[path] = self.tree.files[path].replace(
            "#include <linux/rhashtable.h>\n", '#include <linux/rhashtable.h>\n\n#include "rhashtable.h"\n')
        self.header("linux/rhashtable.h")
        self.tree.replace(BINDINGS, "#include <../../drivers/base/base.h>\n",
                          "#include <../../drivers/base/base.h>\n\n"
                          "/* What the helpers of hash tables and their users have to agree on. */\n"
                          '#include "../helpers/rhashtable.h"\n')
        self.module("sync.rs", "rhashtable")
        self.rust("sync/rhashtable.rs", "sync/rhashtable.rs", "sync")

    def rcu_map(self):
        """rust: sync: add RcuMap

        A map that keeps the order of insertion and is read under RCU, made of an
        RCU list and a hash table. It suits objects that are configured through
        netlink: commands look them up by name, and dumps list all of them in
        order, over many buffers, while objects are added and removed. Conntrack
        timeout policies, at the end of this series, are kept in one such map for
        each network namespace.
        """
        self.module("sync.rs", "rcu_map")
        self.rust("sync/rcu_map/mod.rs", "sync/rcu_map/mod.rs", "sync")
        self.rust("sync/rcu_map/place.rs", "sync/rcu_map/place.rs", "sync::rcu_map")

    def padded_str(self):
        """rust: str: add PaddedStr

        A short string of bounded size, kept inline and padded with NULs, so that
        it can be a key of a hash table: conntrack timeout policies, at the end of
        this series, are found by their name.
        """
        self.module("str.rs", "padded")
        self.rust("str.rs", "str/padded.rs", "str")

    def module_ref(self):
        """rust: module: add counted references

        A ModuleRef keeps a module loaded for as long as it exists. nfnetlink dumps
        and timeout objects, later in this series, need this: both call into the
        module, or are freed by it, after the command that created them has
        returned.
        """
        self.helpers("linux/module.h", "module.c", ["linux/module.h"])
        self.module("lib.rs", "module_ref")
        self.rust("module.rs", "module_ref.rs")

    def netns(self):
        """rust: net: add network namespaces

        Net is a network namespace, and PerNet is the data that a module keeps for
        each of them. A registration is evidence that this data exists. Other
        registrations are built on top of it, so that they can only be undone in
        the right order. The first of these is the registration of nfnetlink
        subsystems, later in this series.
        """
        self.helpers("net/netns/generic.h", "net/netns.c", ["net/netns/generic.h"], "#ifdef CONFIG_NET")
        self.header("net/net_namespace.h")
        self.module("net/mod.rs", "netns")
        self.rust("net/netns.rs", "net/netns.rs", "net")

    def nlmsg(self):
        """rust: net: add netlink messages and attributes

        The existing netlink module of the kernel crate covers generic netlink and
        multicast messages. This one is for subsystems that answer requests, such
        as those of nfnetlink, which are added in the next patch. It covers
        received attributes, attribute policies, the extended acknowledgment, and
        messages with nested attributes.
        """
        self.helpers("linux/netlink.h", "net/netlink.c",
                     ["linux/netlink.h", "net/netlink.h", "net/sock.h"], "#ifdef CONFIG_NET")
        self.tree.insert(BINDINGS,
                         "const size_t RUST_CONST_HELPER_NLMSG_DEFAULT_SIZE = NLMSG_DEFAULT_SIZE;\n",
                         r"const size_t RUST_CONST_HELPER_GENLMSG_DEFAULT_SIZE")
        self.module("net/mod.rs", "nlmsg")
        self.rust("net/netlink.rs", "net/nlmsg.rs", "net")

    def nfnetlink(self):
        """rust: net: add nfnetlink subsystems

        A subsystem is a table of commands. Each command runs either under the
        subsystem's mutex or under RCU, and receives evidence of that: the former
        is needed to change shared data, the latter to read it. Dumps continue
        where the last buffer ended, and report whether anything changed in
        between. Conntrack timeout policies, at the end of this series, are such a
        subsystem.
        """
        self.helpers("linux/netfilter/nfnetlink.h", "net/nfnetlink.c", ["linux/netfilter/nfnetlink.h"],
                     "#ifdef CONFIG_NETFILTER_NETLINK")
        self.header("linux/netfilter/nfnetlink.h")
        self.module("net/mod.rs", "nfnetlink", "CONFIG_NETFILTER_NETLINK")
        self.rust("net/nfnetlink/mod.rs", "net/nfnetlink/mod.rs", "net")
        self.rust("net/nfnetlink/dump.rs", "net/nfnetlink/dump.rs", "net::nfnetlink")

    def conntrack(self):
        """rust: net: add conntrack timeouts

        This covers the protocol trackers, as far as their timeouts are concerned;
        timeout objects, in which a value of the owner's follows the timeouts; the
        hooks through which rules find such objects by name; and the walk of the
        conntrack table that detaches them from flows.

        As with other subsystems, this needs a kernel that has conntrack built in,
        because the kernel crate cannot refer to symbols of a module. The user is
        added in the next patch.
        """
        condition = "#if IS_BUILTIN(CONFIG_NF_CONNTRACK) && IS_ENABLED(CONFIG_NF_CONNTRACK_TIMEOUT)"
        self.helpers("net/netfilter/nf_conntrack_timeout.h", "net/nf_conntrack.c",
                     ["net/netfilter/nf_conntrack_l4proto.h", "net/netfilter/nf_conntrack_timeout.h"], condition)
        self.tree.put(BINDINGS, self.tree.get(BINDINGS) + f"""
{condition}
#include <linux/netfilter/nfnetlink_cttimeout.h>
#include <linux/sort.h>
#include <net/netfilter/nf_conntrack.h>
#include <net/netfilter/nf_conntrack_core.h>
#include <net/netfilter/nf_conntrack_l4proto.h>
#include <net/netfilter/nf_conntrack_timeout.h>
#endif
""")
        self.module("net/mod.rs", "conntrack", 'all(CONFIG_NF_CONNTRACK = "y", CONFIG_NF_CONNTRACK_TIMEOUT)')
        for name in ("mod", "detach", "hooks", "l4proto", "timeout"):
            parent = "net" if name == "mod" else "net::conntrack"
            self.rust(f"net/conntrack/{name}.rs", f"net/conntrack/{name}.rs", parent)

    def policies(self):
        """netfilter: add conntrack timeout policies in Rust

        This module can be used in place of nfnetlink_cttimeout, and speaks the
        same netlink protocol. Creating, reading or deleting a policy does not get
        slower as the number of policies grows, reading takes no mutex, and errors
        come with a message and the offending attribute. Only one of the two
        modules can be loaded at a time.

        User space sees these differences:

        - Deleting a policy that a rule uses fails with EBUSY, as in older
          kernels; deleting all policies keeps those in use, succeeds, and
          reports how many were kept. With the module parameter
          detach_in_use=1, both delete them, as in nfnetlink_cttimeout.
        - CTA_TIMEOUT_USE is 1 plus 1 for each rule; flows are not counted.
        - A timeout that is too large for jiffies is refused with ERANGE.

        There are five tracepoints: for creating, replacing and deleting a policy,
        and for a rule taking and dropping a reference to one (hold, release).

        The logic of the module contains no unsafe code, and the compiler rejects
        any there.
        """
        tree = self.tree
        for path in sorted(tree.project.glob("src/cttimeout/*.rs")):
            text = rust.module(path.read_text(), "kernel::uapi")
            tree.add(f"{MODULE}/cttimeout/{path.name}", rust.formatted(text, self.rustfmt))
        tree.add(f"{MODULE}/trace.rs", rust.formatted(rust.module(tree.ours("src/trace.rs")), self.rustfmt))
        # What the project's other modules are made of is no concern of the kernel's.
        trace = re.sub(r" Not in helpers\.c:.*?(?=\n \*/)", "", tree.ours("src/trace.c"), flags=re.S)
        tree.add(f"{MODULE}/trace.c", trace)
        tree.add("include/trace/events/cttimeout.h", tree.ours("include/trace/events/cttimeout.h"))
        self.header("trace/events/cttimeout.h")
        for header in ("netfilter/nfnetlink.h", "netfilter/nfnetlink_cttimeout.h", "netlink.h"):
            tree.insert("rust/uapi/uapi_helper.h", f"#include <uapi/linux/{header}>\n", "#include <uapi/linux/")

        main = re.sub(r"^(#\[cfg\(CTTIMEOUT_KUNIT\)\]\n)?"
                      r"mod (alloc|bindings|compat|module|net|str|sync|tests);\n", "",
                      tree.ours(f"src/{NAME}_main.rs"), flags=re.M)
        main = re.sub(r"authors: \[.*\]", f'authors: ["{self.author.partition(" <")[0]}"]', main)
        tree.add(f"{MODULE}/{NAME}_main.rs", rust.formatted(rust.module(main), self.rustfmt))
        tree.add(f"{MODULE}/Makefile", f"""# SPDX-License-Identifier: GPL-2.0-only
obj-$(CONFIG_NF_CT_NETLINK_TIMEOUT_RUST) += {NAME}.o
{NAME}-y := {NAME}_main.o
{NAME}-$(CONFIG_TRACEPOINTS) += trace.o
""")
        tree.insert("net/netfilter/Makefile",
                    "obj-$(CONFIG_NF_CT_NETLINK_TIMEOUT_RUST) += cttimeout_rust/\n",
                    r"obj-\$\(CONFIG_NF_CT_NETLINK_TIMEOUT\)")
        kconfig = tree.ours("Kconfig").split("\n\n", 1)[1].replace(
            "depends on NF_CONNTRACK\n", "depends on NF_CONNTRACK=y\n")
        tree.replace("net/netfilter/Kconfig", "config NF_CT_NETLINK_HELPER\n",
                     f"{kconfig}\nconfig NF_CT_NETLINK_HELPER\n")

    def kunit(self):
        """netfilter: cttimeout_rust: add KUnit tests

        They cover what can be tested without packets or netlink messages: timeout
        objects, the map, names and counts.
        """
        tree, symbol = self.tree, "NF_CT_NETLINK_TIMEOUT_RUST_KUNIT_TEST"
        tree.add(f"{MODULE}/tests.rs", rust.formatted(rust.module(tree.ours("src/tests.rs")), self.rustfmt))
        tree.replace(f"{MODULE}/{NAME}_main.rs", "mod trace;\n",
                     f"#[cfg(CONFIG_{symbol})]\nmod tests;\nmod trace;\n")
        tree.replace("net/netfilter/Kconfig", "config NF_CT_NETLINK_HELPER\n", f"""config {symbol}
	bool "KUnit tests of timeout tuning in Rust" if !KUNIT_ALL_TESTS
	depends on NF_CT_NETLINK_TIMEOUT_RUST && KUNIT=y
	default KUNIT_ALL_TESTS
	help
	  This adds unit tests to nfnetlink_cttimeout_rust, which run when
	  it is loaded or, if it is built in, at boot. They leave nothing
	  behind.

	  If unsure, say N.

config NF_CT_NETLINK_HELPER
""")

    def spec(self):
        """netlink: specs: add conntrack timeout policies

        This specification is for YNL. It describes the commands, the attributes,
        and the timeouts of each protocol.

        The C code generator does not know how the message types of an nfnetlink
        subsystem are made up. nfnetlink_cttimeout shares this limitation with
        conntrack and nftables, so like them, it is left out of the generated
        library (GENS_UNSUP).
        """
        path = "Documentation/netlink/specs/nfnetlink_cttimeout.yaml"
        self.tree.add(path, self.tree.ours(path))
        self.tree.replace("tools/net/ynl/generated/Makefile", "GENS_UNSUP=conntrack nftables\n",
                          "GENS_UNSUP=conntrack nfnetlink_cttimeout nftables\n")

    def selftests(self):
        """selftests: netfilter: add tests of conntrack timeout policies

        They exercise the module with netlink messages, nfct, iptables and packets,
        and need nothing else. A test is skipped if a tool that it needs is not
        installed.
        """
        selftests.add(self.tree)

    def maintainers(self):
        """MAINTAINERS: add conntrack timeout policies in Rust

        The entry includes the abstractions that they are built on.
        """
        entry = f"""NETFILTER CONNTRACK TIMEOUT POLICIES [RUST]
M:	{self.author}
L:	netfilter-devel@vger.kernel.org
L:	rust-for-linux@vger.kernel.org
S:	Maintained
F:	Documentation/netlink/specs/nfnetlink_cttimeout.yaml
F:	include/trace/events/cttimeout.h
F:	net/netfilter/cttimeout_rust/
F:	rust/helpers/module.c
F:	rust/helpers/net/netlink.c
F:	rust/helpers/net/netns.c
F:	rust/helpers/net/nf_conntrack.c
F:	rust/helpers/net/nfnetlink.c
F:	rust/helpers/rculist.c
F:	rust/helpers/rhashtable.*
F:	rust/kernel/module_ref.rs
F:	rust/kernel/net/conntrack/
F:	rust/kernel/net/netns.rs
F:	rust/kernel/net/nfnetlink/
F:	rust/kernel/net/nlmsg.rs
F:	rust/kernel/str/padded.rs
F:	rust/kernel/sync/rcu_list.rs
F:	rust/kernel/sync/rcu_map/
F:	rust/kernel/sync/rhashtable.rs
F:	{selftests.DIRECTORY}/

"""
        self.tree.replace("MAINTAINERS", "\nNETRONIX EMBEDDED CONTROLLER\n",
                          f"\n{entry}NETRONIX EMBEDDED CONTROLLER\n")


STEPS = [
    Series.gfp_flag, Series.rcu, Series.refcount, Series.rcu_list, Series.rhashtable, Series.rcu_map,
    Series.padded_str, Series.module_ref, Series.netns, Series.nlmsg, Series.nfnetlink,
    Series.conntrack, Series.policies, Series.kunit, Series.spec, Series.selftests, Series.maintainers,
]
