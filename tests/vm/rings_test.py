#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A service with a ring of io_uring: it goes on under a kernel whose file tells that it lays out rings alike, is refused
for one that does not or is older, and stays behind when somebody loads a kernel by hand."""
import sys

import workload
from disk import SUITE
from guest import Guest
from scenario import Phases, guest_disk, main
from tree import Tree
from workload import Workload

UNIT = "reader.service"
OLDER = "6.12" if SUITE == "bookworm" else "6.1"  # which stands for that release's first


def refusal(services, version):
    """Of a swap to that kernel, which is not begun."""
    release = services.release(version)
    done = services.guest.run(f"kernel-swap now --dry-run --kernel={release}", check=False)
    checked = services.guest.run(f"kernel-swap check --kernel={release}", check=False)
    assert done.status == checked.status == 3, (done, checked)
    reason = [line for line in checked.stderr.splitlines() if "io_uring" in line]
    assert len(reason) == 1 and reason[0] in done.stderr and release in reason[0], (done, checked)
    return reason[0]


def fate(services):
    _, told = services.status()
    assert told["settled"], services.story()
    return {unit["unit"]: (unit["state"], unit["reason"]) for unit in told["units"]}[UNIT]


def scenario():
    phases = Phases()
    with phases("disk"), Tree() as tree:
        tree.unit(UNIT, (workload.SOURCE / UNIT).read_text())
        tree.copy(workload.build_directory() / "tests/vm/services/reader", f"{workload.PROGRAMS}/reader")
        image, kernels = guest_disk(tree.path)
    with Guest(image, kernels, OLDER) as guest:
        services = Workload(guest, kernels)
        newest = services.release("newest")
        with phases(f"boot {OLDER}"):
            guest.wait_for_boot()
        services.wait_for_reports(3, units=[UNIT])
        told = guest.run("kernel-swap check").stdout
        assert f"{UNIT}: ready" in told and newest in told, told
        if SUITE == "bookworm":
            assert "lays out rings otherwise" in refusal(services, "6.1")

        before = services.look(UNIT)
        with phases(f"swap to {newest}"):
            services.swap("newest")
        services.wait_for_reports(3, units=[UNIT])
        assert fate(services)[0] == "restored", services.story()
        print(f"  {UNIT}: paused {services.assert_went_on(UNIT, before, 'newest'):.1f} s")
        print("  " + refusal(services, OLDER))

        before = services.look(UNIT)
        with phases(f"kexec to {newest}, typed by hand"):
            guest.run(f"kexec -s -l /boot/vmlinuz-{newest} --initrd=/boot/initrd.img-{newest} --reuse-cmdline")
            services.leave("systemctl --no-block kexec")
        services.wait_for_reports(1, units=[UNIT])
        state, reason = fate(services)
        assert state == "left out" and "nobody has said which kernel" in reason, services.story()
        assert services.look(UNIT).main_pid != before.main_pid


if __name__ == "__main__":
    sys.exit(main(scenario))
