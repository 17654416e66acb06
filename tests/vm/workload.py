# SPDX-License-Identifier: LGPL-2.1-or-later
"""The services of tests/vm/services in a guest: placing them, marking them, watching them.

    counter.service   C++: threads, vector registers, a child, pipes, shared memory; checks itself
    ledger.service    an unmodified python3 that runs a script as another user
    witness.service   After=counter.service; notes down how it found it
"""
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from disk import REPOSITORY, kernel_files
from guest import GuestError

SOURCE = REPOSITORY / "tests/vm/services"
PROGRAMS = "/usr/lib/test-services"
MARKED = ("counter.service", "ledger.service")


def build_directory():
    return Path(os.environ.get("KERNEL_SWAP_BUILD", REPOSITORY / "build"))


def place(tree):
    """Units and programs onto the disk; enabled, so that each boot starts them."""
    for unit in (*MARKED, "witness.service"):
        tree.unit(unit, (SOURCE / unit).read_text())
    tree.copy(build_directory() / "tests/vm/services/counter", f"{PROGRAMS}/counter")
    tree.copy(SOURCE / "ledger.py", f"{PROGRAMS}/ledger.py", 0o644)
    tree.copy(SOURCE / "witness", f"{PROGRAMS}/witness")


def parse_fields(text):
    """KEY=VALUE words; numbers as numbers."""
    fields = dict(re.findall(r"(\w+)=(\S*)", text))
    return {key: float(value) if re.fullmatch(r"\d+(\.\d+)?", value) else value for key, value in fields.items()}


@dataclass
class Line:
    """What a service printed, as the journal has it."""
    boot: str
    pid: int
    text: str

    @property
    def fields(self):
        return parse_fields(self.text)


@dataclass
class Sight:
    """A service at one moment."""
    boot: str
    kernel: str
    uptime: float
    main_pid: int
    threads: dict  # of each process: its thread ids
    command: list


class Workload:
    def __init__(self, guest, kernels):
        self.guest, self.kernels = guest, kernels

    def release(self, version):
        """"6.12" as `uname -r` says it."""
        return kernel_files(self.kernels, version)[0].name[len("vmlinuz-"):]

    def mark(self):
        self.guest.run("kernel-swap enable " + " ".join(MARKED))

    def lines(self, unit):
        """Of all boots, oldest first."""
        out = self.guest.run(f"journalctl -q -u {unit} -o json --output-fields=MESSAGE,_PID,_BOOT_ID,_SYSTEMD_UNIT").stdout
        entries = [json.loads(line) for line in out.splitlines()]
        return [Line(entry["_BOOT_ID"], int(entry["_PID"]), entry["MESSAGE"]) for entry in entries
                if entry.get("_SYSTEMD_UNIT") == unit]

    def reports(self, unit):
        """The lines of the service in its present life; any that says FAIL is an error."""
        name = unit.removesuffix(".service")
        lines = self.lines(unit)
        failures = [line.text for line in lines if "FAIL" in line.text]
        assert not failures, f"{unit}: {failures[:5]}"
        mine = [line for line in lines if line.text.startswith(name + " ")]
        starts = [at for at, line in enumerate(mine) if line.fields["line"] == 1]
        return mine[starts[-1]:] if starts else []

    def wait_for_reports(self, count, timeout=180, units=MARKED):
        """Until each of these services has printed so many lines in this boot."""
        for unit in units:
            name = unit.removesuffix(".service")
            wait = f"until [ $(journalctl -q -b -u {unit} -o cat | grep -c '^{name} line=') -ge {count} ]; do sleep 0.5; done"
            if self.guest.run(wait, timeout, check=False).status != 0:
                raise GuestError(f"{unit} prints nothing:\n{self.lines(unit)[-5:]}")

    def look(self, unit):
        out = self.guest.run(
            f"cat /proc/sys/kernel/random/boot_id; uname -r; cut -d' ' -f1 /proc/uptime;"
            f"systemctl show -P MainPID {unit};"
            f"for pid in $(cat /sys/fs/cgroup/system.slice/{unit}/cgroup.procs); do echo $pid $(ls /proc/$pid/task); done;"
            f"echo --; tr '\\0' '\\n' < /proc/$(systemctl show -P MainPID {unit})/cmdline").stdout
        facts, command = out.split("--\n")
        boot, kernel, uptime, main_pid, *processes = facts.splitlines()
        threads = {int(pid): [int(tid) for tid in tids] for pid, *tids in map(str.split, processes)}
        assert int(main_pid) in threads, f"{unit}: its main process is not in its control group"
        return Sight(boot.replace("-", ""), kernel, float(uptime), int(main_pid), threads, command.splitlines())

    def look_at_all(self):
        return {unit: self.look(unit) for unit in MARKED}

    def leave(self, command):
        """A command that ends this boot; returns in the next one, in which nothing has failed."""
        _, state = self.guest.leave(command)
        assert state == "running", self.guest.run("systemctl --failed", check=False).stdout + self.story()

    def swap(self, version):
        self.leave(f"kernel-swap now --kernel={self.release(version)}")

    def status(self):
        """(exit status, what `kernel-swap status --json` says)"""
        out = self.guest.run("kernel-swap status --json", check=False)
        return out.status, json.loads(out.stdout)

    def story(self):
        """For the reader of a failed test."""
        return self.guest.run("kernel-swap status; cat /var/lib/kernel-swap/*/journal;"
                              "journalctl -q -b -o short-monotonic -u 'kernel-swap*' -u counter -u ledger | grep -v ' line='",
                              check=False).stdout

    def assert_went_on(self, unit, before, version):
        """That the service seen `before` runs on under the kernel, and nothing is missing; returns its pause."""
        now = self.look(unit)
        assert now.boot != before.boot, "this is the same boot"
        assert now.kernel == self.release(version), f"kernel {now.kernel}"
        story = f"{unit}:\n{before}\n{now}\n{self.story()}"
        assert (now.main_pid, now.threads, now.command) == (before.main_pid, before.threads, before.command), story

        status = self.guest.run(f"systemctl status --no-pager -n 0 {unit}").stdout
        assert re.search(r"Active: active \(running\)", status), status
        assert re.search(rf"Main PID: {before.main_pid} \(", status), status

        lines = self.reports(unit)
        old = [line for line in lines if line.boot == before.boot]
        new = [line for line in lines if line.boot == now.boot]
        assert old and new, f"lines of the old boot: {len(old)}, of the new one: {len(new)}\n{story}"
        assert {line.pid for line in old + new} == {before.main_pid}, "lines of another process"
        assert_continuous(unit, old + new)
        return new[0].fields["at"] - old[-1].fields["at"]


def assert_continuous(unit, lines):
    """Every line is there once, no counter goes back, the monotonic clock goes on."""
    for earlier, later in zip(lines, lines[1:]):
        one, next_one = earlier.fields, later.fields
        pair = f"{unit}:\n{earlier.text}\n{later.text}"
        assert next_one["line"] == one["line"] + 1, "a line is missing or comes twice: " + pair
        for key, value in one.items():
            assert next_one[key] >= value, f"{key} goes back: " + pair
        # Not the length of a swap, but that of the dump and of the restore counts: seconds, on a busy emulated machine more.
        assert next_one["up"] - one["up"] < 120, "the monotonic clock jumps: " + pair
