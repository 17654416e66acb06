#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The harness itself: boot, kexec to another kernel by stock means, reset back to the first."""
import sys
from scenario import Phases, guest_disk, main
from guest import Guest


def scenario():
    phases = Phases()
    with phases("disk"):
        image, kernels = guest_disk()
    with Guest(image, kernels, "6.1") as guest:
        with phases("boot 6.1"):
            first, _ = guest.wait_for_boot()
        assert guest.run("uname -r").stdout.startswith("6.1."), "booted another kernel"
        guest.put("/var/tmp/note", "kept across kernels\n", 0o600)

        with phases("load 6.12"):
            guest.run("kexec -s -l /boot/vmlinuz-6.12.* --initrd=$(echo /boot/initrd.img-6.12.*) --reuse-cmdline")
        with phases("kexec to 6.12"):
            guest.run("systemctl --no-block kexec")
            second, _ = guest.wait_for_boot()
        assert guest.run("uname -r").stdout.startswith("6.12."), "kexec led to another kernel"
        assert guest.get("/var/tmp/note") == b"kept across kernels\n"
        assert guest.run("stat -c %a /var/tmp/note").stdout == "600\n"

        with phases("reboot to 6.1"):
            guest.run("systemctl --no-block reboot")
            third, _ = guest.wait_for_boot()
        assert guest.run("uname -r").stdout.startswith("6.1."), "the reset led to another kernel"
        assert len({first, second, third}) == 3
        assert guest.run("journalctl --list-boots -q | wc -l").stdout == "3\n"


if __name__ == "__main__":
    sys.exit(main(scenario))
