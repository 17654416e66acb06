#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Numbered streams over TCP: both ends know which byte comes next, and say so when another does.

    traffic.py serve PORT                          the service
    traffic.py call PORT COUNT ADDRESS...          its peer: COUNT connections, spread over the addresses and KINDS

The peer prints a line of JSON each second, and ends when its standard input does.
"""
import json
import os
import socket
import sys
import time

PERIOD = 65521  # a prime, so that no size of a segment or a buffer hides an exchange of two pieces
PATTERN = bytes((number * number * 31 + number * 7) >> 3 & 0xFF for number in range(PERIOD)) * 4
PIECE = 2 * PERIOD
BURST = 512
PACE = 0.25  # seconds between bursts of one connection

# What a connection is about, by its first byte.
KINDS = {
    b"b": "streams both ways",
    b"d": "the peer reads slowly: data lies unsent and unacknowledged with the service",
    b"u": "the service reads slowly: data lies unread with the service",
    b"i": "idle: one byte each way every few seconds",
}


class Broken(Exception):
    pass


class Stream:
    def __init__(self, connection, kind):
        self.connection, self.kind = connection, kind
        self.sent = self.received = 0
        self.last_received = time.monotonic()
        self.longest_silence = 0.0
        connection.setblocking(False)

    def send(self, most):
        start = self.sent % PERIOD
        try:
            self.sent += self.connection.send(PATTERN[start:start + min(most, PIECE)])
        except BlockingIOError:
            pass

    def receive(self, most):
        try:
            data = self.connection.recv(min(most, PIECE))
        except BlockingIOError:
            return
        if not data:
            raise Broken("the other end has ended")
        start = self.received % PERIOD
        if data != PATTERN[start:start + len(data)]:
            raise Broken(f"after {self.received} bytes come others than were sent")
        self.received += len(data)
        now = time.monotonic()
        self.longest_silence = max(self.longest_silence, now - self.last_received)
        self.last_received = now


def amounts(kind, serving, turn):
    """How many bytes to send and to read at this turn."""
    if kind == b"d":
        return (PIECE, BURST) if serving else (1, BURST)
    if kind == b"u":
        return (1, BURST) if serving else (PIECE, BURST)
    if kind == b"i":
        return (1 if turn % 16 == 0 else 0, BURST)
    return BURST, PIECE


def turn_all(streams, serving, turn):
    """Those that broke, with the reason."""
    broken = []
    for stream in streams:
        sending, reading = amounts(stream.kind, serving, turn)
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


def serve(port):
    listener, streams, newcomers, turn = listen(port), [], [], 0
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
                streams.append(Stream(connection, kind))
        for stream, reason in turn_all(streams, True, turn):
            streams.remove(stream)
            print(f"traffic BROKEN {stream.kind.decode()} {stream.connection.fileno()} {reason}", flush=True)
        turn += 1
        if turn % 20 == 0:
            print(f"traffic streams={len(streams)} sent={sum(s.sent for s in streams)}"
                  f" received={sum(s.received for s in streams)}", flush=True)
        time.sleep(PACE)


def call(port, count, addresses):
    streams, kinds = [], list(KINDS)
    for number in range(count):
        connection = socket.create_connection((addresses[number % len(addresses)], port), 60)
        kind = kinds[number // len(addresses) % len(kinds)]
        connection.sendall(kind)
        streams.append(Stream(connection, kind))
    standing, broken, turn = list(streams), [], 0
    os.set_blocking(0, False)
    while True:
        for stream, reason in turn_all(standing, False, turn):
            standing.remove(stream)
            broken.append(f"{stream.kind.decode()} {stream.connection.getsockname()}: {reason}")
        turn += 1
        if turn % 4 == 0:
            now = time.monotonic()
            print(json.dumps({"standing": len(standing), "broken": broken[:10], "all": len(streams),
                              "silent": sum(now - s.last_received > 8 for s in standing),
                              "who": sorted({f"{s.kind.decode()}{4 if s.connection.family == socket.AF_INET else 6}"
                                             for s in standing if now - s.last_received > 8}),
                              "longest_silence": max(max(s.longest_silence, now - s.last_received) for s in streams),
                              "sent": sum(s.sent for s in streams),
                              "received": sum(s.received for s in streams)}), flush=True)
        try:
            if os.read(0, 1) == b"":
                return
        except BlockingIOError:
            pass
        time.sleep(PACE)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(int(sys.argv[2]))
    else:
        call(int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
