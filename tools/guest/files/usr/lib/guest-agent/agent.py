#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Runs commands for the test harness, which sits at the other end of a virtio-serial port.

One JSON object a line, both ways. On start: {"boot": BOOT_ID}. A request
{"id", "command", "timeout", "input"} is answered by {"id", "status", "out", "err"};
bytes travel as base64. Requests run side by side, so a test can watch the
machine while `systemctl kexec` waits.
"""
import base64
import glob
import json
import os
import signal
import subprocess
import threading
import time

PORT = "kernel-swap.agent"
TIMED_OUT = 124  # as timeout(1)


def open_port():
    """Found by sysfs, not by udev's link: the agent starts before udev has run."""
    while True:
        for path in glob.glob("/sys/class/virtio-ports/*/name"):
            if open(path).read().strip() == PORT:
                return open("/dev/" + path.split("/")[-2], "r+b", buffering=0)
        time.sleep(0.05)


def content(fd):
    os.lseek(fd, 0, os.SEEK_SET)
    with open(fd, "rb") as file:
        return base64.b64encode(file.read()).decode()


def run(request):
    # Files, not pipes: something a command leaves in the background may keep
    # its output open for ever, and we wait for the command only.
    given, out, err = (os.memfd_create(name) for name in ("input", "out", "err"))
    with open(given, "wb", closefd=False) as file:
        file.write(base64.b64decode(request.get("input", "")))
    os.lseek(given, 0, os.SEEK_SET)
    environment = {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin",
        "HOME": "/root", "LANG": "C.UTF-8", "SYSTEMD_PAGER": "", "SYSTEMD_COLORS": "0",
    }
    process = subprocess.Popen(["/bin/bash", "-c", request["command"]], stdin=given, stdout=out, stderr=err,
                               env=environment, cwd="/root", start_new_session=True)
    try:
        status = process.wait(request["timeout"])
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        status = TIMED_OUT
    os.close(given)
    return {"id": request["id"], "status": status, "out": content(out), "err": content(err)}


def main():
    port = open_port()
    sending = threading.Lock()

    def send(message):
        data = memoryview(json.dumps(message).encode() + b"\n")
        with sending:
            while data:
                data = data[port.write(data):]

    # The empty line ends whatever half line the kernel before us left behind.
    with sending:
        port.write(b"\n")
    send({"boot": open("/proc/sys/kernel/random/boot_id").read().strip()})

    pending = b""
    while True:
        data = port.read(65536)
        if not data:  # nobody at the other end
            time.sleep(0.1)
            continue
        *lines, pending = (pending + data).split(b"\n")
        for line in lines:
            try:
                request = json.loads(line)
            except ValueError:
                continue  # the rest of a line that an earlier boot had begun to read
            threading.Thread(target=lambda request=request: send(run(request)), daemon=True).start()


main()
