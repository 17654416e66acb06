#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Numbered streams over TCP: both ends know which byte comes next, and say so when another does.

    traffic.py serve PORT [ADDRESS PORT]           the service; when it has the first connection, it asks for one to there
    traffic.py call PORT COUNT ADDRESS...          its peer: COUNT connections, spread over the addresses and KINDS

The peer prints its ports of connections that the service ends by itself, then a line of JSON each second. A byte from its
standard input has it read quickly what is to end; it ends when that does.
"""
import errno
import fcntl
import json
import os
import select
import socket
import struct
import sys
import time

PERIOD = 65521  # a prime, so that no size of a segment or a buffer hides an exchange of two pieces
PATTERN = bytes((number * number * 31 + number * 7) >> 3 & 0xFF for number in range(PERIOD)) * 4
PIECE = 2 * PERIOD
BURST = 512
PACE = 0.25  # seconds between bursts of one connection
LONG_SILENCE = 8  # by the wall clock: the service's monotonic one stands still while it is away

# What a connection is about, by its first byte.
KINDS = {
    b"b": "streams both ways",
    b"d": "the peer reads slowly: data lies unsent and unacknowledged with the service",
    b"u": "the service reads slowly: data lies unread with the service",
    b"i": "idle: one byte each way every few seconds",
    b"h": "the peer has ended its stream, the service goes on with its own",
    b"s": "the service has ended its stream, the peer goes on with its own",
    b"f": "the service has ended its stream, and the peer has not read it yet: data and end lie with the service",
    b"w": "the peer has ended its stream, and the service has not read it yet",
    b"m": "messages to and fro of which the last byte is urgent, read slowly and in line",
    b"o": "the same, of which the urgent byte is read out of line",
}
MARKED = (b"m", b"o")
SIOCATMARK = 0x8905  # sockatmark(3)
MESSAGE = BURST  # the peer's, which the service answers
SHORT, LONG, UNREAD = 4096, 1 << 19, 96 << 10
ENDS = {(b"h", "peer"): SHORT, (b"s", "service"): SHORT, (b"f", "service"): LONG, (b"w", "peer"): UNREAD}
SLOWLY = {b"d": "peer", b"f": "peer", b"u": "service", b"w": "service"}  # who reads so
OTHER = {"peer": "service", "service": "peer"}


class Broken(Exception):
    pass


class Stream:
    """One end of a connection: `role`'s."""

    def __init__(self, connection, kind, role):
        self.connection, self.kind, self.role = connection, kind, role
        self.to_send, self.to_receive = ENDS.get((kind, role)), ENDS.get((kind, OTHER[role]))
        self.sent = self.received = 0
        self.ended = False  # all has come that was to come
        self.hurries = False
        self.last_received = time.time()
        self.longest_silence = 0.0
        connection.setblocking(False)

    def amounts(self, turn):
        """How many bytes to send and to read at this turn. What has begun to flow again after a long silence flows fast."""
        if self.kind == b"i":
            return (1 if turn % 16 == 0 else 0, BURST)
        hurries = self.to_receive and (self.hurries or self.longest_silence > LONG_SILENCE)
        slow = self.role == SLOWLY.get(self.kind) and not hurries
        full = self.kind in SLOWLY and self.role != SLOWLY[self.kind]
        sending = PIECE if full else 1 if self.kind in SLOWLY else BURST
        return sending, BURST if slow else PIECE

    def send(self, most):
        if self.to_send is not None:
            most = min(most, self.to_send - self.sent)
            if most == 0:
                return
        start = self.sent % PERIOD
        try:
            self.sent += self.connection.send(PATTERN[start:start + min(most, PIECE)])
        except BlockingIOError:
            return
        if self.sent == self.to_send:
            self.connection.shutdown(socket.SHUT_WR)

    def receive(self, most):
        if self.ended:
            return
        try:
            data = self.connection.recv(min(most, PIECE))
        except BlockingIOError:
            return
        if not data:
            if self.received != self.to_receive:
                raise Broken(f"the other end has ended after {self.received} bytes")
            self.ended = True
            return
        self.take(data)

    def take(self, data):
        start = self.received % PERIOD
        if data != PATTERN[start:start + len(data)]:
            raise Broken(f"after {self.received} bytes come others than were sent")
        self.received += len(data)
        now = time.time()
        self.longest_silence = max(self.longest_silence, now - self.last_received)
        self.last_received = now

    def is_silent(self, now):
        return not self.ended and now - self.last_received > LONG_SILENCE


class MarkedStream(Stream):
    """The mark is to be met where it was sent. Who has read a message sends one: no mark overtakes another, and nothing lies
    behind one, where Linux before 6.9 lets nobody look."""

    def __init__(self, connection, kind, role):
        super().__init__(connection, kind, role)
        self.is_in_line = kind == b"m"
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, self.is_in_line)

    def amounts(self, turn):
        return MESSAGE, MESSAGE // 8

    def send(self, most):
        if self.received < self.sent + (MESSAGE if self.role == "service" else 0):
            return
        start = self.sent % PERIOD
        if self.connection.send(PATTERN[start:start + most], socket.MSG_OOB) != most:
            raise Broken("a message went in pieces")
        self.sent += most

    def is_at_mark(self):
        return struct.unpack("i", fcntl.ioctl(self.connection, SIOCATMARK, b"\0" * 4))[0]

    def receive(self, most):
        to_mark = MESSAGE - 1 - self.received % MESSAGE
        if to_mark == 0 and not self.is_in_line:
            try:
                self.take(self.connection.recv(1, socket.MSG_OOB))
            except OSError as error:
                if error.errno not in (errno.EINVAL, errno.EAGAIN):  # it is not announced yet, or has not come
                    raise
            return
        try:
            self.connection.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return
        # Which has been read out of line lies before what comes next.
        if self.is_at_mark() != (to_mark == 0) and (self.is_in_line or to_mark != MESSAGE - 1):
            raise Broken(f"after {self.received} bytes, {to_mark} before the mark, that is {self.is_at_mark()}")
        self.take(self.connection.recv(min(most, to_mark) or 1))


def make_stream(connection, kind, role):
    return (MarkedStream if kind in MARKED else Stream)(connection, kind, role)


def turn_all(streams, turn):
    """Those that broke, with the reason."""
    broken = []
    for stream in streams:
        sending, reading = stream.amounts(turn)
        try:
            if sending:
                stream.send(sending)
            stream.receive(reading)
        except (Broken, OSError) as error:
            broken.append((stream, str(error)))
    return broken


def listen(port):
    listener = socket.socket(socket.AF_INET6)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    listener.bind(("::", port))
    listener.listen(2048)
    listener.setblocking(False)
    return listener


class Call:
    """A connection that the service asks for, from somebody who does not answer for long."""

    def __init__(self, address, port):
        self.connection = socket.socket()
        self.connection.setblocking(False)
        self.connection.connect_ex((address, port))

    def finish(self):
        """The stream, or None while nobody has answered."""
        _, writable, _ = select.select([], [self.connection], [], 0)
        if not writable:
            return None
        error = self.connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            raise Broken(f"not connected: {os.strerror(error)}")
        return Stream(self.connection, b"b", "service")


def serve(port, to_call):
    listener, streams, newcomers, turn, call = listen(port), [], [], 0, None
    print(f"traffic ready pid={os.getpid()}", flush=True)
    while True:
        while True:
            try:
                connection, _ = listener.accept()
            except BlockingIOError:
                break
            connection.setblocking(False)
            newcomers.append(connection)
        for connection in newcomers[:]:
            try:
                kind = connection.recv(1)
            except BlockingIOError:
                continue
            newcomers.remove(connection)
            if kind in KINDS:
                streams.append(make_stream(connection, kind, "service"))
        if streams and to_call:
            call, to_call = Call(*to_call), None
        if call and (called := call.finish()):
            print("traffic called", flush=True)
            streams.append(called)
            call = None
        for stream, reason in turn_all(streams, turn):
            streams.remove(stream)
            print(f"traffic BROKEN {stream.kind.decode()} {stream.connection.fileno()} {reason}", flush=True)
        turn += 1
        if turn % 20 == 0:
            print(f"traffic streams={len(streams)} sent={sum(s.sent for s in streams)}"
                  f" received={sum(s.received for s in streams)} ended={sum(s.ended for s in streams)}", flush=True)
        time.sleep(PACE)


def kind_of(number, addresses):
    """Each kind over each address."""
    return list(KINDS)[number // addresses % len(KINDS)]


def call(port, count, addresses):
    streams = []
    for number in range(count):
        connection = socket.create_connection((addresses[number % len(addresses)], port), 300)
        kind = kind_of(number, len(addresses))
        connection.sendall(kind)
        streams.append(make_stream(connection, kind, "peer"))
    # Those that the service ends itself, and whose end it may send again.
    print(json.dumps([s.connection.getsockname()[1] for s in streams if (s.kind, "service") in ENDS]), flush=True)
    standing, broken, turn = list(streams), [], 0
    os.set_blocking(0, False)
    while True:
        for stream, reason in turn_all(standing, turn):
            standing.remove(stream)
            broken.append(f"{stream.kind.decode()} {stream.connection.getsockname()}: {reason}")
        turn += 1
        if turn % 4 == 0:
            now = time.time()
            print(json.dumps({"standing": len(standing), "broken": broken[:10], "all": len(streams),
                              "silent": sum(s.is_silent(now) for s in standing),
                              "who": sorted({f"{s.kind.decode()}{4 if s.connection.family == socket.AF_INET else 6}"
                                             for s in standing if s.is_silent(now)}),
                              "longest_silence": max(max(s.longest_silence, 0 if s.ended else now - s.last_received)
                                                     for s in streams),
                              "ended": sum(s.ended for s in streams),
                              "sent": sum(s.sent for s in streams),
                              "received": sum(s.received for s in streams)}), flush=True)
        try:
            if os.read(0, 1) == b"":
                return
            for stream in streams:
                stream.hurries = True
        except BlockingIOError:
            pass
        time.sleep(PACE)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(int(sys.argv[2]), (sys.argv[3], int(sys.argv[4])) if len(sys.argv) > 3 else None)
    else:
        call(int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
