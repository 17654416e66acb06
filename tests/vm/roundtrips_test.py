#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The programs of tests/roundtrip on the guest's kernels: dumped and restored on 6.1, dumped on 6.1 and restored on 6.12
or the newest, dumped and restored there. What has a ring of io_uring is refused where the next kernel lays it out
otherwise. An emulated guest takes its time, so that each run takes other programs.

SHARE=N       only every N-th program (16)
SEED=N        which of them (random)
NAMES=A,B     only those whose names begin so
MODES=A,B     only in these ways (all four)
FROM=VERSION  of the first kernel (6.1)
TO=VERSION    of the second kernel (the newest if SEED is odd)
STRICT=0|1    that kernel lets nobody write to read-only memory through /proc (half of the seeds)
CYCLES=N      so many cycles in a row (5)
PATIENCE=N    the guest may be N times as slow as the machine itself (8)
"""
import os
import random
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from disk import REPOSITORY, SUITE, kernel_files
from guest import Guest
from scenario import Phases, guest_disk, main
from tree import Tree

BUILD = Path(os.environ.get("KERNEL_SWAP_BUILD", REPOSITORY / "build")).resolve() / "tests/roundtrip"
SCRIPTS = REPOSITORY / "tests/roundtrip/programs"
PLACE = "/var/lib/passage"
SHARE = int(os.environ.get("SHARE", "16"))
SEED = int(os.environ.get("SEED", random.randrange(1000)))
NAMES = os.environ.get("NAMES", "").split(",")
FROM = os.environ.get("FROM", "6.1")
TO = os.environ.get("TO", "newest" if SEED % 2 else "6.12")
STRICT = "proc_mem.force_override=never" if int(os.environ.get("STRICT", SEED // 2 % 2)) else ""
CYCLES = int(os.environ.get("CYCLES", "5"))
PATIENCE = int(os.environ.get("PATIENCE", "8"))
MODES = os.environ.get("MODES", "Restored,LeftRunning,LeftRunningThenRestored,RestoredAgainAndAgain").split(",")
LIMIT = 3600
PARALLEL = 2  # one for each CPU of the guest
PARTS = PARALLEL * SHARE
SLOW = 20  # seconds
RINGS_CHANGE = SUITE == "bookworm" and FROM == "6.1" != TO


def place_programs(tree, drivers=("roundtrip_tests",)):
    for program in BUILD.iterdir():
        other_tests = program.name.endswith("_tests") and program.name not in drivers
        if program.is_file() and os.access(program, os.X_OK) and not other_tests:
            tree.copy(program, str(program))
            subprocess.run(["strip", "--strip-debug", tree.path / str(program).lstrip("/")], check=True)
    for script in SCRIPTS.glob("*.py"):
        tree.copy(script, str(script))


def in_parts(guest, command):
    """What `command`, to which PART is known, says, and whether all went well."""
    def run(number):
        part = SEED % SHARE * PARALLEL + number
        return guest.run(f"export PATIENCE={PATIENCE} CYCLES={CYCLES} PART={part} PARTS={PARTS}\n{command}", LIMIT, check=False)
    with ThreadPoolExecutor(PARALLEL) as pool:
        done = list(pool.map(run, range(PARALLEL)))
    return "".join(part.stdout for part in done), all(part.status == 0 for part in done)


class RoundTrips:
    """Goes on after a failure, so that one run tells all of them."""

    def __init__(self, guest):
        self.guest, self.failures = guest, []

    def here(self):
        """On the kernel that runs."""
        tests = ":".join(f"*.{mode}/{name}*" for mode in MODES for name in NAMES)
        output, good = in_parts(self.guest, f"GTEST_TOTAL_SHARDS=$PARTS GTEST_SHARD_INDEX=$PART "
                                            f"{BUILD}/roundtrip_tests --gtest_filter='{tests}'")
        for reason in sorted(set(re.findall(r"^skipped: (.*)", output, re.MULTILINE))):
            print(f"    skipped: {reason}")
        for name, milliseconds in re.findall(r"^\[ .* \] Programs/RoundTrip\.(\S+).* \((\d+) ms\)", output, re.MULTILINE):
            if int(milliseconds) > SLOW * 1000:
                print(f"    slow: {name}: {int(milliseconds) // 1000} s")
        passed = output.count("[       OK ]")
        print(f"    {passed} passed", flush=True)
        failed = re.findall(r"^\[ RUN      \] (?:(?!^\[ RUN|^\[---).)*?^\[  FAILED  \] .*?$", output, re.MULTILINE | re.DOTALL)
        self.note(failed or [] if good else failed or [output[-5000:]])
        assert passed > 0, output[-5000:]

    def passage(self, what, next_release):
        """Dumps here, or restores here; returns how many."""
        output, good = in_parts(self.guest, f"export NEXT_KERNEL=/boot/vmlinuz-{next_release}\n" + " && ".join(
            f"{BUILD}/passage {what} {PLACE} $PART $PARTS {name}" for name in NAMES))
        lines = re.split(r"^(?=\w+: )", output, flags=re.MULTILINE)
        passed = [line for line in lines if line.endswith(": ok\n")]
        lacking = [line for line in lines if line.endswith(": this kernel lacks it\n")]
        foretold = [line for line in lines if line.endswith(": the next kernel lacks it\n")]
        print(f"    {len(passed)} programs" + (f", {len(lacking)} of what this kernel lacks" if lacking else "") +
              (f", {len(foretold)} refused" if foretold else ""), flush=True)
        assert not foretold or RINGS_CHANGE, foretold
        failed = [line for line in lines if line.strip() and line not in passed + lacking + foretold and ": skipped: " not in line]
        self.note(failed or [] if good else failed or ["passage ended: " + output[-5000:]])
        return len(passed) + len(lacking)

    def note(self, failures):
        for failure in failures:
            print("    FAILED: " + failure, flush=True)
        if failures:  # of what died by a signal it may say why
            print("    the kernel: " + self.guest.run("dmesg | grep -v audit: | tail -n 20", check=False).stdout, flush=True)
        self.failures += failures


def release_of(kernels, version):
    return kernel_files(kernels, version)[0].name.removeprefix("vmlinuz-")


def swap_kernels(guest, kernels, version, append=""):
    release = release_of(kernels, version)
    guest.run(f"kexec -s -l /boot/vmlinuz-{release} --initrd=/boot/initrd.img-{release} --append=\"$(cat /proc/cmdline) {append}\"")
    guest.leave("systemctl --no-block kexec")
    assert guest.run("uname -r").stdout.strip() == release, "kexec led to another kernel"


def scenario():
    print(f"  SEED={SEED} SHARE={SHARE} FROM={FROM} TO={TO} {STRICT} CYCLES={CYCLES} PATIENCE={PATIENCE}")
    phases = Phases()
    with phases("disk"), Tree() as tree:
        place_programs(tree)
        image, kernels = guest_disk(tree.path)
    with Guest(image, kernels, FROM) as guest:
        trips = RoundTrips(guest)
        with phases(f"boot {FROM}"):
            guest.wait_for_boot()
        with phases(f"round trips on {FROM}"):
            trips.here()
        # Processes of the next kernel are to take none of these.
        guest.run("echo 4194304 > /proc/sys/kernel/pid_max; echo 2000000 > /proc/sys/kernel/ns_last_pid")
        with phases(f"dump on {FROM}"):
            dumped = trips.passage("dump", release_of(kernels, TO))
        with phases(f"kexec to {TO}"):
            swap_kernels(guest, kernels, TO, STRICT)
        # Nor are those who live already, as kernel-swap sees to it at boot.
        guest.run("echo 4194304 > /proc/sys/kernel/pid_max; echo 3000000 > /proc/sys/kernel/ns_last_pid;"
                  "echo 64 > /proc/sys/vm/nr_hugepages")
        with phases(f"restore on {TO}"):
            restored = trips.passage("restore", release_of(kernels, TO))
        with phases(f"round trips on {TO}"):
            trips.here()
        assert not trips.failures, f"{len(trips.failures)} failed"
        assert restored == dumped, f"{dumped} dumped, {restored} restored"
        assert dumped > 0 or RINGS_CHANGE  # which may be all that was asked for


if __name__ == "__main__":
    sys.exit(main(scenario))
