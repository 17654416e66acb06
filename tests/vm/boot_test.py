#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The harness itself: boot, kexec to another kernel by stock means, reset back to the first."""
import sys

from disk import kernel_files
from guest import Guest
from network import Network
from scenario import Phases, guest_disk, main
from tree import Tree

GENERATOR = """#!/bin/sh
echo ran > /run/generator-ran
"""
UNIT = """[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/true
"""
ECHO_SOCKET = """[Socket]
ListenStream=7
Accept=yes
"""
ECHO = """[Service]
ExecStart=/bin/cat
StandardInput=socket
"""


def assert_connected(network):
    with network.connect(7) as connection:
        connection.sendall(b"hello")
        assert connection.recv(5) == b"hello"


def scenario():
    phases = Phases()
    with phases("disk"), Tree() as tree:
        tree.file("/lib/systemd/system-generators/boot-test", GENERATOR, 0o755)
        tree.unit("boot-test.service", UNIT)
        tree.unit("echo.socket", ECHO_SOCKET, wanted_by="sockets.target")
        tree.unit("echo@.service", ECHO, wanted_by=None)
        tree.enable("systemd-networkd.service")
        image, kernels = guest_disk(tree.path)
    old, new = (kernel_files(kernels, version)[0].name.removeprefix("vmlinuz-") for version in ("6.1", "6.12"))
    with Network() as network, Guest(image, kernels, "6.1", network=network) as guest:
        with phases("boot 6.1"):
            first, _ = guest.wait_for_boot()
        assert guest.run("uname -r").stdout == f"{old}\n", "booted another kernel"
        assert guest.run("cat /run/generator-ran").stdout == "ran\n", "the tree was not there at the first boot"
        assert guest.run("systemctl is-active boot-test").stdout == "active\n"
        assert guest.run("stat -c '%U %a' /lib/systemd/system-generators/boot-test").stdout == "root 755\n"
        assert_connected(network)
        guest.put("/var/tmp/note", "kept across kernels\n", 0o600)

        with phases("load 6.12"):
            guest.run(f"kexec -s -l /boot/vmlinuz-{new} --initrd=/boot/initrd.img-{new} --reuse-cmdline")
        with phases("kexec to 6.12"):
            guest.run("systemctl --no-block kexec")
            second, _ = guest.wait_for_boot()
        assert guest.run("uname -r").stdout == f"{new}\n", "kexec led to another kernel"
        assert guest.get("/var/tmp/note") == b"kept across kernels\n"
        assert_connected(network)
        assert guest.run("stat -c %a /var/tmp/note").stdout == "600\n"

        with phases("power cut and boot 6.1"):
            guest.run("sync")
            guest.stop()
            guest.start()
            guest.wait_for_boot()
        assert guest.get("/var/tmp/note") == b"kept across kernels\n"

        with phases("reboot to 6.1"):
            guest.run("systemctl --no-block reboot")
            third, _ = guest.wait_for_boot()
        assert guest.run("uname -r").stdout == f"{old}\n", "the reset led to another kernel"
        assert len({first, second, third}) == 3
        assert guest.run("journalctl --list-boots -q | wc -l").stdout == "4\n"


if __name__ == "__main__":
    sys.exit(main(scenario))
