# SPDX-License-Identifier: LGPL-2.1-or-later
"""A tree of files to lay over the guest's disk: services, marks, programs of one scenario."""
import os
import shutil
import tempfile
from pathlib import Path


class Tree:
    """`with Tree() as tree:`; then `guest_disk(tree.path)`."""

    def __init__(self):
        self._temporary = tempfile.TemporaryDirectory(prefix="kernel-swap-tree-")
        self.path = Path(self._temporary.name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._temporary.cleanup()

    def file(self, path, text, mode=0o644):
        target = self._place(path)
        target.write_text(text)
        target.chmod(mode)

    def copy(self, source, path, mode=0o755):
        """A program from here, mostly from the build directory."""
        target = self._place(path)
        shutil.copyfile(source, target)
        target.chmod(mode)

    def unit(self, name, text, wanted_by="multi-user.target"):
        """A unit file, enabled unless `wanted_by` is None."""
        self.file(f"/etc/systemd/system/{name}", text)
        if wanted_by:
            self.enable(name, wanted_by)

    def enable(self, name, wanted_by="multi-user.target"):
        """A unit that is installed already, by whatever directory it lies in: systemd looks at the link's name."""
        link = self._place(f"/etc/systemd/system/{wanted_by}.wants/{name}")
        os.symlink(f"/usr/lib/systemd/system/{name}", link)

    def _place(self, path):
        target = self.path / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        return target
