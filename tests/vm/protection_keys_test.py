#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Protection keys of memory (pkeys(7)) need a processor that has them, which the guest of the other scenarios has not: every
way of being dumped and restored on 6.1 and on 6.12, from the one to the other, and on a kernel that does without them."""
import random
import sys

from guest import Guest
from roundtrips_test import BUILD, place_programs, swap_kernels
from scenario import Phases, guest_disk, main
from tree import Tree

PLACE = "/var/lib/passage"
LIMIT = 600
MODES = "*.Restored*/protection_keys*:*.LeftRunning/protection_keys*:*.Unharmed*/protection_keys_last"


def tested(guest, program, filters):
    """How many have passed; all of them."""
    done = guest.run(f"PATIENCE=8 CYCLES=3 {BUILD}/{program} --gtest_filter='{filters}'", LIMIT, check=False)
    passed = done.stdout.count("[       OK ]")
    assert done.status == 0 and passed > 0 and "skipped:" not in done.stdout, done.stdout[-8000:] + done.stderr[-2000:]
    print(f"    {passed} passed", flush=True)


def passage(guest, what):
    """What it says of each program."""
    output = "".join(guest.run(f"PATIENCE=8 {BUILD}/passage {what} {PLACE} 0 1 {name}", LIMIT, check=False).stdout
                     for name in ("protection_keys", "floating_point"))
    said = dict(line.split(": ", 1) for line in output.splitlines() if ": " in line)
    assert len(said) == 4, output
    return said


def scenario():
    phases = Phases()
    with phases("disk"), Tree() as tree:
        place_programs(tree, ("roundtrip_tests", "refusal_tests"))
        image, kernels = guest_disk(tree.path)
    with Guest(image, kernels, "6.1", cpu="Skylake-Server,-cx16") as guest:
        with phases("boot 6.1"):
            guest.wait_for_boot()
        assert "ospke" in guest.run("cat /proc/cpuinfo").stdout, "the processor has no protection keys"
        chosen = random.choice(("6.1", "6.12"))  # each takes its time
        for kernel in ("6.1", "6.12"):
            if kernel == chosen:
                with phases(f"round trips on {kernel}"):
                    tested(guest, "roundtrip_tests", MODES)
                    tested(guest, "refusal_tests", "*stack_with_protection_key:*thread_that_may_not_write")
            guest.run("echo 4194304 > /proc/sys/kernel/pid_max; echo 2000000 > /proc/sys/kernel/ns_last_pid")
            said = passage(guest, "dump")
            assert set(said.values()) == {"ok"}, said
            last = kernel == "6.12"
            with phases("kexec to 6.12"):
                swap_kernels(guest, kernels, "6.12", "nopku" if last else "")
            guest.run("echo 4194304 > /proc/sys/kernel/pid_max")
            said = passage(guest, "restore")
            print(f"    {said}", flush=True)
            assert said.pop("floating_point") == "ok", said
            if last:
                assert all("which this processor or kernel does not have" in text for text in said.values()), said
            else:
                assert set(said.values()) == {"ok"}, said
            guest.run(f"rm -rf {PLACE}")


if __name__ == "__main__":
    sys.exit(main(scenario))
