#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What dumps is killed, and the power cut, at one instant or another of a shutdown. Each service ends restored or started
afresh: never half alive, never twice; the machine is booted, and nothing is left behind.

SEED=N   the same instants again (random)
"""
import os
import random
import sys
import time

import victims
from guest import Guest
from scenario import Phases, guest_disk, main
from tree import Tree
from victims import UNITS, Victims

ORDER = "/etc/fault"
# strace stops it before it writes the line of that NUMBER into the journal of its swap, for good or for as long as it takes.
SABOTAGED = r"""#!/bin/bash
[ $# -eq 0 ] && [ -e /etc/fault ] || exec $0.real "$@"
read -r act number < /etc/fault
rm /etc/fault
sync /etc
last=$(ls /var/lib/kernel-swap/0*/manifest | tail -n 1 | tr -cd 0-9)
journal=/var/lib/kernel-swap/$(printf %06d $((10#0$last + 1)))/journal
case $act in
    kill) how=signal=KILL ;;
    power) how=delay_enter=600000000 ;;
esac
if [ $act = power ]; then
    (
        until [ -e $journal ] && [ $(wc -l < $journal) = $((number - 1)) ]; do sleep 0.05; done
        sleep 0.2
        echo CUT THE POWER > /dev/ttyS0
    ) &
fi
exec strace -qq -o /dev/null -P $journal -e trace=write -e inject=write:$how:when=$number $0.real
"""

# Lines of the journal: one for each unit that is frozen, one for each that is dumped, the commit, one for each killed.
FROZEN, DUMPED = 1, 1 + len(UNITS)
COMMITTED = 1 + 2 * len(UNITS)
LAST = COMMITTED + len(UNITS)


def outcome(act, line):
    """Of each unit; None: there was no swap."""
    if line < COMMITTED:
        return None
    ended = len(UNITS) if act == "power" else line - COMMITTED
    return {unit: "restored" if number < ended else "cold" for number, unit in enumerate(UNITS)}


def choose():
    seed = int(os.environ.get("SEED", random.randrange(1000)))
    print(f"  SEED={seed}")
    chance = random.Random(seed)
    # The instants just after the commit and just before the end are always tried.
    return [("kill", COMMITTED), ("kill", chance.randrange(COMMITTED + 1, LAST + 1)),
            ("kill", chance.randrange(FROZEN + 1, COMMITTED)),
            ("power", chance.choice([chance.randrange(DUMPED, COMMITTED), chance.randrange(COMMITTED, LAST + 1)]))]


def leave(guest, act):
    if act == "kill":
        guest.leave("systemctl --no-block reboot")
        return
    guest.run("systemctl --no-block reboot")
    deadline = time.monotonic() + 300
    while "CUT THE POWER" not in guest.console.read_text(errors="replace"):
        assert time.monotonic() < deadline, "the shutdown did not get so far"
        time.sleep(0.05)
    guest.stop()
    guest.start()
    guest.wait_for_boot()


def scenario():
    phases = Phases()
    with phases("disk"), Tree() as tree:
        victims.place(tree)
        victims.replace_program(tree, "shutdown", SABOTAGED)
        image, kernels = guest_disk(tree.path)
    with Guest(image, kernels, "6.1") as guest:
        services = Victims(guest)
        with phases("boot"):
            guest.wait_for_boot()
        guest.run("kernel-swap enable " + " ".join(UNITS))
        for act, line in choose():
            lives = services.lives()
            guest.put(ORDER, f"{act} {line}\n")
            guest.run("sync")
            with phases(f"{act} before line {line}"):
                leave(guest, act)
            services.assert_sound(lives, outcome(act, line))


if __name__ == "__main__":
    sys.exit(main(scenario))
