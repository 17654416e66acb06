#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""portray.py UNIT...: what a unit's processes and threads are confined by, as seen from outside, in JSON; without what
each boot numbers anew."""
import json
import os
import re
import subprocess
import sys
from pathlib import Path

SPACES = ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts")
# Of /proc/TID/status.
STATUS = ("Umask", "PPid", "Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp",
          "Seccomp_filters", "Cpus_allowed", "Mems_allowed", "SigBlk", "SigIgn", "SigCgt", "Threads", "Speculation_Store_Bypass")
PROPERTIES = ("MainPID", "ActiveState", "SubState", "TasksMax", "MemoryMax", "CPUQuotaPerSecUSec", "Delegate", "User", "ControlGroup")
CONTROLS = ("memory.max", "memory.high", "pids.max", "cpu.max", "cpu.weight", "cgroup.type", "cgroup.subtree_control",
            "cgroup.max.descendants")


def text(path):
    try:
        return Path(path).read_text(errors="surrogateescape")
    except OSError as error:
        return f"[{os.strerror(error.errno)}]"


def namespaces(task):
    """Which are the machine's own, and which are another than their unit's main process has."""
    return {space: "the machine's" if os.stat(f"{task}/ns/{space}").st_ino == os.stat(f"/proc/1/ns/{space}").st_ino else "own"
            for space in SPACES}


def mounts(pid, unit):
    """By where they are, the uppermost last; the machine makes its own in any order: what of the file system, how,
    which type."""
    found = []
    for line in text(f"/proc/{pid}/mountinfo").splitlines():
        words = line.split(" ")
        if words[4].startswith("/run/credentials/") and words[4] != f"/run/credentials/{unit}":
            continue  # of others, which may start later
        dash = words.index("-")
        peers = sorted(word.split(":")[0] for word in words[6:dash])
        root = re.sub(r"systemd-private-[0-9a-f]+-(.*)-[^-/]+(/|$)", r"systemd-private-\1\2", words[3])
        source = words[dash + 2] if words[dash + 1] == "ext4" else ""
        found.append(" ".join([words[4], root, words[5], *peers, words[dash + 1], source,
                               re.sub(r",?(nr_inodes|size|ino|noswap)=?\w*", "", words[dash + 3])]))
    return sorted(found, key=lambda mount: mount.split(" ")[0])


def thread(pid, tid):
    task = f"/proc/{pid}/task/{tid}"
    status = dict(line.split(":\t", 1) for line in text(f"{task}/status").splitlines() if ":\t" in line)
    for mask in ("Cpus_allowed", "Mems_allowed"):  # with a place for each that a kernel could have
        status[mask] = re.sub(r"^[0,]+(?=.)", "", status[mask])
    return {
        "status": {key: status[key] for key in STATUS if key in status},
        "name": text(f"{task}/comm"),
        "profile": text(f"{task}/attr/apparmor/current"),
        "namespaces": namespaces(task),
        "group": text(f"{task}/cgroup"),
        "scheduling": [os.sched_getscheduler(tid), os.getpriority(os.PRIO_PROCESS, tid)],
        "I/O priority": subprocess.run(["ionice", "-p", str(tid)], capture_output=True, text=True).stdout,
    }


def process(pid, unit):
    one = f"/proc/{pid}"
    return {
        "command": text(f"{one}/cmdline"),
        "environment": text(f"{one}/environ"),
        "executable": os.readlink(f"{one}/exe"),
        "directory": os.readlink(f"{one}/cwd"),
        "limits": text(f"{one}/limits"),
        "oom": text(f"{one}/oom_score_adj"),
        "personality": text(f"{one}/personality"),
        "coredump": text(f"{one}/coredump_filter"),
        "slack": text(f"{one}/timerslack_ns"),
        "maps of IDs": [text(f"{one}/{name}") for name in ("uid_map", "gid_map", "setgroups")],
        "mounts": mounts(pid, unit),
        "threads": {tid: thread(pid, tid) for tid in map(int, os.listdir(f"{one}/task"))},
    }


def groups(path):
    """Without systemd's own."""
    return {str(group.relative_to(path)): {name: text(group / name) for name in CONTROLS if (group / name).exists()}
            for group in (path, *(one for one in sorted(path.rglob("*")) if one.is_dir() and one.name != ".control"))}


def portray(unit):
    show = subprocess.run(["systemctl", "show", "-p", ",".join(PROPERTIES), unit], capture_output=True, check=True, text=True)
    properties = dict(line.split("=", 1) for line in show.stdout.splitlines())
    path = Path("/sys/fs/cgroup" + properties["ControlGroup"])
    # Processes of a threaded group are told by the domain above.
    pids = sorted(int(pid) for file in path.rglob("cgroup.procs") for pid in text(file).split() if pid.isdigit())
    spaces = {space: len({os.stat(f"/proc/{pid}/ns/{space}").st_ino for pid in pids}) for space in SPACES}
    return {"unit": properties, "groups": groups(path), "namespaces": spaces, "processes": {pid: process(pid, unit) for pid in pids}}


print(json.dumps({unit: portray(unit) for unit in sys.argv[1:]}))
