# SPDX-License-Identifier: LGPL-2.1-or-later
"""Threads that compute, sleep and wait for each other, and processes that are given work through pipes."""
import hashlib
import multiprocessing
import queue
import signal
import sys
import threading
import time

ticks = 0


def tick(*_):
    global ticks
    ticks += 1


def chain(seed, rounds):
    digest = str(seed).encode()
    for _ in range(rounds):
        digest = hashlib.sha256(digest).digest()
    return digest.hex()


def work(tasks, results):
    while (task := tasks.get()) is not None:
        time.sleep(0.001)
        results.put((task, chain(task, 1000)))


def main(size):
    signal.signal(signal.SIGALRM, tick)
    signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
    context = multiprocessing.get_context("fork")
    tasks, results = context.SimpleQueue(), context.SimpleQueue()
    processes = [context.Process(target=work, args=(tasks, results)) for _ in range(3)]
    for process in processes:
        process.start()
    near, done = queue.Queue(maxsize=4), queue.Queue()
    threads = [threading.Thread(target=work, args=(near, done)) for _ in range(4)]
    for thread in threads:
        thread.start()
    last = time.monotonic()
    found = {}
    for number in range(size):
        tasks.put(number)
        near.put(-number)
        assert 0 <= time.monotonic() - last
        last = time.monotonic()
        found.update([results.get()])
    for _ in processes:
        tasks.put(None)
    for process in processes:
        process.join()
        assert process.exitcode == 0, process.exitcode
    for _ in threads:
        near.put(None)
    for thread in threads:
        thread.join()
    found.update(done.queue)
    signal.setitimer(signal.ITIMER_REAL, 0)
    assert ticks > 1
    print(len(found), hashlib.sha256(repr(sorted(found.items())).encode()).hexdigest())


main(int(sys.argv[1]))
