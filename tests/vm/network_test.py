#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Connections to peers outside the machine go on after a swap, and the peers notice nothing but a pause: on a link that loses
packets too, and whoever connects meanwhile. A peer that gives up is lost to the service as after any outage.

CONNECTIONS=N     so many (300)
"""
import json
import os
import socket
import struct
import subprocess
import sys
import threading
import time

from capture import Capture
from guest import Guest
from network import GUEST, GUEST6, PEER, Network
from scenario import Phases, guest_disk, main
from services.traffic import PATTERN, PERIOD, kind_of
from tree import Tree
from workload import PROGRAMS, SOURCE, Workload

PORT = 7000
COUNT = int(os.environ.get("CONNECTIONS", "300"))
CALLED = 7001  # a port of the peer to which the service connects
# It knows which connections it has let pass, and takes none for one that it has not seen begin.
FIREWALL = f"""flush ruleset
table inet firewall {{
  chain in {{
    type filter hook input priority filter; policy drop;
    iif lo accept
    meta l4proto {{ icmp, ipv6-icmp }} accept
    ct state established accept
    tcp dport {PORT} tcp flags & (syn | ack) == syn ct state new accept
  }}
}}
"""
# On the way of all that is IPv6, both ways.
LOSS = """table ip6 loss {
  chain in { type filter hook prerouting priority raw; meta l4proto tcp numgen random mod 100 < 3 drop; }
  chain out { type filter hook output priority raw; meta l4proto tcp numgen random mod 100 < 3 drop; }
}
"""
UNIT = f"""[Unit]
After=network.target
[Service]
ExecStart=/usr/bin/python3 -u {PROGRAMS}/traffic.py serve {PORT} {PEER} {CALLED}
User=daemon
"""
# What the guest sends comes late, and not in its order.
SLOW_LINK = """[NetworkEmulator]
DelaySec=60ms
DelayJitterSec=20ms
PacketLimit=20000
"""
# Nobody answers the service's own call, until this goes.
NO_ANSWER = f"""table ip no_answer {{
  chain in {{ type filter hook prerouting priority raw; tcp dport {CALLED} drop; }}
}}
"""


class Peer:
    """traffic.py on this machine; keeps its lines."""

    def __init__(self, network, count=COUNT, addresses=(GUEST, GUEST6)):
        self.process = network.popen([sys.executable, str(SOURCE / "traffic.py"), "call", str(PORT), str(count), *addresses],
                                     stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.lines = []
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self):
        self.ended_by_service = json.loads(self.process.stdout.readline())
        for line in self.process.stdout:
            self.lines.append(json.loads(line))

    def wait(self, condition, what, timeout=180):
        """The first line from now on that fulfils the condition; no connection may be broken."""
        seen, deadline = len(self.lines), time.monotonic() + timeout
        while time.monotonic() < deadline:
            assert self.process.poll() is None, f"the peer has ended: {self.process.returncode}"
            for line in self.lines[seen:]:
                assert not line["broken"] and line["standing"] == line["all"], line
                if condition(line):
                    return line
            seen = max(seen, len(self.lines) - 1)
            time.sleep(0.2)
        raise AssertionError(f"not in time: {what}: {self.lines[-1:]}")

    def hurry(self):
        """It reads quickly now what is to end."""
        print(end="x", file=self.process.stdin, flush=True)

    def stop(self):
        self.process.stdin.close()
        assert self.process.wait(20) == 0


class Meanwhile:
    """What happens on the peer's side while the service is away: somebody connects, and somebody gives up."""

    def __init__(self, network, peer):
        self.network, self.peer = network, peer
        self.quitter = network.connect(PORT)
        self.quitter.sendall(b"b")
        self.newcomer = None
        self.thread = threading.Thread(target=self._act, daemon=True)
        self.thread.start()

    def _act(self):
        # A kernel that answers may only be looking at the service.
        while self.peer.lines[-1]["silent"] < COUNT // 2 or self.network.is_up():
            time.sleep(0.2)
        self.newcomer = Peer(self.network, 1, (GUEST,))
        # Its last word is an RST, which is lost like all else.
        self.quitter.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.quitter.close()
        threading.Event().wait()  # what a thread has started ends with it (die_with_parent)


def plain_pause(network, services):
    """Seconds for which the port of the service answers nobody over `systemctl kexec` without us."""
    guest = services.guest
    guest.run("kernel-swap disable traffic.service; systemctl daemon-reload")
    release = services.release("6.12")
    guest.run(f"kexec -s -l /boot/vmlinuz-{release} --initrd=/boot/initrd.img-{release} --reuse-cmdline")
    away = []

    def watch():
        left = None
        while not away:
            try:
                network.inside(socket.create_connection, (GUEST, PORT), 0.5).close()
                if left:
                    away.append(time.monotonic() - left)
            except OSError:
                left = left or time.monotonic()
            time.sleep(0.1)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    services.leave("systemctl kexec")
    thread.join(60)
    return away[0]


def assert_nothing_left(guest):
    left = guest.run("nft list tables | grep kernel_swap; systemctl show -P ActiveState kernel-swap-hold.service; ls /run/kernel-swap").stdout
    assert left.split() == ["inactive", "pid-floor"], left


def ended_by_peer(count):
    """How many streams the service sees the end of."""
    return sum(kind_of(number, 2) in (b"h", b"w") for number in range(count))


class Journal:
    """What the service says."""

    def __init__(self, guest):
        self.guest = guest

    def broken(self):
        return self.guest.run("journalctl -q -u traffic.service -o cat | grep BROKEN", check=False).stdout.splitlines()

    def wait(self, pattern, timeout=180):
        self.guest.run(f"until journalctl -q -b -u traffic.service -o cat | grep -q '{pattern}'; do sleep 1; done", timeout=timeout)

    def ended(self):
        last = self.guest.run("journalctl -q -b -u traffic.service -o cat | grep ended= | tail -n 1").stdout
        return int(last.strip().rpartition("=")[2])


def swap(phases, network, services, peer, version):
    """Returns what status says of the unit, and a line of the peer when all go on."""
    before = services.look("traffic.service")
    with Capture(network, PORT) as capture:
        with phases(f"swap to {version}"):
            services.swap(version)
        status, told = services.status()
        assert status == 0 and told["well"] and told["units"][0]["state"] == "restored", services.story()
        now = services.look("traffic.service")
        assert now.kernel == services.release(version) and now.threads == before.threads, now
        start = peer.lines[-1]
        with phases("all go on"):
            try:
                line = peer.wait(lambda line: line["received"] > start["received"] + 10 * COUNT and not line["silent"], "traffic", 300)
            except AssertionError:
                print(services.guest.run("ss -tnoi sport = :7000 | head -60; cat /proc/net/stat/nf_conntrack; nstat -az | grep -v ' 0 '").stdout)
                network.popen(["ss", "-tnoi", "dport", "=", ":7000"]).wait(10)
                raise
        # Ends that the service has sent itself may have been lost, and are sent again.
        ends = [(flag, start, to) for flag, start, to in capture.ends if start.startswith((f"{GUEST}:", f"{GUEST6}:"))
                and (flag == "RST" or int(to.rpartition(":")[2]) not in peer.ended_by_service)]
        assert capture.segments > COUNT and not ends, ends[:10]
    assert_nothing_left(services.guest)
    return told["units"][0], line


def scenario():
    phases = Phases()
    with phases("disk"), Tree() as tree:
        tree.copy(SOURCE / "traffic.py", f"{PROGRAMS}/traffic.py")
        tree.unit("traffic.service", UNIT)
        tree.enable("systemd-networkd.service")
        tree.file("/etc/systemd/network/10-guest.network.d/slow.conf", SLOW_LINK)
        tree.file("/etc/nftables.conf", FIREWALL)
        tree.enable("nftables.service", "sysinit.target")
        image, kernels = guest_disk(tree.path)
    with Network() as network, Guest(image, kernels, "6.1", network=network) as guest:
        services, journal = Workload(guest, kernels), Journal(guest)
        with phases("boot 6.1"):
            guest.wait_for_boot()
        guest.run("kernel-swap enable traffic.service; tc qdisc show | grep netem")
        network.rules(NO_ANSWER)
        with phases(f"{COUNT} connections"):
            peer = Peer(network)
            peer.wait(lambda line: line["received"] > 100 * COUNT and not line["silent"], "traffic")
            network.rules(LOSS)
            meanwhile = Meanwhile(network, peer)
        there, line = swap(phases, network, services, peer, "6.12")
        meanwhile.newcomer.wait(lambda line: line["received"] > 2000, "the newcomer's traffic")
        meanwhile.newcomer.stop()
        with network.inside(socket.create_server, (PEER, CALLED)) as called, phases("the service's own call"):
            network.rules("delete table ip no_answer\n")
            called.settimeout(200)
            connection = called.accept()[0]
            journal.wait("^traffic called$")
        newest, _ = swap(phases, network, services, peer, "newest")
        with phases("streams end"):
            peer.hurry()
            # Where the word is lost that there is room again, a sender asks for it later and later (RFC 9293, 3.8.6.1).
            peer.wait(lambda line: line["ended"] > 0.8 * len(peer.ended_by_service), "the ends of the service's streams")
            deadline = time.monotonic() + 180
            while (ended := journal.ended()) <= 0.8 * ended_by_peer(COUNT):
                assert time.monotonic() < deadline, f"{ended} of {ended_by_peer(COUNT)} ends of the peer's streams"
                time.sleep(1)
        connection.setblocking(False)
        got = connection.recv(PERIOD)
        assert got and got == PATTERN[:len(got)]
        broken = journal.broken()
        # The one that gave up, and the newcomer, which has ended since.
        assert len(broken) == 2 and any("reset by peer" in line for line in broken), broken
        peer.stop()
        with phases("plain kexec"):
            plain = plain_pause(network, services)
        print(f"  the unit was away for {there['pause_seconds']:.1f} and {newest['pause_seconds']:.1f} s; longest silence of a connection"
              f" {line['longest_silence']:.1f} s; a plain kexec left the port unanswered for {plain:.1f} s")


if __name__ == "__main__":
    sys.exit(main(scenario))
