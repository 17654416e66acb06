#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Restorer, engine and placeholder are killed at one instant or another of a restore. Each service ends restored or started
afresh: never half alive, never twice; the machine is booted, and nothing is left behind."""
import sys

import victims
from guest import Guest
from scenario import Phases, guest_disk, main
from tree import Tree
from victims import UNITS, Victims

FAULTS = "/etc/faults"

# Stands in the place of a program of ours and becomes it; its child kills what it is told to when the time has come.
# WHOM: self, child (of the program), main (the unit's main process). WHEN: a shell condition.
SABOTAGED = r"""#!/bin/bash
program=$0 unit=$1 main=$3
order=/etc/faults/$unit
if [ -e $order ]; then
    { read -r whom; read -r when; } < $order
    swap=$(ls -d /var/lib/kernel-swap/0* | tail -n 1)
    rm $order
    sync /etc/faults
    target=$$
    (
        me=$BASHPID
        attempted() { [ "$(cat $swap/pending/$unit)" = 1 ]; }
        used() { [ ! -e $swap/pending/$unit ]; }
        until eval "$when" || [ ! -e /proc/$target ]; do sleep 0.01; done 2> /dev/null
        case $whom in
            self) kill -9 $target ;;
            child) kill -9 $(cat /proc/$target/task/*/children | tr ' ' '\n' | grep -vx $me) ;;
            main) kill -9 $main ;;
        esac
        echo "FAULT: $program $unit: $whom when $when" > /dev/kmsg
    ) < /dev/null &
fi
exec $program.real "$@"
"""

RESTORE_FAULTS = {
    "victim-a.service": ("self", "attempted"),
    "victim-b.service": ("self", "used"),
    "victim-c.service": ("main", "attempted"),
    "victim-d.service": ("child", "used"),
    "victim-e.service": ("main", "used"),
}


def order(guest, faults):
    for unit, (whom, when) in faults.items():
        guest.put(f"{FAULTS}/{unit}", f"{whom}\n{when}\n")
    guest.run("sync")


def scenario():
    phases = Phases()
    with phases("disk"), Tree() as tree:
        victims.place(tree)
        victims.replace_program(tree, "restore", SABOTAGED)
        image, kernels = guest_disk(tree.path)
    with Guest(image, kernels, "6.1") as guest:
        services = Victims(guest)
        with phases("boot"):
            guest.wait_for_boot()
        guest.run("kernel-swap enable " + " ".join(UNITS))

        lives = services.lives()
        order(guest, RESTORE_FAULTS)
        with phases("restorer, engine and placeholder are killed"):
            guest.leave("systemctl --no-block reboot")
        services.assert_sound(lives, {"victim-f.service": "restored"})


if __name__ == "__main__":
    sys.exit(main(scenario))
