#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A restore that fails is a cold start in the same start job, as on any boot: with the unit's own command line, its
ExecStartPre=, its readiness, and nothing that a failure would set off. And what systemd does for us on the way: PIDs that
begin above the kernel's own, a hook that acts on nothing but a boot."""
import sys
import time

from guest import Guest
from scenario import Phases, guest_disk, main
from tree import Tree

FLOOR = 131072

# Its command line has everything in it that systemd would read.
PLAIN = r"""[Unit]
OnFailure=alarm.service
[Service]
Environment="WORDS=two words" ONE=1
ExecStart=/usr/bin/python3 /usr/lib/cold/report.py plain "a \"b\" \\c" 100%% $WORDS "${WORDS}" $$x \; 'é'
ExecStopPost=/bin/touch /var/lib/plain-stopped
"""
# Without its ExecStartPre= it would not work; it is ready only after a while.
READY = r"""[Service]
Type=notify
RuntimeDirectory=ready
ExecStartPre=+/bin/cp /etc/hostname /run/ready-prepared
ExecStart=@/usr/bin/python3 other-name /usr/lib/cold/report.py ready
"""
AFTER = """[Unit]
After=plain.service ready.service
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c 'cat /run/report-* > /run/after'
"""
ALARM = "[Service]\nType=oneshot\nExecStart=/bin/touch /var/lib/alarm\n"
REPORT = r"""
import json, os, socket, sys, time
name = sys.argv[1]
if name == "ready":
    time.sleep(3)
    open("/run/ready-prepared").close()
with open(f"/run/report-{name}", "w") as file:
    json.dump([open("/proc/self/cmdline").read().split("\0"), os.environ.get("ONE")], file)
if name == "ready":
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.connect(os.environ["NOTIFY_SOCKET"])
        notify.send(b"READY=1")
while True:
    time.sleep(0.5)
"""
# systemd-shutdown(8) runs it when all is unmounted or read-only: between the dump and the next boot.
SPOIL = """#!/bin/sh
[ -e /var/lib/spoil ] || exit 0
mount -o remount,rw /
for file in /var/lib/kernel-swap/*/*.service/manifest.ks; do echo spoilt >> $file; done
rm /var/lib/spoil
sync
mount -o remount,ro /
"""
UNITS = ("plain.service", "ready.service")


def leave(guest, command):
    _, state = guest.leave(command)
    story = guest.run("systemctl --failed; cat /var/lib/kernel-swap/*/journal; journalctl -b -q -o short-monotonic "
                      "-u 'kernel-swap*' -u plain -u ready", check=False).stdout
    assert state == "running", story
    return story


def main_pids(guest):
    return [int(guest.run(f"systemctl show -P MainPID {unit}").stdout) for unit in UNITS]


def reports(guest):
    return [guest.get(f"/run/report-{unit.removesuffix('.service')}") for unit in UNITS]


def shipped(guest):
    return guest.run(f"systemctl show -p Type,NotifyAccess,NeedDaemonReload,NRestarts,Result {' '.join(UNITS)}").stdout


def assert_hook_acts_on_a_boot_only(guest):
    guest.run("systemctl restart kernel-swap.service; systemctl stop kernel-swap.service; systemctl start kernel-swap.service")
    assert guest.run("ls -A /var/lib/kernel-swap").stdout == "", "a restart of the hook made a swap"


def assert_cold(guest, before, story):
    told = guest.run("kernel-swap status", check=False)
    assert told.status == 1 and told.stdout.count(": cold: ") == 2, told.stdout + story
    assert "not the one that the swap committed" in told.stdout, told.stdout + story
    pids, files, units = before
    assert reports(guest) == files, story
    assert shipped(guest) == units, story
    assert min(main_pids(guest)) > max(pids), "PIDs do not begin above the dumped ones"
    assert guest.get("/run/after") == b"".join(files), "the unit ordered after them did not wait"
    left = guest.run("ls /var/lib/alarm /var/lib/plain-stopped; pgrep -a placeholder", check=False).stdout
    assert left == "", f"the swap set off {left}{story}"
    marks = guest.run("ls /var/lib/kernel-swap/*/pending; ls -d /var/lib/kernel-swap/*/open", check=False).stdout
    assert marks == "", f"an image is still pending: {marks}"


def scenario():
    phases = Phases()
    with phases("disk"), Tree() as tree:
        tree.file("/usr/lib/cold/report.py", REPORT)
        tree.file("/usr/lib/systemd/system-shutdown/spoil", SPOIL, 0o755)
        tree.unit("plain.service", PLAIN)
        tree.unit("ready.service", READY)
        tree.unit("after.service", AFTER)
        tree.unit("alarm.service", ALARM, wanted_by=None)
        image, kernels = guest_disk(tree.path)
    with Guest(image, kernels, "6.1") as guest:
        with phases("boot"):
            guest.wait_for_boot()
        guest.run("kernel-swap enable plain ready")
        assert_hook_acts_on_a_boot_only(guest)
        before = main_pids(guest), reports(guest), shipped(guest)
        assert min(before[0]) >= FLOOR, f"PIDs are below the floor: {before[0]}"
        told = guest.run("kernel-swap check")
        assert told.stdout == "plain.service: ready\nready.service: ready\n", told

        guest.put("/var/lib/spoil", "")
        with phases("reboot with spoilt images"):
            story = leave(guest, "systemctl --no-block reboot")
        assert_cold(guest, before, story)

        with phases("stop in the ordinary way"):
            guest.run("systemctl stop plain.service")
            assert guest.run("ls /var/lib/plain-stopped").stdout, "ExecStopPost= is gone"
            guest.run("rm /var/lib/plain-stopped; systemctl start plain.service")
            time.sleep(1)

        before = main_pids(guest)
        with phases("reboot, two attempts cut short"):
            # As two crashes in the middle of the restore would leave it.
            guest.put("/usr/lib/systemd/system-shutdown/spoil", SPOIL.replace(
                "for file in", "for file in /var/lib/kernel-swap/*/pending/*; do echo 2 > $file; done; for file in"), 0o755)
            guest.put("/var/lib/spoil", "")
            story = leave(guest, "systemctl --no-block reboot")
        told = guest.run("kernel-swap status", check=False)
        assert told.stdout.count(": cold: ") == 2 and told.stdout.count("cut short") == 2, told.stdout + story


if __name__ == "__main__":
    sys.exit(main(scenario))
