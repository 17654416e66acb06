#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Restorer, engine and placeholder are killed at one instant or another of a restore. Each service ends restored or started
afresh: never half alive, never twice; the machine is booted, and nothing is left behind."""
import json
import os
import sys
import time
from collections import Counter
from pathlib import Path

from guest import Guest
from scenario import Phases, guest_disk, main
from tree import Tree

LIBEXEC = "/usr/lib/kernel-swap"
FAULTS = "/etc/faults"
UNITS = [f"victim-{letter}.service" for letter in "abcdef"]

# A life is a random name in memory, and counts its lines: what comes back twice writes a line twice. Some have a control
# group of their own, which must not be there yet when a life begins.
VICTIM = r"""
import os, sys, time, uuid
name, life, line = sys.argv[1], uuid.uuid4().hex, 0
if sys.argv[2] == "yes":
    with open("/proc/self/cgroup") as file:
        group = "/sys/fs/cgroup" + file.read().split("0::")[1].strip() + "/inner"
    os.mkdir(group)
    with open(f"{group}/cgroup.procs", "w") as file:
        file.write("0")
with open(f"/var/lib/victim-{name}", "a", buffering=1) as file:
    while True:
        line += 1
        file.write(f"{life} {line} {os.getpid()}\n")
        time.sleep(0.1)
"""
UNIT = """[Service]
ExecStart=/usr/bin/python3 /usr/lib/victim.py {0} {2}
RuntimeDirectory=%N
Restart={1}
Delegate={2}
RestartSec=1
"""

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
LEFTOVERS = """
find /run/systemd /etc/systemd/system -name '99-kernel-swap*'
find /var/lib/kernel-swap -path '*/pending/*' -o -name open -o -name '*.partial'
find /var/lib/kernel-swap -maxdepth 1 -name '0*' | sort | head -n -1
find /run/kernel-swap -mindepth 1 ! -name pid-floor
pgrep -a placeholder
"""


class Victims:
    def __init__(self, guest):
        self.guest = guest

    def lines(self, unit):
        """(life, line, pid) of each line."""
        text = self.guest.get(f"/var/lib/{unit.removesuffix('.service')}").decode(errors="replace")
        return [tuple(words) for words in map(str.split, text.splitlines()) if len(words) == 3 and len(words[0]) == 32]

    def lives(self):
        return {unit: self.lines(unit)[-1][0] for unit in UNITS}

    def story(self):
        return self.guest.run("kernel-swap status; cat /var/lib/kernel-swap/*/journal; systemctl --failed; dmesg | grep FAULT;"
                              "journalctl -q -b -o short-monotonic -u 'kernel-swap*' -u 'victim*' | tail -n 80", check=False).stdout

    def assert_sound(self, before, expected=None):
        """`before`: the lives that there were. `expected`: what must have become of some units."""
        deadline = time.monotonic() + 120
        while self.guest.run("systemctl is-active " + " ".join(UNITS), check=False).stdout != "active\n" * len(UNITS):
            assert time.monotonic() < deadline, self.story()
            time.sleep(1)
        told = json.loads(self.guest.run("kernel-swap status --json", check=False).stdout)
        states = {unit["unit"]: unit["state"] for unit in told["units"]}
        count = {unit: len(self.lines(unit)) for unit in UNITS}
        time.sleep(1)
        for unit in UNITS:
            pids = self.guest.run(f"find /sys/fs/cgroup/system.slice/{unit} -name cgroup.procs | xargs cat").stdout.split()
            main = self.guest.run(f"systemctl show -P MainPID {unit}").stdout.strip()
            everywhere = self.guest.run(f"pgrep -f 'victim.py {unit[7]} '").stdout.split()
            lines = self.lines(unit)
            context = f"{unit} ({states.get(unit)}):\n{self.story()}"
            assert pids == [main] == everywhere, f"processes {pids}, main {main}, everywhere {everywhere}: {context}"
            assert len(lines) > count[unit] and lines[-1][2] == main, f"it does not run: {context}"
            twice = [line for line, times in Counter(line[:2] for line in lines).items() if times > 1]
            assert not twice, f"lived twice: {twice[:3]}: {context}"
            went_on = lines[-1][0] == before[unit]
            assert went_on == (states.get(unit) == "restored"), f"went on: {went_on}: {context}"
            if expected and unit in expected:
                assert states.get(unit) == expected[unit], f"expected {expected[unit]}: {context}"
        left = self.guest.run(LEFTOVERS, check=False).stdout
        assert left == "", f"left behind: {left}{self.story()}"
        print(f"    {' '.join(f'{unit[7]}:{states.get(unit)}' for unit in UNITS)}", flush=True)


def order(guest, faults):
    for unit, (whom, when) in faults.items():
        guest.put(f"{FAULTS}/{unit}", f"{whom}\n{when}\n")
    guest.run("sync")


def reboot(guest):
    guest.leave("systemctl --no-block reboot")


def scenario():
    phases = Phases()
    with phases("disk"), Tree() as tree:
        tree.file("/usr/lib/victim.py", VICTIM)
        for unit in UNITS:
            letter = unit[7]
            tree.unit(unit, UNIT.format(letter, "no" if letter in "ab" else "always", "yes" if letter in "bcdf" else "no"))
        installed = Path(os.environ["KERNEL_SWAP_DESTDIR"])
        tree.copy(f"{installed}{LIBEXEC}/restore", f"{LIBEXEC}/restore.real")
        tree.file(f"{LIBEXEC}/restore", SABOTAGED, 0o755)
        image, kernels = guest_disk(tree.path)
    with Guest(image, kernels, "6.1") as guest:
        victims = Victims(guest)
        with phases("boot"):
            guest.wait_for_boot()
        guest.run("kernel-swap enable " + " ".join(UNITS))

        lives = victims.lives()
        order(guest, RESTORE_FAULTS)
        with phases("restorer, engine and placeholder are killed"):
            reboot(guest)
        victims.assert_sound(lives, {"victim-f.service": "restored"})


if __name__ == "__main__":
    sys.exit(main(scenario))
