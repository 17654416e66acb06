#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Connections to peers outside the machine go on after a swap, and the peers notice nothing but a pause."""
import json
import subprocess
import sys
import threading
import time

from capture import Capture
from guest import Guest
from network import GUEST, GUEST6, Network
from scenario import Phases, guest_disk, main
from tree import Tree
from workload import PROGRAMS, SOURCE, Workload

PORT = 7000
COUNT = 200
UNIT = f"""[Unit]
After=network.target
[Service]
ExecStart=/usr/bin/python3 -u {PROGRAMS}/traffic.py serve {PORT}
User=daemon
"""


class Peer:
    """traffic.py on this machine; keeps its latest line."""

    def __init__(self, network):
        self.process = network.popen([sys.executable, str(SOURCE / "traffic.py"), "call", str(PORT), str(COUNT), GUEST, GUEST6],
                                     stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.lines = []
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self):
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

    def stop(self):
        self.process.stdin.close()
        assert self.process.wait(20) == 0


def assert_nothing_left(guest):
    left = guest.run("nft list tables; systemctl show -P ActiveState kernel-swap-hold.service; ls /run/kernel-swap").stdout
    assert left.split() == ["inactive", "pid-floor"], left


def scenario():
    phases = Phases()
    with phases("disk"), Tree() as tree:
        tree.copy(SOURCE / "traffic.py", f"{PROGRAMS}/traffic.py")
        tree.unit("traffic.service", UNIT)
        tree.enable("systemd-networkd.service")
        tree.file("/etc/nftables.conf", "flush ruleset\n")
        tree.enable("nftables.service", "sysinit.target")
        image, kernels = guest_disk(tree.path)
    with Network() as network, Guest(image, kernels, "6.1", network=network) as guest:
        services = Workload(guest, kernels)
        with phases("boot 6.1"):
            guest.wait_for_boot()
        guest.run("kernel-swap enable traffic.service")
        with phases(f"{COUNT} connections"), Capture(network, PORT) as capture:
            peer = Peer(network)
            peer.wait(lambda line: line["received"] > 100 * COUNT and not line["silent"], "traffic")
            before = services.look("traffic.service")
        with Capture(network, PORT) as capture:
            with phases("swap to 6.12"):
                services.swap("6.12")
            status, told = services.status()
            assert status == 0 and told["well"] and told["units"][0]["state"] == "restored", services.story()
            now = services.look("traffic.service")
            assert now.kernel == services.release("6.12") and now.threads == before.threads, now
            start = peer.lines[-1]
            with phases("all go on"):
                line = peer.wait(lambda line: line["received"] > start["received"] + 10 * COUNT and not line["silent"], "traffic")
            print(f"  paused {told['units'][0].get('pause', 0)}; longest silence of a connection {line['longest_silence']:.1f} s")
            assert capture.segments > COUNT and not capture.ends, capture.ends[:10]
        journal = guest.run("journalctl -q -u traffic.service -o cat | grep BROKEN", check=False).stdout
        assert journal == "", journal
        assert_nothing_left(guest)
        peer.stop()


if __name__ == "__main__":
    sys.exit(main(scenario))
