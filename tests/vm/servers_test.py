#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Servers as Debian ships them go on over a swap, and their clients, outside and unmodified, carry on."""
import http.client
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from capture import Capture
from disk import SUITE
from guest import Guest, GuestError
from network import GUEST, Network
from peer import Program
from scenario import Phases, guest_disk, main
from tree import Tree
from workload import Workload

POSTGRESQL = {"bookworm": "15", "trixie": "17"}[SUITE]
CLUSTER = f"postgresql@{POSTGRESQL}-main.service"
UNITS = ("redis-server.service", "nginx.service", "memcached.service", CLUSTER, "ssh.service",
         "rpcbind.service",  # whose sockets are systemd's
         "exim4.service")  # in bookworm of an init script: systemd does not know its main process
BLOCK, BLOCKS = 65536, 16384  # of the file to download: 1 GiB

# Each block begins with its number; the rest is a hole.
MAKE_FILE = f"""
with open("/var/www/html/large", "wb") as file:
    file.truncate({BLOCK} * {BLOCKS})
    for number in range({BLOCKS}):
        file.seek(number * {BLOCK})
        file.write(number.to_bytes(8, "big"))
"""
# Tells the port mapper of a program (RFC 1833: version 2, procedure SET), which it allows only the privileged of its machine.
REGISTER = """
import socket, struct
port_mapper = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
port_mapper.bind(("127.0.0.1", 700))
port_mapper.settimeout(60)
port_mapper.sendto(struct.pack(">10I", 1, 0, 2, 100000, 2, 1, 0, 0, 0, 0) + struct.pack(">4I", 400100, 1, 6, 4242), ("127.0.0.1", 111))
assert port_mapper.recv(100)[-4:] == struct.pack(">I", 1)
"""
SET_UP = f"""
set -e
sed -i 's/^bind .*/bind 0.0.0.0/; s/^protected-mode .*/protected-mode no/' /etc/redis/redis.conf
sed -i 's/^-l 127.0.0.1/-l 0.0.0.0/; /^-l ::1/d' /etc/memcached.conf
echo "listen_addresses = '*'" >> /etc/postgresql/{POSTGRESQL}/main/postgresql.conf
echo "host all all 10.0.2.0/24 trust" >> /etc/postgresql/{POSTGRESQL}/main/pg_hba.conf
printf 'UsePAM no\\nPermitRootLogin yes\\n' > /etc/ssh/sshd_config.d/test.conf
sed -i "s/^dc_local_interfaces=.*/dc_local_interfaces='0.0.0.0'/; s/^dc_minimaldns=.*/dc_minimaldns='true'/" /etc/exim4/update-exim4.conf.conf
echo 'MAIN_HOST_LOOKUP = :' > /etc/exim4/exim4.conf.localmacros  # nobody is there who could be asked
echo 'keepalive_timeout 600;' > /etc/nginx/conf.d/patient.conf  # 75 seconds are little where all is emulated
mkdir -p /root/.ssh
cat > /root/.ssh/authorized_keys
chmod 700 /root /root/.ssh
python3 - << 'EOF'
{MAKE_FILE}
EOF
systemctl start rpcbind.socket {' '.join(UNITS)}
until ss -Hltn sport = :25 | grep -q .; do sleep 0.2; done  # trixie's unit does not say when it is ready
python3 - << 'EOF'
{REGISTER}
EOF
"""


# What servers themselves keep below /run, without sockets: a lock beside a socket, PID files that no PIDFile= names.
KEPT = """
find /run/postgresql /run/rpcbind /run/sshd.pid /run/redis /run/nginx.pid ! -type s -printf '%p %M %u %g %s %l\\n' | sort
tail -n +1 /run/sshd.pid /run/postgresql/.s.PGSQL.5432.lock /run/postgresql/*.pid
"""
MORE = "ss -tnpoi; tail -n 20 /var/log/postgresql/*; journalctl -q -b -1 -n 40 -u 'postgresql*' -u 'kernel-swap*' -o short-monotonic; journalctl -q -b -n 60 -u ssh -u 'postgresql*' -u nginx -u redis-server -u memcached"


class Download:
    """curl, and what it has got so far compared with what the file holds."""

    def __init__(self, network):
        self.process = network.popen(["curl", "-sS", "--limit-rate", "12M", f"http://{GUEST}/large"],
                                     stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.blocks, self.wrong = 0, None
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        while block := self.process.stdout.read(BLOCK):
            if block != self.blocks.to_bytes(8, "big") + bytes(BLOCK - 8) and self.wrong is None:
                self.wrong = self.blocks
            self.blocks += 1

    def wait(self, blocks, timeout=120):
        deadline = time.monotonic() + timeout
        while self.blocks < blocks:
            assert self.wrong is None, f"block {self.wrong} is not what was served"
            assert time.monotonic() < deadline, f"{self.blocks} of {BLOCKS}: {self.process.poll()}"
            time.sleep(0.1)


def expect(what, got, wanted):
    assert got == wanted, f"{what}: {got} instead of {wanted}"


def ask_port_mapper(network):
    """The port that it has been told of, asked over TCP and UDP."""
    call = struct.pack(">14I", 2, 0, 2, 100000, 2, 3, 0, 0, 0, 0, 400100, 1, 6, 0)

    def ask(kind):
        with socket.socket(socket.AF_INET, kind) as asking:
            asking.settimeout(60)
            asking.connect((GUEST, 111))
            # Records of a stream begin with their length.
            asking.sendall(call if kind == socket.SOCK_DGRAM else struct.pack(">I", 1 << 31 | len(call)) + call)
            return struct.unpack(">I", asking.recv(100)[-4:])[0]

    return network.inside(ask, socket.SOCK_STREAM), network.inside(ask, socket.SOCK_DGRAM)


def check_port_mapper(guest, network):
    """It knows what it was told, and systemd and it share their sockets as before."""
    expect("port mapper", ask_port_mapper(network), (4242, 4242))
    assert "400100" in guest.run("rpcinfo").stdout  # over the UNIX socket
    shared = guest.run("ss -Hltunp sport = :111 | grep rpcbind | grep -c systemd").stdout
    expect("sockets that both have", shared.strip(), "4")  # TCP and UDP, IPv4 and IPv6


class Clients:
    def __init__(self, network, key):
        # Not redis-cli: it gives a connection up that is silent for 30 seconds, and emulated machines take their time.
        self.redis = Program(network, [sys.executable, "-u", "-c", f"""
import redis
client = redis.Redis("{GUEST}", single_connection_client=True)
while True:
    input()
    print("redis", client.incr("n"), client.client_id())
"""])
        self.psql = Program(network, ["psql", "-h", GUEST, "-U", "postgres", "-At", "-v", "ON_ERROR_STOP=1"])
        self.psql.say("create table ledger (line int); begin; insert into ledger values (1);")
        self.backend = self.psql.ask("select 'backend ' || pg_backend_pid();", lambda line: line.startswith("backend "))
        self.memcached = Program(network, [sys.executable, "-u", "-c", f"""
import pymemcache
client = pymemcache.Client(("{GUEST}", 11211), timeout=300)
client.set("n", "0")
while True:
    input()
    print("memcached", client.incr("n", 1))
"""])
        self.mail = Program(network, [sys.executable, "-u", "-c", f"""
import smtplib
client = smtplib.SMTP("{GUEST}", 25, timeout=300)
client.helo("peer")
while True:
    subject = input()
    print("mail", client.sendmail("<>", "root@localhost", f"Subject: {{subject}}"))
"""])
        self.shell = Program(network, ["ssh", "-i", key, "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
                                       "-o", "LogLevel=ERROR", "-o", "ServerAliveInterval=0", f"root@{GUEST}",
                                       "i=0; while read line; do i=$((i + 1)); echo $line $i $$; done"])
        self.terminal = Program(network, ["ssh", "-tt", "-i", key, "-o", "StrictHostKeyChecking=no",
                                          "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", f"root@{GUEST}",
                                          "stty -echo; i=0; while sleep 0.3; do i=$((i + 1)); echo tick $i; done"])
        self.http = network.inside(self._connect_http)
        self.download = Download(network)
        self.shell_first = self.shell.ask("one")

    @staticmethod
    def _connect_http():
        connection = http.client.HTTPConnection(GUEST, 80, timeout=300)
        connection.connect()
        return connection

    def get(self):
        self.http.request("GET", "/")
        answer = self.http.getresponse()
        assert answer.status == 200 and b"nginx" in answer.read()
        return self.http.sock.getsockname()

    def start(self):
        self.address = self.get()
        word, count, self.redis_id = self.redis.ask("").split()
        expect("redis", (word, count), ("redis", "1"))
        expect("memcached", self.memcached.ask(""), "memcached 1")
        expect("mail", self.mail.ask("before"), "mail {}")
        self.terminal.hear(lambda line: "tick" in line)
        self.download.wait(200)

    def check(self):
        expect("redis", self.redis.ask("", timeout=180), f"redis 2 {self.redis_id}")
        expect("memcached", self.memcached.ask("", timeout=180), "memcached 2")
        expect("mail", self.mail.ask("after", timeout=180), "mail {}")
        expect("connection of nginx", self.get(), self.address)
        self.psql.say("insert into ledger values (2); commit;")
        lines = self.psql.ask("select 'lines ' || sum(line) || ' ' || pg_backend_pid() from ledger;",
                              lambda line: line.startswith("lines "), timeout=180)
        assert lines.split()[1:] == ["3", self.backend.split()[1]], lines
        word, count, pid = self.shell.ask("two", timeout=180).split()
        assert (word, count, pid) == ("two", "2", self.shell_first.split()[2]), (word, count, pid, self.shell_first)
        self.terminal.hear(lambda line: "tick" in line, timeout=180)
        ticks = [int(line.split()[1]) for line in self.terminal.lines if line.startswith("tick")]
        assert ticks == list(range(1, len(ticks) + 1)), ticks
        self.download.wait(min(self.download.blocks + 100, BLOCKS))

    def finish(self):
        self.download.wait(BLOCKS)
        assert self.download.process.wait(60) == 0, self.download.process.stderr.read()
        for program in (self.redis, self.psql, self.memcached, self.mail, self.shell, self.terminal):
            program.stop()


def scenario():
    phases = Phases()
    with phases("disk"), Tree() as tree:
        tree.enable("systemd-networkd.service")
        # Debian's unit is not stopped at shutdown; `kernel-swap check` asks for this.
        tree.file("/etc/systemd/system/rpcbind.service.d/stop.conf", "[Unit]\nConflicts=shutdown.target\nBefore=shutdown.target\n")
        image, kernels = guest_disk(tree.path)
    with tempfile.TemporaryDirectory(prefix="kernel-swap-key-") as place, Network() as network, \
            Guest(image, kernels, "6.1", network=network) as guest:
        key = Path(place) / "key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
        services = Workload(guest, kernels)
        with phases("boot 6.1"):
            guest.wait_for_boot()
        with phases("start of servers"):
            guest.run(f"{SET_UP}", timeout=180, input=(Path(f"{key}.pub")).read_bytes())
            guest.run("kernel-swap enable " + " ".join(UNITS))
        with phases("clients"):
            clients = Clients(network, str(key))
            clients.start()
        check_port_mapper(guest, network)
        told = guest.run("kernel-swap check", check=False).stdout
        print(told)
        assert "/run" not in told, told
        kept = guest.run(KEPT).stdout
        assert "/run/postgresql/.s.PGSQL.5432.lock" in kept and "/run/sshd.pid" in kept, kept
        with Capture(network, None) as capture:
            try:
                with phases("swap to 6.12"):
                    services.swap("6.12")
                status, told = services.status()
                assert status == 0 and told["well"], services.story()
                with phases("all carry on"):
                    clients.check()
                    # Each minute its first process looks whether this is still its own, and ends if not.
                    guest.run(f"test -e /var/lib/postgresql/{POSTGRESQL}/main/postmaster.pid")
                    expect("below /run", guest.run(KEPT).stdout, kept)
            except (AssertionError, GuestError):
                print(capture.ends[:10], guest.run(MORE, check=False).stdout, sep="\n")
                raise
            assert not capture.ends, capture.ends[:10]
        check_port_mapper(guest, network)
        with phases("download"):
            clients.finish()
        main = guest.run("systemctl show -P MainPID exim4.service").stdout.strip()
        assert (main == "0") == (SUITE == "bookworm"), main
        # Those two look for their PID file.
        guest.run(f"systemctl reload nginx.service {CLUSTER}")


if __name__ == "__main__":
    sys.exit(main(scenario))
