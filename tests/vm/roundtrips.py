#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The programs of tests/roundtrip on the guest's kernels: dumped and restored on 6.1, dumped on 6.1 and restored on 6.12,
dumped and restored on 6.12. Not one of the scenarios of `tools/test` yet: an eighth
of them takes about two minutes in an emulated guest, all of them ten and more.

PATIENCE=N    the guest may be N times as slow as the machine itself (4)
SHARE=N       only every N-th program
"""
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from disk import REPOSITORY
from guest import Guest
from scenario import Phases, guest_disk, main
from tree import Tree

BUILD = Path(os.environ.get("KERNEL_SWAP_BUILD", REPOSITORY / "build")).resolve() / "tests/roundtrip"
SCRIPTS = REPOSITORY / "tests/roundtrip/programs"
PLACE = "/var/lib/passage"
# How many times as slow as the machine itself the guest may be.
PATIENCE = int(os.environ.get("PATIENCE", "4"))
LIMIT = 180 * PATIENCE
PARALLEL = 2  # one for each CPU of the guest
PARTS = PARALLEL * int(os.environ.get("SHARE", "1"))


def place_programs(tree):
    for program in BUILD.iterdir():
        other_tests = program.name.endswith("_tests") and program.name != "roundtrip_tests"
        if program.is_file() and os.access(program, os.X_OK) and not other_tests:
            tree.copy(program, str(program))
            subprocess.run(["strip", "--strip-debug", tree.path / str(program).lstrip("/")], check=True)
    for script in SCRIPTS.glob("*.py"):
        tree.copy(script, str(script))


def in_parts(guest, command):
    """The outputs of `command`, to which PART is known, and whether all went well."""
    def run(part):
        return guest.run(f"export PATIENCE={PATIENCE} PART={part} PARTS={PARTS}\n{command}", LIMIT, check=False)
    with ThreadPoolExecutor(PARALLEL) as pool:
        done = list(pool.map(run, range(PARALLEL)))
    return "".join(part.stdout for part in done), all(part.status == 0 for part in done)


def round_trips(guest):
    output, good = in_parts(guest, f"GTEST_TOTAL_SHARDS=$PARTS GTEST_SHARD_INDEX=$PART "
                                   f"{BUILD}/roundtrip_tests --gtest_filter='*.Restored/*:*.LeftRunning/*'")
    for reason in re.findall(r"^skipped: (.*)", output, re.MULTILINE):
        print(f"    skipped: {reason}")
    passed = output.count("[       OK ]")
    print(f"    {passed} passed", flush=True)
    assert good and passed > 0, output[-20000:]


def passage(guest, what):
    output, good = in_parts(guest, f"{BUILD}/passage {what} {PLACE} $PART $PARTS")
    passed = output.count(": ok\n")
    print(f"    {passed} programs", flush=True)
    assert good and passed > 0, "".join(line for line in output.splitlines(True) if not line.endswith(": ok\n"))
    return passed


def swap_kernels(guest):
    guest.run("kexec -s -l /boot/vmlinuz-6.12.* --initrd=$(echo /boot/initrd.img-6.12.*) --reuse-cmdline")
    guest.leave("systemctl --no-block kexec")
    assert guest.run("uname -r").stdout.startswith("6.12."), "kexec led to another kernel"


def scenario():
    phases = Phases()
    with phases("disk"), Tree() as tree:
        place_programs(tree)
        image, kernels = guest_disk(tree.path)
    with Guest(image, kernels, "6.1") as guest:
        with phases("boot 6.1"):
            guest.wait_for_boot()
        with phases("round trips on 6.1"):
            round_trips(guest)
        # Processes of the next kernel are to take none of these.
        guest.run("echo 4194304 > /proc/sys/kernel/pid_max; echo 2000000 > /proc/sys/kernel/ns_last_pid")
        with phases("dump on 6.1"):
            dumped = passage(guest, "dump")
        with phases("kexec to 6.12"):
            swap_kernels(guest)
        guest.run("echo 4194304 > /proc/sys/kernel/pid_max; echo 64 > /proc/sys/vm/nr_hugepages")
        with phases("restore on 6.12"):
            assert passage(guest, "restore") == dumped
        with phases("round trips on 6.12"):
            round_trips(guest)


if __name__ == "__main__":
    sys.exit(main(scenario))
