# SPDX-License-Identifier: LGPL-2.1-or-later
"""Services that a swap carries while what takes part in it is killed."""
import json
import os
import time
from collections import Counter
from pathlib import Path

LIBEXEC = "/usr/lib/kernel-swap"
UNITS = [f"victim-{letter}.service" for letter in "abcdef"]

# A life is a random name in memory, and counts its lines: what comes back twice writes a line twice. Some have a control
# group of their own, which must not be there yet when a life begins. Neither must what a life of another boot has written
# below /run, which that keeps.
VICTIM = r"""
import os, socket, sys, time, uuid
name, life, line = sys.argv[1], uuid.uuid4().hex, 0
with open("/proc/sys/kernel/random/boot_id") as file:
    boot = file.read()
own = f"/run/own-{name}/own.pid"
os.makedirs(os.path.dirname(own), exist_ok=True)
words = open(own).read().split() if os.path.exists(own) else []
if len(words) == 3 and words[1] != boot.strip():
    with open(f"/var/lib/victim-{name}", "a") as file:
        file.write("stale\n")
with open(own, "w") as file:
    file.write(f"{os.getpid()}\n{boot}{life}\n")
listener = socket.create_server(("127.0.0.1", 7000 + ord(name[-1])))  # something to hold
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
ExecStop=/bin/sh -c 'echo stopped >> /var/lib/%N'
RuntimeDirectory=%N
Restart={1}
Delegate={2}
RestartSec=1
"""

LEFTOVERS = """
find /run/systemd /etc/systemd/system -name '99-kernel-swap*'
find /var/lib/kernel-swap -path '*/pending/*' -o -name open -o -name '*.partial'
find /var/lib/kernel-swap -maxdepth 1 -name '0*' | sort | head -n -1
find /run/kernel-swap -mindepth 1 ! -name pid-floor
pgrep -a placeholder
nft list tables | grep kernel_swap
systemctl -q is-active kernel-swap-hold.service && echo the hold is active
"""


class Victims:
    def __init__(self, guest):
        self.guest = guest
        self.swap = ""

    def text(self, unit):
        return self.guest.get(f"/var/lib/{unit.removesuffix('.service')}").decode(errors="replace")

    def lines(self, unit):
        """(life, line, pid) of each line; a power cut may leave a piece of one."""
        lines = map(str.split, self.text(unit).splitlines())
        return [tuple(words) for words in lines if len(words) == 3 and len(words[0]) == 32]

    def outlived(self, unit):
        """Lives that went on after ExecStop= had been run for them; one that is about to end may still write some lines."""
        parts = [Counter(line.split()[0] for line in part.splitlines() if line) for part in self.text(unit).split("stopped\n")]
        return [life for before, after in zip(parts, parts[1:]) for life in before if after[life] > 20]

    def lives(self):
        return {unit: self.lines(unit)[-1][0] for unit in UNITS}

    def story(self):
        return self.guest.run("kernel-swap status; cat /var/lib/kernel-swap/*/journal; systemctl --failed; dmesg | grep FAULT;"
                              "journalctl -q -b -o short-monotonic -u 'kernel-swap*' -u 'victim*' | tail -n 80", check=False).stdout

    def assert_sound(self, before, expected=None):
        """`before`: the lives that there were. `expected`: what must have become of some units, None if no swap was to be."""
        deadline = time.monotonic() + 120
        while self.guest.run("systemctl is-active " + " ".join(UNITS), check=False).stdout != "active\n" * len(UNITS):
            assert time.monotonic() < deadline, self.story()
            time.sleep(1)
        told = json.loads(self.guest.run("kernel-swap status --json", check=False).stdout)
        states = {unit["unit"]: unit["state"] for unit in told["units"]}
        happened, self.swap = told["swap"] != self.swap, told["swap"]
        assert happened == (expected is not None), self.story()
        if not happened:
            states = {}
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
            # One that came back, and then was killed, has left its file as after any end.
            assert "stale" not in self.text(unit) or states.get(unit) == "failed", f"it found a file of its former life: {context}"
            own = self.guest.run(f"cat /run/own-{unit[7]}/own.pid", check=False).stdout.split()
            assert (own[0], own[2]) == (main, lines[-1][0]), f"its file is {own}: {context}"
            assert not self.outlived(unit), f"stopped, and carried over: {context}"
            went_on = lines[-1][0] == before[unit]
            assert went_on == (states.get(unit) == "restored"), f"went on: {went_on}: {context}"
            if expected and unit in expected:
                assert states.get(unit) == expected[unit], f"expected {expected[unit]}: {context}"
        left = self.guest.run(LEFTOVERS, check=False).stdout
        assert left == "", f"left behind: {left}{self.story()}"
        print(f"    {' '.join(f'{unit[7]}:{states.get(unit)}' for unit in UNITS)}", flush=True)


def place(tree):
    tree.file("/usr/lib/victim.py", VICTIM)
    for unit in UNITS:
        letter = unit[7]
        tree.unit(unit, UNIT.format(letter, "no" if letter in "ab" else "always", "yes" if letter in "bcdf" else "no"))


def replace_program(tree, program, text):
    """The real one is called PROGRAM.real then."""
    installed = Path(os.environ["KERNEL_SWAP_DESTDIR"])
    tree.copy(f"{installed}{LIBEXEC}/{program}", f"{LIBEXEC}/{program}.real")
    tree.file(f"{LIBEXEC}/{program}", text, 0o755)
