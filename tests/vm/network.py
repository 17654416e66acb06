# SPDX-License-Identifier: LGPL-2.1-or-later
"""A network of two: the guest, and a peer on this machine in a network namespace of its own.

A tap carries segments as they are; QEMU's user network would terminate TCP
itself, and with it everything about TCP that a test wants to see. The
namespace keeps addresses and routes away from the machine.
"""
import ctypes
import fcntl
import os
import socket
import struct
import subprocess
import threading
import time

from guest import die_with_parent
from scenario import Skip

GUEST = "10.0.2.15"  # tools/guest/files: 10-guest.network
PEER = "10.0.2.2"
GUEST6 = "fd00:6b73::15"
PEER6 = "fd00:6b73::2"
MAC = "52:54:00:6b:73:01"
TUNSETIFF = 0x400454CA
IFF_TAP_NO_PI = 0x1002
CLONE_NEWNET = 0x40000000


class Network:
    """`with Network() as network, Guest(..., network=network) as guest:`

    The guest has an address if its tree says `enable("systemd-networkd.service")`.
    """

    def __enter__(self):
        if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
            raise Skip("no /dev/net/tun to make a network with")
        # The namespace lives as long as this process; so it needs no cleaning up.
        self.holder = subprocess.Popen(["unshare", "--net", "sleep", "infinity"], preexec_fn=die_with_parent)
        self.namespace = f"/proc/{self.holder.pid}/ns/net"
        while os.readlink(self.namespace) == os.readlink("/proc/self/ns/net"):
            if self.holder.poll() is not None:
                raise Skip("not allowed to make a network namespace")
            time.sleep(0.01)
        self.tap = self.inside(self._open_tap)
        for command in ("link set lo up", f"address add {PEER}/24 dev tap0", f"address add {PEER6}/64 dev tap0 nodad",
                        "link set tap0 up"):
            self.popen(["ip", *command.split()]).wait(10)
        # On one link with it, who connects learns after three seconds without an answer that there is no route; most
        # peers are behind a router that does not tell.
        patient = "for v in 4 6; do echo 600 > /proc/sys/net/ipv$v/neigh/tap0/mcast_solicit; done"
        assert self.popen(["sh", "-ec", patient]).wait(10) == 0
        self.arguments = ["-netdev", f"tap,id=net,fd={self.tap}", "-device", f"virtio-net-pci,netdev=net,mac={MAC}"]
        return self

    def __exit__(self, *_):
        os.close(self.tap)
        self.holder.kill()
        self.holder.wait()

    def popen(self, command, **options):
        """A program of the peer."""
        return subprocess.Popen(["nsenter", f"--net={self.namespace}", *command], preexec_fn=die_with_parent, **options)

    def rules(self, text):
        """nft(8) on the peer's side."""
        loading = self.popen(["nft", "-f", "-"], stdin=subprocess.PIPE, text=True)
        loading.communicate(text, 20)
        assert loading.returncode == 0, text

    def connect(self, port, timeout=30):
        """A TCP connection to the guest; tried again while the guest does not listen yet."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                return self.inside(socket.create_connection, (GUEST, port), 5)
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)

    def is_up(self, timeout=1):
        """Whether the guest's kernel answers (ICMP echo)."""
        def ask():
            with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as asking:
                asking.settimeout(timeout)
                echo = struct.pack("!BBHHH", 8, 0, 0xF7FF, 0, 0)  # with its checksum
                asking.sendto(echo, (GUEST, 0))
                try:
                    return asking.recv(100)[20] == 0  # the reply, behind a header of 20 bytes
                except OSError:
                    return False
        return self.inside(ask)

    def inside(self, function, *arguments):
        """What a thread makes in the namespace stays there: sockets, interfaces. Only the thread enters it."""
        result = []

        def enter():
            with open(self.namespace) as namespace:
                if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), CLONE_NEWNET) != 0:
                    result.append(OSError(ctypes.get_errno(), "setns"))
                    return
            try:
                result.append(function(*arguments))
            except Exception as error:
                result.append(error)

        thread = threading.Thread(target=enter)
        thread.start()
        thread.join()
        if isinstance(result[0], Exception):
            raise result[0]
        return result[0]

    @staticmethod
    def _open_tap():
        tap = os.open("/dev/net/tun", os.O_RDWR)
        fcntl.ioctl(tap, TUNSETIFF, struct.pack("16sH22x", b"tap0", IFF_TAP_NO_PI))
        return tap
