#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
#
# Adds this project's crates to a rust-project.json that the kernel's generator has made. The
# generator looks for crate roots beside a Kbuild that names them, but the roots of this
# project are in other directories; and it does not know the bindings that Kbuild generates.
# This script also makes rust-analyzer load the standard library by itself: only then does
# rust-analyzer know the methods of integers, slices and pointers.
#
# usage: rust-project.py FILE BINDINGS
#
# It fails if a file that rust-project.json names does not exist.

import json
import pathlib
import re
import sys

TOP = pathlib.Path(__file__).resolve().parent.parent
ROOTS = ("src/nfnetlink_cttimeout_rust_main.rs", "tests/modules/cttimeout_test_subsystem_main.rs")
# Kbuild's options for modules: see rust_common_cmd in the kernel's scripts/Makefile.build.
DEPENDENCIES = ("kernel", "pin_init", "zerocopy", "zerocopy_derive")
LIBRARY = ("core", "alloc", "std", "proc_macro")


def configuration(bindings):
    """The compiler's --cfg options, as Kbuild has noted them."""
    root = pathlib.Path(ROOTS[0])
    command = bindings.parent / root.parent / f".{root.stem}.o.cmd"
    return re.findall(r" --cfg (\S+)", command.read_text())


def missing(project):
    """The files that the project refers to and that are not there."""
    for crate in project["crates"]:
        source = crate.get("source", {})
        for path in (crate["root_module"], crate.get("proc_macro_dylib_path"),
                     crate["env"].get("CTTIMEOUT_BINDINGS"), *source.get("include_dirs", ())):
            if path and not pathlib.Path(path).exists():
                yield path


def main():
    path, bindings = (pathlib.Path(arg).resolve() for arg in sys.argv[1:])
    project = json.loads(path.read_text())
    crates = project["crates"]
    index = {crate["display_name"]: i for i, crate in enumerate(crates)}
    core = pathlib.Path(crates[index["core"]]["root_module"])
    project["sysroot_src"] = str(core.parents[2])
    # Only this project is analysed; the kernel is for look-ups.
    for crate in crates:
        crate["is_workspace_member"] = False
        crate["deps"] = [dep for dep in crate["deps"] if dep["name"] not in LIBRARY]
    for root in ROOTS:
        crates.append({
            "display_name": pathlib.Path(root).stem,
            "root_module": str(TOP / root),
            "is_workspace_member": True,
            "deps": [{"crate": index[name], "name": name} for name in DEPENDENCIES],
            "cfg": crates[index["kernel"]]["cfg"] + configuration(bindings),
            "edition": "2021",
            "env": {"RUST_MODFILE": "This is only for rust-analyzer",
                    "CTTIMEOUT_BINDINGS": str(bindings)},
            "source": {"include_dirs": [str(TOP / "src"), str((TOP / root).parent),
                                        str(bindings.parent)],
                       "exclude_dirs": []},
        })
    absent = sorted(set(missing(project)))
    if absent:
        sys.exit("error: rust-project.json would refer to what is not there:\n  " +
                 "\n  ".join(absent))
    path.write_text(json.dumps(project, indent=4, sort_keys=True) + "\n")


main()
