# SPDX-License-Identifier: LGPL-2.1-or-later
"""A Debian guest in QEMU, and commands in it.

    image, kernels = make_disk([tree])                   # disk.py
    with Guest(image, kernels, "6.1") as guest:
        guest.wait_for_boot()
        guest.run("systemctl kexec", check=False)
        guest.wait_for_boot()                            # a new boot, by its boot id
        print(guest.run("uname -r").stdout)

Commands travel over a virtio-serial port to tools/guest's agent, which is
there from early in each boot until late in each shutdown.
"""
import base64
import ctypes
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import namedtuple
from pathlib import Path

from disk import kernel_files

# KVM on hosts that offer /dev/kvm but cannot run ordinary guests kills the
# kernel in its first second, so emulation is the default. qemu64's cx16 makes
# QEMU 7.2 panic newer kernels.
ACCELERATORS = {
    "tcg": ["-accel", "tcg,thread=multi", "-cpu", "qemu64,-cx16"],
    "kvm": ["-accel", "kvm", "-cpu", "host"],
}
PR_SET_PDEATHSIG = 1

Output = namedtuple("Output", "status stdout stderr")


class GuestError(Exception):
    """The guest did not do what was asked; the message ends with the tail of its console."""


class EmulatorFault(GuestError):
    """The guest's kernel met a breakpoint of its own that it had taken away: QEMU's TCG, with threads, may run a piece of
    code on one CPU that another has just changed (text_poke of a static key). No real CPU does. Or the first boot, in
    which nothing has been done yet, stands still."""


class Rebooted(GuestError):
    """The guest went down before it answered."""


def die_with_parent():
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Guest:
    def __init__(self, image, kernels, version="6.1", append="", memory="1G", cpus=2, network=None, extra=(),
                 directory=None, cpu=""):
        """`network`: see network.py. `extra`: more QEMU arguments. `cpu`: another model, emulated. `directory`: for disk layer and logs."""
        self.kernel, self.initrd = kernel_files(kernels, version)
        # With nowhere to keep logs, a guest that did well leaves nothing behind.
        logs = os.environ.get("KERNEL_SWAP_LOGS")
        self.temporary = directory is None and logs is None
        scenario = Path(sys.argv[0]).stem
        self.directory = Path(directory or tempfile.mkdtemp(prefix=f"{scenario}-", dir=logs))
        self.directory.mkdir(parents=True, exist_ok=True)
        self.disk = self.directory / "disk.qcow2"
        self.console = self.directory / "console.log"
        # mitigations=off: no retpolines, which cost an emulated CPU the most.
        self.append = f"root=/dev/vda rw console=ttyS0 mitigations=off {append}".strip()
        self.memory, self.cpus, self.extra, self.network = memory, cpus, list(extra), network
        self.cpu = cpu
        self.process = None
        self.changed = threading.Condition()
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", image, self.disk], check=True)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, kind, value, trace):
        if kind is not None:
            print(f"--- console of the guest ({self.console}):\n{self.console_tail()}\n---", flush=True)
        self.stop()
        if kind is not None and "Oops: int3:" in self.console.read_text(errors="replace"):
            raise EmulatorFault("the emulator ran stale code") from value
        if self.temporary and kind is None:
            shutil.rmtree(self.directory)
        else:
            self.disk.unlink(missing_ok=True)  # the logs are what is worth keeping

    def start(self):
        """Power on. After stop(), the disk is what the guest left."""
        self.boot_id = None  # the latest that the agent told us
        self.awaited = None  # the latest that wait_for_boot returned
        self.replies = {}
        self.requests = 0
        self.agent, agent_end = socket.socketpair()
        self.monitor, monitor_end = socket.socketpair()
        descriptors = [agent_end.fileno(), monitor_end.fileno()] + ([self.network.tap] if self.network else [])
        accelerator = ACCELERATORS[os.environ.get("KERNEL_SWAP_ACCEL", "tcg")]
        if self.cpu:
            accelerator = [*ACCELERATORS["tcg"][:-1], self.cpu]
        command = [
            "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", *accelerator,
            "-smp", str(self.cpus), "-m", self.memory,
            "-kernel", self.kernel, "-initrd", self.initrd, "-append", self.append,
            # unsafe: what the guest has synced survives the guest, not the host.
            "-drive", f"file={self.disk},if=none,id=root,cache=unsafe", "-device", "virtio-blk-pci,drive=root",
            "-device", "virtio-rng-pci", "-device", "virtio-serial-pci",
            "-chardev", f"socket,id=agent,fd={agent_end.fileno()}",
            "-device", "virtserialport,chardev=agent,name=kernel-swap.agent",
            "-chardev", f"socket,id=monitor,fd={monitor_end.fileno()}", "-mon", "chardev=monitor,mode=control",
            "-chardev", f"file,id=console,path={self.console},append=on", "-serial", "chardev:console",
            *(self.network.arguments if self.network else []), *self.extra,
        ]
        with open(self.directory / "qemu.log", "ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            pass_fds=descriptors, preexec_fn=die_with_parent)
        agent_end.close()
        monitor_end.close()
        threading.Thread(target=self._listen, args=(self.agent,), daemon=True).start()
        self.monitor_file = self.monitor.makefile("rw")
        self.monitor_file.readline()  # QEMU's greeting
        self.control("qmp_capabilities")

    def stop(self):
        """Power cut: what the guest has not written to its disk is lost."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None
            self.monitor_file.close()
            self.monitor.close()

    def control(self, command, **arguments):
        """A command to QEMU itself: stop, cont, system_reset, ..."""
        self.monitor_file.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        self.monitor_file.flush()
        for line in self.monitor_file:
            reply = json.loads(line)
            if "error" in reply:
                raise GuestError(f"{command}: {reply['error']['desc']}")
            if "return" in reply:
                return reply["return"]
        raise GuestError(f"{command}: QEMU is gone")

    def run(self, command, timeout=60, input=b"", check=True):
        """Run a shell command as root. `check`: any status but 0 is an error."""
        with self.changed:
            self._wait(lambda: self.boot_id is not None, time.monotonic() + timeout, "the agent")
            boot_id = self.boot_id
            self.requests += 1
            number = self.requests
            request = {"id": number, "command": command, "timeout": timeout, "input": base64.b64encode(input).decode()}
            self.agent.sendall(json.dumps(request).encode() + b"\n")
            # The agent itself enforces the time; it is late only if the guest is stuck.
            self._wait(lambda: number in self.replies or self.boot_id != boot_id,
                       time.monotonic() + timeout + 15, f"an answer to: {command}")
            if number not in self.replies:
                raise Rebooted(f"the guest booted anew during: {command}")
            reply = self.replies.pop(number)
        output = Output(reply["status"], *(base64.b64decode(reply[key]).decode(errors="replace") for key in ("out", "err")))
        if check and output.status != 0:
            raise GuestError(f"exit status {output.status}: {command}\n{output.stdout}{output.stderr}")
        return output

    def put(self, path, data, mode=0o644):
        data = data.encode() if isinstance(data, str) else data
        self.run(f"mkdir -p $(dirname '{path}') && cat > '{path}' && chmod {mode:o} '{path}'", input=data)

    def get(self, path):
        return base64.b64decode(self.run(f"base64 '{path}'").stdout)

    def wait_for_boot(self, timeout=300):
        """Until a boot that no earlier call returned is complete; returns (boot id, running or degraded)."""
        if self.awaited is None:
            try:
                return self._wait_for_boot(min(timeout, 180))
            except GuestError as error:
                raise EmulatorFault(f"the first boot: {error}") from error
        return self._wait_for_boot(timeout)

    def _wait_for_boot(self, timeout):
        deadline = time.monotonic() + timeout
        with self.changed:
            self._wait(lambda: self.boot_id not in (None, self.awaited), deadline, "a new boot")
            self.awaited = self.boot_id
        state = self.run("systemctl is-system-running --wait", max(1, deadline - time.monotonic()), check=False).stdout.strip()
        if state not in ("running", "degraded"):
            raise GuestError(f"system state: {state}")
        return self.awaited, state

    def leave(self, command):
        """A command that ends this boot; returns the state of the next one, as wait_for_boot does."""
        try:
            self.run(command)
        except Rebooted:
            pass  # the answer was lost on the way
        return self.wait_for_boot()

    def console_tail(self, lines=60):
        try:
            return "\n".join(self.console.read_text(errors="replace").splitlines()[-lines:])
        except FileNotFoundError:
            return "(nothing)"

    def _wait(self, condition, deadline, what):
        """With self.changed held."""
        while not condition():
            if self.process is None or self.process.poll() is not None:
                raise GuestError(f"QEMU has ended while waiting for {what}; see {self.directory}/qemu.log")
            if "---[ end Kernel panic" in self.console_tail(5):  # and no reboot follows
                raise GuestError(f"the kernel panicked before {what}")
            if time.monotonic() > deadline:
                raise GuestError(f"no sign of {what} in time")
            self.changed.wait(0.5)

    def _listen(self, agent):
        pending = b""
        while data := agent.recv(1 << 20):
            *lines, pending = (pending + data).split(b"\n")
            for line in lines:
                try:
                    message = json.loads(line)
                except ValueError:
                    continue  # cut short by a reset
                with self.changed:
                    if "boot" in message:
                        self.boot_id = message["boot"]
                    else:
                        self.replies[message["id"]] = message
                    self.changed.notify_all()
        agent.close()
