# SPDX-License-Identifier: LGPL-2.1-or-later
"""A program outside of the guest that talks to one of its services by lines."""
import subprocess
import threading
import time


class Program:
    """`popen`: Network.popen. Everything that it prints is kept."""

    def __init__(self, network, command):
        self.name = command[0]
        self.process = network.popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.lines = []
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self):
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    def say(self, text):
        try:
            self.process.stdin.write(text + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise AssertionError(f"{self.name} has ended: {self.lines[-5:]}") from None

    def hear(self, condition=lambda line: True, since=None, timeout=60):
        """The first line from number `since` on (now) that fulfils the condition."""
        at = len(self.lines) if since is None else since
        deadline = time.monotonic() + timeout
        while True:
            if at < len(self.lines):
                if condition(self.lines[at]):
                    return self.lines[at]
                at += 1
                continue
            assert self.process.poll() is None, f"{self.name} has ended with {self.process.returncode}: {self.lines[-5:]}"
            assert time.monotonic() < deadline, f"{self.name} says nothing: {self.lines[-5:]}"
            time.sleep(0.05)

    def ask(self, text, condition=lambda line: True, timeout=60):
        at = len(self.lines)
        self.say(text)
        return self.hear(condition, at, timeout)

    def stop(self):
        self.process.stdin.close()
        self.process.terminate()
        self.process.wait(20)
