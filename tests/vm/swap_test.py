#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A kernel swap, there and back: 6.1 -> 6.12 -> 6.1 by `kernel-swap now`, with services that must not notice."""
import sys
import time

import workload
from guest import Guest
from scenario import Phases, guest_disk, main
from tree import Tree
from workload import MARKED, Workload, parse_fields


def assert_witness(services, before):
    """The unit ordered after the counter started once in this boot, and found the counter whole."""
    notes = [parse_fields(line) for line in services.guest.get("/var/lib/witness").decode().splitlines()]
    now = services.look("counter.service")
    notes = [note for note in notes if str(note["boot"]).replace("-", "") == now.boot]
    assert len(notes) == 1, notes
    assert (notes[0]["active"], notes[0]["sub"]) == ("active", "running"), notes
    assert notes[0]["pid"] == before.main_pid and notes[0]["threads"] == len(before.threads[before.main_pid]), notes
    assert notes[0]["tracer"] == 0, notes


def assert_as_shipped(services, unit, before):
    """Nothing of the restore is left in the unit, and systemd reads its files as they are."""
    show = services.guest.run(f"systemctl show -p Type,NotifyAccess,NeedDaemonReload,NRestarts,ExecStartPost {unit}").stdout
    assert show == before, f"{unit}:\n{before}{show}"
    drop_ins = services.guest.run(f"systemctl show -P DropInPaths {unit}").stdout
    assert "99-kernel-swap" not in drop_ins, drop_ins


def assert_nothing_waits(services):
    """No image, no pending mark, no process of ours."""
    left = services.guest.run("find /var/lib/kernel-swap -name pages\\* -o -path '*/pending/*';"
                              "systemctl list-units --all --plain --no-legend '*.service' | grep restore;"
                              "pgrep -a placeholder", check=False).stdout
    assert left == "", left


def swap(phases, services, version, shipped):
    before, called = services.look_at_all(), last_call(services)
    with phases(f"swap to {version}"):
        services.swap(version)
    services.guest.run("test ! -e /var/lib/counter-stopped")  # by its ExecStop=
    services.wait_for_reports(3)
    status, told = services.status()
    assert status == 0 and told["well"] and told["settled"], services.story()
    assert {unit["unit"]: unit["state"] for unit in told["units"]} == dict.fromkeys((*MARKED, "caller.service"), "restored"), told
    assert_connected_again(services, called)
    for unit in MARKED:
        pause = services.assert_went_on(unit, before[unit], version)
        print(f"  {unit}: paused {pause:.1f} s")
        assert_as_shipped(services, unit, shipped[unit])
    assert_witness(services, before["counter.service"])
    assert_nothing_waits(services)


def last_call(services):
    """What the caller of the message bus (ExternalSockets=reset) said last, in this boot."""
    lines = [line for line in services.lines("caller.service") if line.text.startswith("caller ")]
    failed = [line.text for line in services.lines("caller.service") if "FAIL" in line.text]
    assert not failed, failed
    return lines[-1]


def assert_connected_again(services, before):
    """It is the same process, and has connected once more."""
    deadline = time.monotonic() + 60
    while (now := last_call(services)).boot == before.boot or now.fields["calls"] <= before.fields["calls"] + 2:
        assert time.monotonic() < deadline, f"{before} {now}"
        time.sleep(0.5)
    assert now.pid == before.pid and now.fields["connections"] == before.fields["connections"] + 1, f"{before} {now}"


def assert_ordinary_restart(services, unit, do):
    """After `do`, the unit runs by its own ExecStart=, from the beginning."""
    before = services.look(unit)
    services.guest.run(do)
    deadline = time.monotonic() + 60
    while True:
        state = parse_fields(services.guest.run(f"systemctl show -p MainPID,SubState {unit}").stdout)
        if state["SubState"] == "running" and state["MainPID"] != before.main_pid:
            break
        assert time.monotonic() < deadline, f"{do}: {state}"
        time.sleep(0.5)
    after = services.look(unit)
    assert after.command == before.command and after.main_pid != before.main_pid, f"{do}: {before} {after}"
    for _ in range(60):
        reports = services.reports(unit)
        if reports and reports[-1].pid == after.main_pid:
            break
        time.sleep(1)
    assert reports[0].pid == after.main_pid and reports[0].fields["line"] == 1, f"{do}: {reports[:1]}"


def scenario():
    phases = Phases()
    with phases("disk"), Tree() as tree:
        workload.place(tree)
        tree.unit("caller.service", (workload.SOURCE / "caller.service").read_text())
        tree.copy(workload.build_directory() / "tests/vm/services/caller", f"{workload.PROGRAMS}/caller")
        image, kernels = guest_disk(tree.path)
    with Guest(image, kernels, "6.1") as guest:
        services = Workload(guest, kernels)
        with phases("boot 6.1"):
            guest.wait_for_boot()
        services.mark()
        services.wait_for_reports(5)
        told = guest.run("kernel-swap check caller.service").stdout
        assert "ExternalSockets=reset" in told, told
        shipped = {unit: guest.run(f"systemctl show -p Type,NotifyAccess,NeedDaemonReload,NRestarts,ExecStartPost {unit}").stdout
                   for unit in MARKED}
        swap(phases, services, "6.12", shipped)
        swap(phases, services, "6.1", shipped)
        with phases("restart and kill"):
            assert_ordinary_restart(services, "ledger.service", "systemctl restart ledger.service")
            assert_ordinary_restart(services, "counter.service", "kill -9 $(systemctl show -P MainPID counter.service)")
            restarts = guest.run("systemctl show -P NRestarts counter.service").stdout
            assert restarts == "1\n", restarts


if __name__ == "__main__":
    sys.exit(main(scenario))
