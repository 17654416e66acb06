#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Services in sandboxes of many kinds come back under another kernel in the same ones; what is not carried is refused by name."""
import json
import sys
import time

from guest import Guest
from scenario import Phases, guest_disk, main
from tree import Tree
from workload import PROGRAMS, SOURCE, Workload

SETTINGS = {
    "delegated": "User=daemon\nDelegate=yes\nExecStartPost=/bin/true\n",
    "users": "PrivateUsers=yes\n",
    "users-of-another": "User=daemon\nPrivateUsers=yes\nProtectSystem=full\n",
    "filtered": "SystemCallFilter=@system-service\n",
    "filtered-gently": "User=daemon\nSystemCallFilter=@system-service\nSystemCallErrorNumber=EPERM\nSystemCallArchitectures=native\n",
    "apart": "PrivateNetwork=yes\nPrivateIPC=yes\nProtectHostname=yes\n",
    "strict": "ProtectSystem=strict\nPrivateTmp=yes\nPrivateDevices=yes\nProtectProc=invisible\nProtectHome=yes\nUser=daemon\n"
              "StateDirectory=strict\nReadWritePaths=/var/cache\nInaccessiblePaths=/boot\nTemporaryFileSystem=/opt:ro\n"
              "BindReadOnlyPaths=/usr/share:/opt/share\n",
    "capable": "User=daemon\nSupplementaryGroups=adm\nAmbientCapabilities=CAP_NET_BIND_SERVICE\n"
               "CapabilityBoundingSet=CAP_NET_BIND_SERVICE CAP_KILL\nSecureBits=keep-caps\n",
    "limited": "TasksMax=30\nMemoryMax=200M\nMemoryHigh=150M\nCPUQuota=150%\nCPUWeight=50\nNice=5\nCPUAffinity=1\nLimitNOFILE=500:1000\n"
               "OOMScoreAdjust=-100\nIOSchedulingClass=idle\nCPUSchedulingPolicy=batch\nUMask=0077\nTimerSlackNSec=1ms\n",
    # As much as it needs itself, and nothing for who brings it back.
    "tight": "TasksMax=4\nMemoryMax=24M\nMemorySwapMax=0\nCPUQuota=20%\nCPUWeight=1\nCPUSchedulingPolicy=idle\nIOSchedulingClass=idle\n"
             "LimitFSIZE=64K\nLimitAS=80M\nLimitDATA=40M\nLimitSIGPENDING=5\nLimitMSGQUEUE=1000\nLimitCPU=600\n",
    # What would keep it from starting once more.
    "conditional": "ExecCondition=/usr/bin/mkdir /var/lib/conditional\nExecStartPre=/usr/bin/touch /var/lib/conditional/begun\n"
                   "[Unit]\nConditionPathExists=!/var/lib/conditional/begun\nAssertPathExists=!/var/lib/conditional/begun\n",
    "confined": "AppArmorProfile=dweller\nNoNewPrivileges=yes\n",
    "trusted": "LoadCredential=name:/etc/hostname\nSetCredential=word:secret\n",
    "temporary": "",  # in /tmp, which the boot of Debian 12 empties
    "rooted": "PrivateTmp=yes\nRuntimeDirectory=rooted\n",  # and elsewhere, by chroot(2)
    "logging": "LogNamespace=elsewhere\n",
    # What Debian's redis-server.service and its like say.
    "hardened": "User=daemon\nNoNewPrivileges=yes\nPrivateTmp=yes\nPrivateDevices=yes\nPrivateUsers=yes\nProtectSystem=strict\n"
                "ProtectHome=yes\nProtectClock=yes\nProtectControlGroups=yes\nProtectHostname=yes\nProtectKernelLogs=yes\n"
                "ProtectKernelModules=yes\nProtectKernelTunables=yes\nProtectProc=invisible\nProcSubset=pid\nRemoveIPC=yes\n"
                "CapabilityBoundingSet=\nLockPersonality=yes\nMemoryDenyWriteExecute=yes\nRestrictNamespaces=yes\n"
                "RestrictRealtime=yes\nRestrictSUIDSGID=yes\nRestrictAddressFamilies=AF_UNIX AF_NETLINK AF_INET\n"
                "SystemCallFilter=@system-service\nSystemCallFilter=~@privileged @resources\nSystemCallArchitectures=native\n"
                "RuntimeDirectory=hardened\nStateDirectory=hardened\nLogsDirectory=hardened\nReadWritePaths=-/var/cache\n"
                "NoExecPaths=/\nExecPaths=/usr/bin /usr/lib /lib /lib64\nUMask=007\nLimitNOFILE=65535\n",
}
PROFILE = """abi <abi/3.0>,
profile dweller {
  file,
  deny /var/lib/** w,
  deny /home/ r,
  capability setuid,
  capability setgid,
  network unix,
  network inet stream,
  network netlink,
  signal,
  profile within {
    file,
  }
}
"""
REFUSED = {
    "dynamic": ("DynamicUser=yes\nStateDirectory=dynamic\n", "DynamicUser="),
}
UNIT = """[Service]
ExecStart=/usr/bin/python3 -u {}/dweller.py {}
TasksMax=40
{}"""
MODES = {"delegated": "groups", "rooted": "rooted", "temporary": "temporary"}
UNITS = [f"{name}.service" for name in SETTINGS]


def place(tree):
    for name in ("dweller.py", "portray.py"):
        tree.copy(SOURCE / name, f"{PROGRAMS}/{name}")
    tree.file("/etc/apparmor.d/dweller", PROFILE)
    tree.enable("apparmor.service", "sysinit.target")
    for name, settings in SETTINGS.items():
        tree.unit(f"{name}.service", UNIT.format(PROGRAMS, MODES.get(name, ""), settings))
    for name, (settings, _) in REFUSED.items():
        tree.unit(f"{name}.service", UNIT.format(PROGRAMS, "", settings))


def differences(before, after, where=""):
    """Lines that name each."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in [*before, *(key for key in after if key not in before)]:
            yield from differences(before.get(key), after.get(key), f"{where}/{key}")
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for number, pair in enumerate(zip(before, after)):
            yield from differences(*pair, f"{where}/{number}")
    elif isinstance(before, list) and isinstance(after, list):
        yield f"{where}: gone {[one for one in before if one not in after]}, new {[one for one in after if one not in before]}"
    elif before != after:
        yield f"{where}: {before!r} -> {after!r}"


class Dwellers:
    def __init__(self, guest):
        self.guest = guest

    def portraits(self):
        return json.loads(self.guest.run(f"{PROGRAMS}/portray.py {' '.join(UNITS)}").stdout)

    def told(self, unit):
        lines = self.guest.run(f"journalctl -q --namespace='*' -o cat -u {unit} | grep '^{{'", check=False).stdout.splitlines()
        return [json.loads(line) for line in lines]

    def await_lines(self, count):
        for unit in UNITS:
            deadline = time.monotonic() + 120
            while len(self.told(unit)) < count:
                assert time.monotonic() < deadline, self.guest.run(
                    f"systemctl status {unit}; journalctl -q -b -u {unit} | tail", check=False).stdout
                time.sleep(1)

    def assert_same(self, before):
        now = self.portraits()
        # By whom it is confined and not only how: what lets a service do less by accident is a fault as well.
        changes = [line for unit in UNITS for line in differences(before[unit], now[unit], unit)]
        self.guest.run("systemctl kill --kill-who=main -s USR1 " + " ".join(UNITS))
        self.await_lines(2)
        for unit in UNITS:
            first, *_, last = self.told(unit)
            changes += differences({"lines": 2, "facts": first["facts"]}, last, f"{unit}, from inside")
        assert not changes, "\n".join(changes)


def scenario():
    phases = Phases()
    with phases("disk"), Tree() as tree:
        place(tree)
        image, kernels = guest_disk(tree.path)
    with Guest(image, kernels, "6.1") as guest:
        dwellers, services = Dwellers(guest), Workload(guest, kernels)
        with phases("boot 6.1"):
            guest.wait_for_boot()
        dwellers.await_lines(1)
        before = dwellers.portraits()
        confined = [thread["profile"] for process in before["confined.service"]["processes"].values()
                    for thread in process["threads"].values()]
        assert set(confined) == {"dweller (enforce)\n"}, confined
        with phases("check"):
            told = guest.run("kernel-swap check " + " ".join(UNITS), check=False)
            assert told.status == 0, f"{told.stdout}{told.stderr}"
            for name, (_, reason) in REFUSED.items():
                told = guest.run(f"kernel-swap check {name}.service", check=False)
                assert told.status == 3 and f"{name}.service: {reason}" in told.stdout + told.stderr, told
        guest.run("kernel-swap enable " + " ".join(UNITS))
        with phases("swap to 6.12"):
            services.swap("6.12")
        status, told = services.status()
        assert status == 0 and {unit["unit"]: unit["state"] for unit in told["units"]} == dict.fromkeys(UNITS, "restored"), \
            guest.run("kernel-swap status; journalctl -q -b -u kernel-swap\\*", check=False).stdout
        with phases("compare"):
            dwellers.assert_same(before)


if __name__ == "__main__":
    sys.exit(main(scenario))
