#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Other ways into the next boot, none of which needs a command of ours: a reboot, a kexec typed by hand; images that are
damaged on the way; and a service that cannot be carried just when the swap comes to it, but soon after."""
import sys

import workload
from guest import Guest
from scenario import Phases, guest_disk, main
from tree import Tree
from workload import MARKED, Workload

HERD = "herd.service"
# systemd knows no main process of it, and ends none when it stops it.
HERD_UNIT = """[Unit]
Description=Some of whom none is the main one
[Service]
Type=forking
GuessMainPID=no
KillMode=process
ExecStart=/bin/sh -c "sleep infinity & sleep infinity &"
[Install]
WantedBy=multi-user.target
"""

# It learns of each swap, and reads that only two seconds later; what it has not read cannot be put back.
LATE = "late.service"
LATE_PROGRAM = """#!/usr/bin/python3
import ctypes, os, select, sys, time
libc = ctypes.CDLL(None)
told = libc.inotify_init1(os.O_CLOEXEC)
assert libc.inotify_add_watch(told, b"/var/lib/kernel-swap", 0x100) > 0  # IN_CREATE
for number in range(sys.maxsize):
    with open("/var/lib/late", "w") as file:
        print(number, file=file)
    select.select([told], [], [])
    time.sleep(2)
    os.read(told, 4096)
"""
LATE_UNIT = """[Service]
ExecStartPre=/bin/mkdir -p -m 700 /var/lib/kernel-swap
ExecStart=/usr/local/bin/late
[Install]
WantedBy=multi-user.target
"""


def look_late(services):
    """Its PID, and how often it has read."""
    guest = services.guest
    return guest.run(f"systemctl show -P MainPID {LATE}").stdout.split() + guest.get("/var/lib/late").decode().split()


def herd(services):
    """Its processes, of which systemd knows no main one."""
    guest = services.guest
    assert guest.run(f"systemctl show -P MainPID,ActiveState --value {HERD}").stdout.split() == ["0", "active"]
    processes = guest.run(f"ps -o pid=,comm= -p $(paste -sd, /sys/fs/cgroup/system.slice/{HERD}/cgroup.procs)").stdout.split()
    assert processes[1::2] == ["sleep", "sleep"], processes
    return processes[::2]


def assert_all_went_on(services, before, version):
    status, told = services.status()
    assert status == 0 and told["settled"], services.story()
    services.wait_for_reports(3)
    for unit in MARKED:
        pause = services.assert_went_on(unit, before[unit], version)
        print(f"  {unit}: paused {pause:.1f} s")


def assert_damaged_are_cold(services, before, version):
    """Who has a damaged image starts afresh, the counter goes on, and `status` says so."""
    status, told = services.status()
    states = {unit["unit"]: unit["state"] for unit in told["units"]}
    assert status == 1 and not told["well"] and told["settled"], services.story()
    assert states == {"counter.service": "restored", "ledger.service": "cold", HERD: "cold", LATE: "restored"}, \
        services.story()
    text = services.guest.run("kernel-swap status", check=False)
    assert text.status == 1, text
    reason = [line for line in text.stdout.splitlines() if "ledger.service" in line]
    assert len(reason) == 1 and "damaged" in reason[0] and "pages" in reason[0], text.stdout
    journal = services.guest.run("journalctl -q -b -u ledger.service").stdout
    assert "damaged" in journal, journal

    services.wait_for_reports(3)
    services.assert_went_on("counter.service", before["counter.service"], version)
    now = services.look("ledger.service")
    reports = services.reports("ledger.service")
    assert now.main_pid != before["ledger.service"].main_pid and now.command == before["ledger.service"].command, now
    assert reports[0].boot == now.boot and reports[0].pid == now.main_pid, reports[0]
    show = services.guest.run("systemctl show -p NRestarts,DropInPaths ledger.service").stdout
    assert "NRestarts=0" in show and "99-kernel-swap" not in show, show


def scenario():
    phases = Phases()
    with phases("disk"), Tree() as tree:
        workload.place(tree)
        tree.unit(HERD, HERD_UNIT)
        tree.unit(LATE, LATE_UNIT)
        tree.file("/usr/local/bin/late", LATE_PROGRAM, 0o755)
        tree.copy(workload.SOURCE / "damage", "/usr/lib/systemd/system-shutdown/damage")
        image, kernels = guest_disk(tree.path)
    with Guest(image, kernels, "6.1") as guest:
        services = Workload(guest, kernels)
        with phases("boot 6.1"):
            guest.wait_for_boot()
        services.mark()
        guest.run(f"kernel-swap enable {HERD} {LATE}")
        services.wait_for_reports(3)
        first_herd = herd(services)
        late, read = look_late(services)
        assert read == "0"

        before = services.look_at_all()
        with phases("reboot"):
            services.leave("systemctl --no-block reboot")
        assert_all_went_on(services, before, "6.1")
        assert look_late(services) == [late, "1"], services.story()
        again = guest.run(f"grep -h {LATE} /var/lib/kernel-swap/*/journal | grep again", check=False).stdout
        assert "events that have not been read" in again, services.story()

        before = services.look_at_all()
        release = services.release("6.12")
        with phases("kexec to 6.12, typed by hand"):
            guest.run(f"kexec -s -l /boot/vmlinuz-{release} --initrd=/boot/initrd.img-{release} --reuse-cmdline")
            services.leave("systemctl --no-block kexec")
        assert_all_went_on(services, before, "6.12")
        assert herd(services) == first_herd, services.story()

        before = services.look_at_all()
        guest.put("/var/lib/damage-once", f"ledger.service {HERD}")
        with phases("swap to 6.1 with damaged images"):
            services.swap("6.1")
        assert_damaged_are_cold(services, before, "6.1")
        assert set(herd(services)).isdisjoint(first_herd)


if __name__ == "__main__":
    sys.exit(main(scenario))
