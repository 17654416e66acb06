# SPDX-License-Identifier: LGPL-2.1-or-later
"""What scenarios share: phases with their seconds, the disk under test, exit codes as meson reads them."""
import os
import shutil
import time
import traceback
from contextlib import contextmanager
from pathlib import Path

from disk import SUITE, Base, make_disk
from guest import EmulatorFault
from tree import Tree

PASS, FAIL, SKIP = 0, 1, 77


class Skip(Exception):
    """This machine cannot run the scenario; the reason is printed."""


class Phases:
    """`with phases("boot"):` prints `boot: 12.3 s`; `seconds` keeps them."""

    def __init__(self):
        self.seconds = {}

    @contextmanager
    def __call__(self, name):
        started = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = time.monotonic() - started
            print(f"  {name}: {self.seconds[name]:.1f} s", flush=True)


def guest_disk(*trees, packages=()):
    """(image, kernels) with what is under test, KERNEL_SWAP_DESTDIR, and then `trees` laid over the base, which has `packages` besides."""
    for tool in ("qemu-system-x86_64", "qemu-img", "debugfs", "mke2fs", "mmdebstrap"):
        if shutil.which(tool, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin") is None:
            raise Skip(f"{tool} is not installed (tools/install-deps)")
    installed = os.environ.get("KERNEL_SWAP_DESTDIR")
    with Tree() as libraries:
        # Under another release we go on with the libraries that we were built with.
        for name in ("libfmt.so.9",) if SUITE != "bookworm" else ():
            libraries.copy(f"/usr/lib/x86_64-linux-gnu/{name}", f"/usr/lib/x86_64-linux-gnu/{name}", 0o644)
        return make_disk([Path(tree) for tree in ([installed] if installed else []) + [libraries.path, *trees]], Base(packages))


def main(scenario):
    try:
        try:
            scenario()
        except EmulatorFault as fault:
            print(f"{fault}; once more", flush=True)
            scenario()
    except Skip as reason:
        print(f"skipped: {reason}")
        return SKIP
    except Exception:  # also a failed assert: the traceback names it
        traceback.print_exc()
        return FAIL
    return PASS
