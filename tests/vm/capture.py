# SPDX-License-Identifier: LGPL-2.1-or-later
"""What passes an interface: segments of TCP whose flags matter."""
import socket
import struct
import threading

ETH_P_ALL = 3
FIN, RST = 0x01, 0x04


class Capture:
    """`with Capture(network, port) as capture:`; `capture.ends` are the (flag, from, to) of connections of that port, or of all if it is None."""

    def __init__(self, network, port):
        self.network, self.port = network, port
        self.ends = []
        self.segments = 0

    def __enter__(self):
        self.socket = self.network.inside(self._open)
        self.thread = threading.Thread(target=self._listen, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.socket.close()

    @staticmethod
    def _open():
        packets = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        packets.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 24)
        packets.bind(("tap0", 0))
        return packets

    def _listen(self):
        while True:
            try:
                frame = self.socket.recv(128)
            except OSError:
                return
            self._note(frame)

    def _note(self, frame):
        kind, = struct.unpack_from("!H", frame, 12)
        if kind == 0x0800 and frame[23] == socket.IPPROTO_TCP:
            start = 14 + (frame[14] & 0x0F) * 4
            ends = [socket.inet_ntop(socket.AF_INET, frame[at:at + 4]) for at in (26, 30)]
        elif kind == 0x86DD and frame[20] == socket.IPPROTO_TCP:
            start, ends = 54, [socket.inet_ntop(socket.AF_INET6, frame[at:at + 16]) for at in (22, 38)]
        else:
            return
        ports = struct.unpack_from("!HH", frame, start)
        if self.port is not None and self.port not in ports:
            return
        self.segments += 1
        flags = frame[start + 13]
        for flag, name in ((RST, "RST"), (FIN, "FIN")):
            if flags & flag:
                self.ends.append((name, *(f"{address}:{port}" for address, port in zip(ends, ports))))
