# SPDX-License-Identifier: LGPL-2.1-or-later
"""The guest's disk: the cached base image with trees of files laid over it.

The files are written into a copy of the image by debugfs, so that they are in
place before the first boot (systemd's generators run before anything else of
ours could unpack them), and without a loop device or a mount.
"""
import fcntl
import hashlib
import os
import re
import stat
import subprocess
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
# In the guest these are links into /usr; debugfs would replace the link by a directory.
MERGED = ("bin", "sbin", "lib", "lib64")
UNUSED_AFTER = 12 * 3600
KEPT = 16  # disks of other contents, each of the size of what is installed in it: those of one run of all scenarios
SUITE = os.environ.get("GUEST_SUITE", "bookworm")


class Base:
    """The base image and the kernels in it, from tools/guest/build (which builds it at need), with these packages besides."""

    def __init__(self, packages=()):
        built = subprocess.run([REPOSITORY / "tools/guest/build", *packages], stdout=subprocess.PIPE, check=True, text=True)
        self.directory = Path(built.stdout.strip())
        self.image = self.directory / "root.img"


def kernel_files(directory, version):
    """(kernel, initrd) whose release begins with `version`, or the newest there is; 6.1 is not 6.12."""
    if SUITE != "bookworm":  # which has neither: its first and its last one
        version = {"6.1": "6.12", "6.12": "newest"}.get(version, version)
    kernels = sorted(Path(directory).glob("vmlinuz-*"), key=lambda path: [int(part) for part in re.findall(r"\d+", path.name)])
    if version == "newest":
        version = kernels[-1].name[len("vmlinuz-"):]
    for kernel in kernels:
        release = kernel.name[len("vmlinuz-"):]
        if re.match(re.escape(version) + r"(\D|$)", release):
            return kernel, kernel.with_name("initrd.img-" + release)
    raise LookupError(f"no kernel {version} in {directory}")


def entries(tree):
    """(path in the guest, path here) of everything in the tree, parents first."""
    for parent, folders, files in os.walk(tree):
        folders.sort()
        for name in sorted(folders + files):
            here = Path(parent, name)
            parts = here.relative_to(tree).parts
            if parts[0] in MERGED:
                if len(parts) == 1:
                    continue
                parts = ("usr",) + parts
            yield "/" + "/".join(parts), here


def digest(base, trees):
    """Names a disk after everything that is on it."""
    sums = hashlib.sha256(str(base.directory.name).encode())
    for tree in trees:
        for there, here in entries(tree):
            status = here.lstat()
            sums.update(f"{there}\0{status.st_mode:o}\0".encode())
            if stat.S_ISLNK(status.st_mode):
                sums.update(os.readlink(here).encode())
            elif stat.S_ISREG(status.st_mode):
                with open(here, "rb") as file:
                    sums.update(hashlib.file_digest(file, "sha256").digest())
    return sums.hexdigest()[:16]


def debugfs_script(trees, present):
    """Commands for debugfs -w, which owns to root whatever it creates; `present`: the base's directories."""
    folders = set(present)
    for tree in trees:
        for there, here in entries(tree):
            mode = here.lstat().st_mode
            if '"' in there or "\n" in there:  # debugfs knows no way to quote these
                raise ValueError(f"cannot put on a disk: {here}")
            if stat.S_ISDIR(mode):
                if there not in folders:
                    folders.add(there)
                    yield f'mkdir "{there}"'
                    yield f'sif "{there}" mode 0{mode:o}'
                continue
            yield f'rm "{there}"'  # the base's, or an earlier tree's
            if stat.S_ISLNK(mode):
                yield f'symlink "{there}" "{os.readlink(here)}"'
            elif stat.S_ISREG(mode):
                yield f'write "{here}" "{there}"'
                yield f'sif "{there}" mode 0{mode:o}'
            else:
                raise ValueError(f"neither file, directory nor link: {here}")


def lay_over(image, trees, present):
    script = "\n".join(debugfs_script(trees, present)) + "\n"
    done = subprocess.run(["debugfs", "-w", "-f", "/dev/stdin", image], input=script, text=True,
                          stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    # debugfs reports failed commands on stderr only, and its name there too.
    harmless = re.compile(r"debugfs \d|rm: File not found|\s*$")
    errors = [line for line in done.stderr.splitlines() if not harmless.match(line)]
    if done.returncode or errors:
        raise RuntimeError("debugfs: " + "\n".join(errors))


def make_disk(trees=(), base=None):
    """A disk image with the trees laid over the base, later ones winning; returns (image, directory of kernels).

    Nobody may write to the image: guests run on a copy-on-write layer above it.
    """
    base = base or Base()
    if not trees:
        return base.image, base.directory
    cache = base.directory.parent
    image = cache / f"disk-{digest(base, trees)}.img"
    with open(cache / "disk.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        others = {other: other.stat().st_mtime for other in cache.glob("disk-*.img") if other != image}
        youngest = sorted(others, key=others.get, reverse=True)[:KEPT]
        for other, used in others.items():
            if other not in youngest or time.time() - used > UNUSED_AFTER:
                other.unlink()
        if not image.exists():
            making = image.with_suffix(".making")
            subprocess.run(["cp", "--sparse=always", "--reflink=auto", base.image, making], check=True)
            present = (base.directory / "directories").read_text().splitlines()
            lay_over(making, trees, present)
            making.rename(image)
        os.utime(image)
    return image, base.directory
