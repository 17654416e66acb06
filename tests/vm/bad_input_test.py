#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What cannot be done is one clear line and the right exit status; services run on, and nothing is left behind."""
import re
import sys

import workload
from guest import Guest
from scenario import Phases, guest_disk, main
from tree import Tree
from workload import MARKED, Workload

FAILED, USAGE, REFUSED = 1, 2, 3
DROP_IN = "/etc/systemd/system/ledger.service.d/60-wrong.conf"
LEFTOVERS = """
find /run/kernel-swap /var/lib/kernel-swap /run/systemd/system /etc/systemd/system /var/bad /var/tmp /mnt | sort
find /sys/fs/cgroup -type d | grep -v user.slice | sort
nft list ruleset
cat /sys/kernel/kexec_loaded
for unit in counter ledger; do
    group=/sys/fs/cgroup/system.slice/$unit.service
    grep frozen $group/cgroup.events
    for pid in $(cat $group/cgroup.procs); do grep -h -E '^(State:.*stopped|TracerPid)' /proc/$pid/task/*/status; done
done
true
"""


class Bad:
    """Runs what must fail, and compares the machine with what it was."""

    def __init__(self, services):
        self.services, self.guest = services, services.guest
        self.before = self.guest.run(LEFTOVERS).stdout
        self.sights = services.look_at_all()

    def __call__(self, command, status, *patterns):
        """`patterns`: one for each line of stderr."""
        out = self.guest.run(command, check=False)
        shown = f"{command}\nstatus {out.status}\n{out.stdout}{out.stderr}"
        lines = out.stderr.splitlines()
        assert out.status == status, f"wanted status {status}: {shown}"
        assert len(lines) == len(patterns), f"wanted {len(patterns)} lines of error: {shown}"
        for line, pattern in zip(lines, patterns):
            assert re.search(pattern, line), f"wanted {pattern}: {shown}"

    def assert_unharmed(self, after):
        now = self.guest.run(LEFTOVERS).stdout
        left = set(now.splitlines()) ^ set(self.before.splitlines())
        assert now == self.before, f"left behind or gone after {after}: {left}"
        sights = self.services.look_at_all()
        for unit in MARKED:
            assert sights[unit].threads == self.sights[unit].threads, f"{unit} is not what it was before {after}"


def wrong_words(bad):
    bad("kernel-swap", USAGE, "subcommand|verb")
    bad("kernel-swap frobnicate", USAGE, "frobnicate|subcommand|verb")
    bad("kernel-swap now --kernel", USAGE, "--kernel")
    bad("kernel-swap now --kernel=6.1 --kernel-image=/boot/x", USAGE, "--kernel")
    bad("kernel-swap now --kernel=0.99", FAILED, r"0\.99: no such kernel in /boot")
    bad("kernel-swap now --kernel-image=/nonexistent", FAILED, "/nonexistent: No such file")
    bad("kernel-swap checkpoint /var/tmp/x", USAGE, "--pid|--unit|what")
    bad("kernel-swap checkpoint --pid=x /var/tmp/x", USAGE, "--pid")


def wrong_units(bad):
    bad("kernel-swap check nothing.service", FAILED, "nothing.service: no such unit")
    bad("kernel-swap enable nothing.service", FAILED, "nothing.service: no such unit")
    bad("kernel-swap disable nothing.service", FAILED, "nothing.service: no such unit")
    bad("kernel-swap check dbus.socket", FAILED, "dbus.socket")
    bad("kernel-swap check redis-server.service", FAILED, "redis-server.service: not running")
    bad("kernel-swap checkpoint --unit=redis-server.service /var/tmp/x", FAILED, "redis-server.service: not running")
    bad("kernel-swap checkpoint --pid=999999 /var/tmp/x", FAILED, "999999")
    bad("kernel-swap check unready.service", REFUSED, r"unready.service: pid \d+: fd \d+ \(.*\): ")
    bad("kernel-swap checkpoint --unit=unready.service /var/tmp/x", REFUSED, r"unready.service: pid \d+: fd \d+ \(.*\): ")


def wrong_marks(bad):
    guest = bad.guest
    guest.put(DROP_IN, "[X-KernelSwap]\nCheckpoint=yes\nSpeed=fast\n")
    guest.run("systemctl daemon-reload")
    for verb in ("check", "now", "now --dry-run"):
        bad(f"kernel-swap {verb}", FAILED, rf'{DROP_IN}:3: unknown key "Speed"')
    guest.put(DROP_IN, "[X-KernelSwap]\nCheckpoint=maybe\n")
    bad("kernel-swap now", FAILED, rf'{DROP_IN}:2: Checkpoint="maybe"')
    guest.run(f"rm {DROP_IN}; kernel-swap enable unready.service")
    bad("kernel-swap now", REFUSED, r"unready.service: pid \d+: fd", "not every marked unit can be carried over")
    guest.run("kernel-swap disable unready.service")


def wrong_directories(bad):
    guest = bad.guest
    counter = "--unit=counter.service --leave-running"
    guest.run("mkdir -p /var/bad/there /mnt/small && touch /var/bad/there/file && chmod 700 /var/bad/there")
    guest.run("mount -t tmpfs -o size=1M none /mnt/small")
    guest.run(f"umask 077; kernel-swap checkpoint {counter} /var/bad/image")
    guest.run("for copy in damaged other later cut; do cp -a /var/bad/image /var/bad/$copy; done")
    guest.run(f"{workload.PROGRAMS}/forge /var/bad/other architecture s390x")
    guest.run(f"{workload.PROGRAMS}/forge /var/bad/later format 99")
    guest.run("f=$(ls -S /var/bad/damaged/pages-* | head -1); printf '\\377\\0\\377' | dd of=$f bs=1 seek=9000 conv=notrunc")
    guest.run("truncate -s -1 $(ls -S /var/bad/cut/pages-* | head -1)")
    look = "find /var/bad /mnt -printf '%p %i %m %u %s %l\\n' | sort"  # a directory's own time is not what matters
    files = guest.run(look).stdout

    bad(f"kernel-swap checkpoint {counter} /var/bad/there", FAILED, "/var/bad/there: .*exists")
    bad(f"kernel-swap checkpoint {counter} /var/bad/a/b/c", FAILED, "/var/bad/a/b.*: No such file or directory")
    bad(f"kernel-swap checkpoint {counter} /mnt/small/x", FAILED, "counter.service: .*No space left on device")
    for verb in ("restore", "inspect"):
        bad(f"kernel-swap {verb} /var/bad/nothing", FAILED, "/var/bad/nothing: No such file or directory")
        bad(f"kernel-swap {verb} /var/bad/there", FAILED, "/var/bad/there: not an image of kernel-swap")
        bad(f"kernel-swap {verb} /var/bad/there/file", FAILED, "/var/bad/there/file: Not a directory")
        bad(f"kernel-swap {verb} /var/bad/other", FAILED, "/var/bad/other: .*another architecture: s390x")
        bad(f"kernel-swap {verb} /var/bad/later", FAILED, "/var/bad/later: .*format 99")
        bad(f"kernel-swap {verb} /var/bad/cut", FAILED, "/var/bad/cut: pages-.*: damaged")
    # Its processes still run, so their PIDs are taken.
    bad("kernel-swap restore /var/bad/image", FAILED, "/var/bad/image: .*(PID|pid)")
    bad("kernel-swap restore /var/bad/damaged", FAILED, "/var/bad/damaged: ")
    left = set(guest.run(look).stdout.splitlines()) ^ set(files.splitlines())
    assert not left, f"left behind, gone or changed: {left}"
    guest.run("umount /mnt/small; rm -r /mnt/small /var/bad")


def no_permission(bad):
    everyone = "setpriv --reuid=daemon --regid=daemon --clear-groups "
    for verb in ("check", "now", "inspect /var/lib/kernel-swap", "checkpoint --unit=counter.service /tmp/x"):
        bad(everyone + "kernel-swap " + verb, FAILED, "root|[Pp]ermi")
    bad.guest.run("sysctl -q kernel.kexec_load_disabled=1")  # until the next boot
    bad("kernel-swap now", FAILED, "kexec_load_disabled is 1")
    bad("kernel-swap now --dry-run", FAILED, "kexec_load_disabled is 1")


def dispatcher(guest):
    """`systemctl kernel-swap` is ours, all else is systemctl's."""
    assert guest.run("command -v systemctl").stdout == "/usr/local/sbin/systemctl\n"
    ours = guest.run("systemctl kernel-swap --dry-run")
    assert "counter.service: ready" in ours.stdout and "ledger.service: ready" in ours.stdout, ours
    assert ours.stdout == guest.run("kernel-swap now --dry-run").stdout == guest.run("systemctl --dry-run kernel-swap").stdout
    assert guest.run("systemctl kernel-swap frobnicate", check=False).status == USAGE
    assert guest.run("systemctl -H elsewhere kernel-swap", check=False).status == USAGE
    for words in ("is-active counter", "is-active nothing", "status nothing", "frobnicate", "--frobnicate", "--version",
                  "list-units --all 'a b' ''", "show -P Id 'kernel-swap.service'", "cat -- kernel-swap", "is-enabled ledger"):
        real, passed = (guest.run(f"exec -a systemctl {path} {words}", check=False)
                        for path in ("/usr/bin/systemctl", "/usr/local/sbin/systemctl"))
        assert passed == real, f"systemctl {words}: {passed} instead of {real}"


def scenario():
    phases = Phases()
    with phases("disk"), Tree() as tree:
        workload.place(tree)
        tree.unit("unready.service", (workload.SOURCE / "unready.service").read_text())
        tree.copy(workload.build_directory() / "tests/vm/services/forge", f"{workload.PROGRAMS}/forge")
        image, kernels = guest_disk(tree.path)
    with Guest(image, kernels, "6.1") as guest:
        services = Workload(guest, kernels)
        with phases("boot 6.1"):
            guest.wait_for_boot()
        services.mark()
        services.wait_for_reports(3)
        with phases("dispatcher"):
            dispatcher(guest)
        bad = Bad(services)
        for part in (wrong_words, wrong_units, wrong_marks, wrong_directories, no_permission):
            with phases(part.__name__.replace("_", " ")):
                part(bad)
                bad.assert_unharmed(part.__name__)
        services.wait_for_reports(5)
        for unit in MARKED:
            workload.assert_continuous(unit, services.reports(unit))


if __name__ == "__main__":
    sys.exit(main(scenario))
