# SPDX-License-Identifier: LGPL-2.1-or-later
"""A service with state: a clerk enters numbers into a book, an auditor recomputes the book, the main thread reports.

Each second it prints a line of KEY=VALUE; a line that begins with FAIL says what went wrong.
"""
import hashlib
import mmap
import os
import random
import stat
import threading
import time

KEPT = 500  # entries
AUDIT = 40  # entries between two audits
TOO_LATE = 120.0  # seconds: a dump and a restore on a busy emulated machine


def fail(text):
    book.failures += 1
    print("FAIL", text, flush=True)


class Book:
    def __init__(self):
        self.entries = {}
        self.last = 0
        self.audits = self.failures = 0
        self.changed = threading.Condition()
        self.random = random.Random(1)

    def keep(self):
        """The clerk."""
        while True:
            with self.changed:
                self.last += 1
                self.entries[self.last] = hashlib.sha256(str(self.last).encode()).hexdigest()
                self.entries.pop(self.last - KEPT, None)
                self.random.random()
                self.changed.notify_all()
            time.sleep(0.05)

    def audit(self):
        """The auditor."""
        expected, drawn = random.Random(1), 0
        while True:
            with self.changed:
                until = self.last + AUDIT
                if not self.changed.wait_for(lambda: self.last >= until, timeout=TOO_LATE):
                    fail(f"no entry {until}")
                numbers = list(range(max(1, self.last - KEPT + 1), self.last + 1))
                if list(self.entries) != numbers:
                    fail("the book's numbers have gaps")
                for number in numbers[::25]:
                    if self.entries[number] != hashlib.sha256(str(number).encode()).hexdigest():
                        fail(f"entry {number} is wrong")
                for drawn in range(drawn + 1, self.last + 1):
                    expected.random()
                if expected.getstate() != self.random.getstate():
                    fail("the random numbers have gone astray")
                self.audits += 1


class Scraps:
    """Files in a directory that is empty when the service starts: systemd makes it anew, or it lies in memory."""

    def __init__(self, directory):
        self.directory, self.line, self.mapped = directory, 0, None
        if os.listdir(directory):
            fail(f"{directory} is not empty at the start: {os.listdir(directory)}")
        os.symlink("line", self.path("link"))
        os.mkdir(self.path("a\nb"), 0o750)
        os.mkfifo(self.path("a\nb/fifo"), 0o600)
        os.utime(self.path("a\nb/fifo"), (1, 2))
        self.kept = open(self.path("kept"), "w+", buffering=1)
        if directory.startswith("/run/"):  # the one in /tmp may lie on a disk
            with open(self.path("mapped"), "w+b") as file:
                file.truncate(mmap.PAGESIZE)
                self.mapped = mmap.mmap(file.fileno(), mmap.PAGESIZE)

    def path(self, name):
        return os.path.join(self.directory, name)

    def check(self, line):
        """That all is as the last call left it; then the next line."""
        try:
            if self.line:
                with open(self.path("link")) as file:
                    text = file.read()
                if text != f"{self.line}\n":
                    fail(f"{self.directory} has line {text!r} instead of {self.line}")
                fifo = os.stat(self.path("a\nb/fifo"))
                if (stat.S_IFMT(fifo.st_mode), fifo.st_mtime, fifo.st_uid) != (stat.S_IFIFO, 2, os.getuid()):
                    fail(f"{self.directory}: the fifo is {fifo}")
            if os.fstat(self.kept.fileno()).st_ino != os.stat(self.path("kept")).st_ino:
                fail(f"{self.directory}: the open file is not the one in the directory")
            self.kept.write(f"{line}\n")
            with open(self.path("kept")) as file:
                if file.read().split() != [str(one) for one in range(1, line + 1)]:
                    fail(f"{self.directory}: the open file lacks a line")
            if self.mapped:
                with open(self.path("mapped"), "rb") as file:
                    if int.from_bytes(file.read(8), "big") != self.line:
                        fail(f"{self.directory}: the mapped file is not the one in the directory")
                self.mapped[:8] = line.to_bytes(8, "big")
            with open(self.path("new"), "w") as file:
                file.write(f"{line}\n")
            os.rename(self.path("new"), self.path("line"))
            self.line = line
        except OSError as error:
            fail(f"{self.directory}: {error}")


def main():
    scraps = [Scraps(os.environ["RUNTIME_DIRECTORY"]), Scraps("/tmp"), Scraps("/run/ledger-own")]
    path = os.path.join(os.environ["STATE_DIRECTORY"], "log")
    threading.Thread(target=book.keep, daemon=True).start()
    threading.Thread(target=book.audit, daemon=True).start()
    start = time.monotonic()
    with open(path, "wb", buffering=0) as log:
        length, line = 0, 0
        while True:
            deadline = start + line
            time.sleep(max(0.0, deadline - time.monotonic()))
            up = time.monotonic()
            if not deadline <= up < deadline + TOO_LATE:
                fail(f"woke at {up} instead of {deadline}")
            line += 1
            for one in scraps:
                one.check(line)
            text = (f"ledger line={line} at={time.time():.3f} up={up:.3f} entries={book.last} "
                    f"audits={book.audits} failures={book.failures}")
            length += log.write(text.encode() + b"\n")
            if not log.tell() == os.path.getsize(path) == length:
                fail(f"{path} has {os.path.getsize(path)} bytes instead of {length}, position {log.tell()}")
            print(text, flush=True)


book = Book()
main()
