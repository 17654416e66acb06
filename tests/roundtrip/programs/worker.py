# SPDX-License-Identifier: LGPL-2.1-or-later
"""A program that knows nothing of checkpoints: threads, queues, sleeps, a subprocess."""
import hashlib
import os
import queue
import subprocess
import sys
import threading
import time

tasks, results = queue.Queue(), queue.Queue()


def work():
    while (task := tasks.get()) is not None:
        time.sleep(0.001)
        results.put((task, hashlib.sha256(str(task).encode()).hexdigest()))


def told():
    return os.fstat(1).st_mode & 0o100


threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads:
    thread.start()
CHILD = """
import os, sys, time
while not os.fstat(1).st_mode & 0o100:
    time.sleep(0.05)
sys.exit(5)
"""
child = subprocess.Popen([sys.executable, "-c", CHILD])
number = 0
print("ready", flush=True)
last = time.monotonic()
while not told():
    number += 1
    tasks.put(number)
    time.sleep(0.002)
    assert time.monotonic() >= last
    last = time.monotonic()
for _ in threads:
    tasks.put(None)
for thread in threads:
    thread.join(30)
found = dict(results.queue)
assert sorted(found) == list(range(1, number + 1)), (len(found), number)
assert all(value == hashlib.sha256(str(key).encode()).hexdigest() for key, value in found.items())
assert child.wait(30) == 5
sys.exit(0)
