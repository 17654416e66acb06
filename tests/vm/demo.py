#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What tools/demo shows: two services, a kernel swap, and the same two services."""
import sys

import workload
from guest import Guest
from scenario import Phases, guest_disk, main
from tree import Tree
from workload import MARKED, Workload

SECONDS_OF_LIFE = 10


def shorter(line):
    return line if len(line) <= 110 else line[:107] + "..."


def print_machine(before, after):
    print(f"  {'':10}{'before':34}after")
    print(f"  {'uname -r':10}{before.kernel:34}{after.kernel}")
    print(f"  {'uptime':10}{f'{before.uptime:.0f} s':34}{after.uptime:.0f} s")
    print(f"  {'boot':10}{before.boot[:8]:34}{after.boot[:8]}")


def print_service(services, unit, before, after, pause):
    lines = services.reports(unit)
    last = [line for line in lines if line.boot == before.boot][-1]
    first = [line for line in lines if line.boot == after.boot][0]
    threads = sum(map(len, after.threads.values()))
    print(f"\n{unit}: {' '.join(after.command)}")
    print(f"  main PID {before.main_pid} -> {after.main_pid}; PIDs {' '.join(map(str, sorted(before.threads)))} -> "
          f"{' '.join(map(str, sorted(after.threads)))}; {threads} threads, the same TIDs")
    print(f"  last line before  {shorter(last.text)}")
    print(f"  first line after  {shorter(first.text)}")
    print(f"  pause {pause:.1f} s by its own clock; {len(lines)} lines in the journal, none missing, no counter restarted")


def scenario():
    phases = Phases()
    print("== guest")
    with phases("disk (the first time: make a Debian guest)"), Tree() as tree:
        workload.place(tree)
        image, kernels = guest_disk(tree.path)
    with Guest(image, kernels, "6.1") as guest:
        services = Workload(guest, kernels)
        with phases("boot with 6.1"):
            guest.wait_for_boot()
        with phases("mark both services: kernel-swap enable " + " ".join(MARKED)):
            services.mark()
        with phases("let them run"):
            services.wait_for_reports(SECONDS_OF_LIFE)
        before = services.look_at_all()
        swap = f"kernel-swap now --kernel={services.release('6.12')}"
        with phases(swap):
            services.swap("6.12")
        with phases("let them run on"):
            services.wait_for_reports(SECONDS_OF_LIFE // 2)
        with phases("compare"):
            pauses = {unit: services.assert_went_on(unit, before[unit], "6.12") for unit in MARKED}
            after = services.look_at_all()
            status = guest.run("kernel-swap status").stdout
        print("\n== a kernel swap")
        print_machine(before[MARKED[0]], after[MARKED[0]])
        for unit in MARKED:
            print_service(services, unit, before[unit], after[unit], pauses[unit])
        print(f"\nkernel-swap status:\n{status}", end="")
        print(f"\nBoth services went on under the new kernel; {phases.seconds[swap]:.0f} s from the command to the end of the boot.")


if __name__ == "__main__":
    sys.exit(main(scenario))
