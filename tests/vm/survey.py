#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What becomes of Debian's servers: each, as it is installed, is asked, carried from one kernel to another, and asked again.

    tools/test vm tests/vm/survey.py     by hand: it fetches a gigabyte once, and takes minutes for every fifteen

SET=2         of the servers that cannot be installed beside those of the first set, and others
SERVERS=A,B   only these of the set
FROM=VERSION  of the first kernel (6.1)
TO=VERSION    of the second kernel (6.12)
CPU=MODEL     of the guest, for QEMU (qemu64; without KVM 6.12 boots only on qemu64,-cx16, on which some servers do not start)
"""
import os
import sys
import time
from dataclasses import dataclass

from guest import Guest, Rebooted
from scenario import Phases, guest_disk, main
from tree import Tree
from workload import Workload

FROM = os.environ.get("FROM", "6.1")
TO = os.environ.get("TO", "6.12")
CPU = os.environ.get("CPU", "qemu64")
SET = os.environ.get("SET", "1")
WANTED = [name for name in os.environ.get("SERVERS", "").split(",") if name]
TOGETHER = 15  # in one guest
REST = 70  # seconds: many look once a minute whether all is as they left it
TOOLS = ("curl", "netcat-openbsd", "bind9-dnsutils")


@dataclass
class Server:
    unit: str
    packages: str
    ask: str  # fails if the server does not answer as it should
    set_up: str = ":"
    refused: str = ""  # the reason begins so, if it has to be left out

    @property
    def name(self):
        return self.unit.removesuffix(".service")


def says(port, words, answer):
    return f"printf '{words}' | nc -N -w 20 127.0.0.1 {port} | grep -q '{answer}'"


def greets(port, greeting):
    return f"nc -w 20 127.0.0.1 {port} < /dev/null | head -n 1 | grep -q '{greeting}'"


def web(port, path="/", options=""):
    return f"curl -sS -o /dev/null --max-time 30 {options} http://127.0.0.1:{port}{path}"


FIRST = [
    Server("apache2.service", "apache2", web(8001), "sed -i 's/^Listen 80$/Listen 8001/' /etc/apache2/ports.conf"),
    Server("lighttpd.service", "lighttpd", web(8002), "sed -i '/^server.port/s/80/8002/; /use-ipv6/d' /etc/lighttpd/lighttpd.conf"),
    Server("haproxy.service", "haproxy", web(8003, options="--fail"),
           "printf 'frontend f\\n bind :8003\\n http-request return status 200\\n' >> /etc/haproxy/haproxy.cfg"),
    Server("caddy.service", "caddy", web(8004), "printf ':8004\\nrespond hello\\n' > /etc/caddy/Caddyfile"),
    Server("squid.service", "squid", web(3128, options="-x http://127.0.0.1:3128")),
    Server("tinyproxy.service", "tinyproxy", web(8888)),
    Server("privoxy.service", "privoxy", web(8118)),
    Server("varnish.service", "varnish", "varnishadm ping"),
    Server("tor@default.service", "tor", "ss -Hltn | grep -q ':9050 '"),
    Server("named.service", "bind9", "dig +time=20 @127.0.0.1 localhost | grep -q 127.0.0.1",
           "sed -i 's/listen-on-v6.*/listen-on { 127.0.0.1; };/' /etc/bind/named.conf.options"),
    Server("unbound.service", "unbound", "dig +time=20 -p 5301 @127.0.0.1 localhost | grep -q 127.0.0.1",
           "printf 'server:\\n port: 5301\\n' > /etc/unbound/unbound.conf.d/port.conf; : > /var/lib/unbound/root.key;"
           " rm -f /etc/unbound/unbound.conf.d/root-auto-trust-anchor-file.conf"),
    Server("dnsmasq.service", "dnsmasq", "dig +time=20 -p 5302 @127.0.0.1 localhost | grep -q 127.0.0.1",
           "printf 'port=5302\\nno-resolv\\n' > /etc/dnsmasq.d/port.conf"),
    Server("nsd.service", "nsd", "dig +time=20 -p 5303 @127.0.0.1 example. | grep -q REFUSED",
           "printf 'server:\\n port: 5303\\n' > /etc/nsd/nsd.conf.d/port.conf"),
    Server("knot.service", "knot", "knotc status",
           "sed -i 's/listen: .*/listen: 127.0.0.1@5304/' /etc/knot/knot.conf"),
    Server("cron.service", "cron", "pgrep -x cron"),
    Server("atd.service", "at", "pgrep -x atd"),
    Server("rsyslog.service", "rsyslog", "logger survey-$$; sleep 3; grep -q survey-$$ /var/log/syslog"),
    Server("fail2ban.service", "fail2ban python3-systemd", "fail2ban-client ping",
           "printf '[sshd]\\nbackend = systemd\\n' > /etc/fail2ban/jail.d/survey.conf"),
    Server("mosquitto.service", "mosquitto mosquitto-clients", "mosquitto_pub -r -t a -m b && timeout 30 mosquitto_sub -C 1 -t a | grep -qx b"),
    Server("rabbitmq-server.service", "rabbitmq-server", "rabbitmqctl -q status > /dev/null"),
    Server("php8.2-fpm.service", "php8.2-fpm libfcgi-bin",
           "SCRIPT_NAME=/ping SCRIPT_FILENAME=/ping REQUEST_METHOD=GET cgi-fcgi -bind -connect /run/php/php8.2-fpm.sock | grep -q pong",
           "sed -i 's/^;ping/ping/' /etc/php/8.2/fpm/pool.d/www.conf"),
    Server("prometheus.service", "prometheus", web(9090, "/-/healthy", "--fail")),
    Server("prometheus-node-exporter.service", "prometheus-node-exporter", web(9100, "/metrics", "--fail")),
    Server("prometheus-alertmanager.service", "prometheus-alertmanager", web(9093, "/-/healthy", "--fail"),
           "echo 'ARGS=\"--cluster.listen-address=\"' >> /etc/default/prometheus-alertmanager"),
    Server("supervisor.service", "supervisor", "supervisorctl pid"),
    Server("dovecot.service", "dovecot-imapd", "doveadm who && test -e /run/dovecot/master.pid"),
    Server("slapd.service", "slapd ldap-utils", "ldapsearch -x -LLL -s base -b '' namingContexts > /dev/null"),
    Server("exim4.service", "exim4-daemon-light", greets(25, "^220")),
    Server("mariadb.service", "mariadb-server", "mariadb -e 'select 1' > /dev/null",
           refused="the next kernel" if FROM == "6.1" and TO != "6.1" else ""),  # which lays out rings otherwise
    Server("smbd.service", "samba smbclient", "smbclient -N -L 127.0.0.1 > /dev/null"),
    Server("nmbd.service", "samba", "nmblookup -U 127.0.0.1 __SAMBA__ > /dev/null"),
    Server("vsftpd.service", "vsftpd", greets(2121, "^220"), "echo listen_port=2121 >> /etc/vsftpd.conf; mkdir -p /var/run/vsftpd/empty"),
    Server("snmpd.service", "snmpd snmp", "snmpget -v2c -c public -t 20 127.0.0.1 1.3.6.1.2.1.1.3.0 > /dev/null"),
    Server("munin-node.service", "munin-node", greets(4949, "^# munin")),
    Server("zabbix-agent.service", "zabbix-agent", says(10050, "ZBXD\\001\\012\\0\\0\\0\\0\\0\\0\\0agent.ping", "ZBXD")),
    Server("tomcat10.service", "tomcat10", web(8080)),
    Server("etcd.service", "etcd-server etcd-client", "ETCDCTL_API=3 etcdctl put a b && ETCDCTL_API=3 etcdctl get a | grep -qx b"),
    Server("nats-server.service", "nats-server", greets(4222, "^INFO")),
    Server("influxdb.service", "influxdb", web(8086, "/ping")),
    Server("transmission-daemon.service", "transmission-daemon", web(9091)),
    Server("prosody.service", "prosody", "prosodyctl status"),
    Server("spamd.service", "spamd spamc", "printf 'Subject: a\\n\\nb\\n' | spamc | grep -q X-Spam"),
    Server("icecast2.service", "icecast2", web(8000)),
    Server("freeradius.service", "freeradius freeradius-utils",
           "echo 'Message-Authenticator = 0x00' | radclient -t 20 -r 1 127.0.0.1:18121 status adminsecret > /dev/null",
           "ln -sf ../sites-available/status /etc/freeradius/3.0/sites-enabled/status"),
    Server("stunnel@survey.service", "stunnel4 openssl", "echo | timeout 20 openssl s_client -connect 127.0.0.1:8449 2> /dev/null | grep -q survey",
           "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=survey -keyout /etc/stunnel/key.pem -out /etc/stunnel/cert.pem 2> /dev/null;"
           " printf 'cert=/etc/stunnel/cert.pem\\nkey=/etc/stunnel/key.pem\\n[web]\\naccept=127.0.0.1:8449\\nconnect=8001\\n' > /etc/stunnel/survey.conf"),
    Server("lldpd.service", "lldpd", "lldpcli show configuration > /dev/null"),
    Server("bird.service", "bird2", "birdc show status | grep -q 'up and running'", "echo 'router id 192.0.2.1;' >> /etc/bird/bird.conf",
           refused="NetworkSettings=leave"),
    Server("frr.service", "frr", "vtysh -c 'show ip route' > /dev/null", refused="NetworkSettings=leave"),
    Server("ngircd.service", "ngircd", says(6667, "NICK a\\r\\nUSER a a a a\\r\\nQUIT\\r\\n", "Welcome")),
    Server("beanstalkd.service", "beanstalkd", says(11300, "stats\\r\\nquit\\r\\n", "OK")),
    Server("gearman-job-server.service", "gearman-job-server", says(4730, "version\\n", "OK")),
    Server("monit.service", "monit", "monit -B summary > /dev/null",
           "printf 'set httpd port 2812\\n allow localhost\\n' > /etc/monit/conf.d/survey; chmod 600 /etc/monit/conf.d/survey"),
    Server("apt-cacher-ng.service", "apt-cacher-ng", web(3142)),
    Server("pgbouncer.service", "pgbouncer", "ss -Hltn | grep -q ':6432 '"),
    Server("radicale.service", "radicale", web(5232)),
    Server("dnsdist.service", "dnsdist", "dig +time=20 -p 5305 @127.0.0.1 localhost | grep -q 127.0.0.1",
           "printf 'setLocal(\"127.0.0.1:5305\")\\naddAction(AllRule(), SpoofAction(\"127.0.0.1\"))\\n' > /etc/dnsdist/dnsdist.conf"),
    Server("rsync.service", "rsync", "rsync rsync://127.0.0.1/ | grep -q survey",
           "printf '[survey]\\npath = /etc\\n' > /etc/rsyncd.conf"),
    Server("distcc.service", "distcc", "ss -Hltn | grep -q ':3632 '", "sed -i 's/^STARTDISTCC=.*/STARTDISTCC=\"true\"/' /etc/default/distcc"),
    Server("containerd.service", "containerd", "ctr version > /dev/null"),
    Server("munge.service", "munge", "munge -n | unmunge > /dev/null"),
    Server("slurmctld.service", "slurmctld slurm-client munge", "scontrol ping | grep -q UP",
           "printf 'ClusterName=survey\\nSlurmctldHost=guest\\nSlurmUser=slurm\\nStateSaveLocation=/var/lib/slurm/slurmctld\\nNodeName=guest\\n"
           "PartitionName=all Nodes=ALL\\nProctrackType=proctrack/linuxproc\\nReturnToService=2\\n' > /etc/slurm/slurm.conf;"
           " mkdir -p /var/lib/slurm/slurmctld; chown slurm: /var/lib/slurm/slurmctld; systemctl start munge"),
    Server("xinetd.service", "xinetd", greets(13, "20"), "sed -i '0,/disable.*/s//disable = no/' /etc/xinetd.d/daytime"),
    Server("haveged.service", "haveged", "pgrep -x haveged"),
    Server("uptimed.service", "uptimed", "pgrep -x uptimed"),
    Server("vnstat.service", "vnstat", "pgrep -x vnstatd"),
    Server("coturn.service", "coturn", "ss -Hltn | grep -q ':3478 '"),
    Server("cups.service", "cups", web(631)),
    Server("avahi-daemon.service", "avahi-daemon", "pgrep -x avahi-daemon"),
    Server("znc.service", "znc", "pgrep -x znc"),
    Server("openntpd.service", "openntpd", "ntpctl -s status > /dev/null"),
    Server("firebird3.0.service", "firebird3.0-server", "ss -Hltn | grep -q ':3050 '"),
]

SECOND = [
    Server("postfix@-.service", "postfix exim4-daemon-light-", greets(25, "^220")),
    Server("opendkim.service", "opendkim", "nc -zU /run/opendkim/opendkim.sock"),
    Server("rspamd.service", "rspamd", web(11334, "/ping", "--fail")),
    Server("amavis.service", "amavisd-new", greets(10024, "^220"), "sed -i 's/^#$myhostname.*/$myhostname = \"guest.example\";/' /etc/amavis/conf.d/05-node_id"),
    Server("cyrus-imapd.service", "cyrus-imapd", greets(143, "OK"), "sed -Ei '/^ *(pop3|nntp|http|sieve)/d' /etc/cyrus.conf"),
    Server("postsrsd.service", "postsrsd", "ss -Hltn | grep -q ':10001 '", "sed -i 's/^SRS_DOMAIN=.*/SRS_DOMAIN=guest.example/' /etc/default/postsrsd"),
    Server("pdns.service", "pdns-server pdns-backend-bind", "dig +time=20 -p 5306 @127.0.0.1 example. SOA | grep -q REFUSED",
           "echo local-port=5306 > /etc/powerdns/pdns.d/port.conf"),
    Server("pdns-recursor.service", "pdns-recursor", "rec_control ping > /dev/null", "sed -i 's/^local-address=.*/local-address=127.0.0.1\\nlocal-port=5307/' /etc/powerdns/recursor.conf"),
    Server("kresd@1.service", "knot-resolver", "dig +time=20 @127.0.0.1 localhost | grep -q 127.0.0.1"),
    Server("stubby.service", "stubby", "ss -Hlun | grep -q ':5308 '",
           "sed -i 's/^  - 127.0.0.1$/  - 127.0.0.1@5308/; /^  - *0::1$/d' /etc/stubby/stubby.yml"),
    Server("keepalived.service", "keepalived", "ip addr show dev dummy0 | grep -q 192.0.2.9",
           "ip link add dummy0 type dummy; ip link set dummy0 up; ip addr add 192.0.2.1/24 dev dummy0;"
           " printf 'vrrp_instance v {\\n interface dummy0\\n virtual_router_id 51\\n priority 100\\n virtual_ipaddress {\\n 192.0.2.9/32 dev dummy0\\n }\\n}\\n' > /etc/keepalived/keepalived.conf",
           refused="NetworkSettings=leave"),
    Server("strongswan-starter.service", "strongswan-starter strongswan-charon", "ipsec status > /dev/null", refused="is of IPsec"),
    Server("openvpn-server@survey.service", "openvpn", "ip link show tun0 > /dev/null",
           "openvpn --genkey secret /etc/openvpn/server/key; printf 'dev tun\\nifconfig 192.0.2.20 192.0.2.21\\nsecret key\\ncipher AES-256-CBC\\nport 1194\\n' > /etc/openvpn/server/survey.conf",
           refused="net/tun"),
    Server("kea-dhcp4-server.service", "kea-dhcp4-server", """printf '{"command":"status-get"}' | nc -NU /run/kea/kea4-ctrl-socket | grep -q uptime"""),
    Server("chrony.service", "chrony", "chronyc -n tracking > /dev/null"),
    Server("memcached.service", "memcached", says(11211, "version\\r\\nquit\\r\\n", "VERSION")),
    Server("ejabberd.service", "ejabberd", "ejabberdctl status > /dev/null"),
    Server("proftpd.service", "proftpd-core", greets(2122, "^220"), "sed -i 's/^Port.*/Port 2122/' /etc/proftpd/proftpd.conf"),
    Server("tftpd-hpa.service", "tftpd-hpa", "curl -sS --max-time 30 tftp://127.0.0.1/survey | grep -qx hello", "mkdir -p /srv/tftp; echo hello > /srv/tftp/survey"),
    Server("syncthing@root.service", "syncthing", web(8384)),
    Server("collectd.service", "collectd-core", "pgrep -x collectd", "printf 'LoadPlugin cpu\\nLoadPlugin memory\\nLoadPlugin df\\n' > /etc/collectd/collectd.conf"),
    Server("icinga2.service", "icinga2", "pgrep -x icinga2"),
    Server("nagios4.service", "nagios4-core", "test -n \"$(find /var/lib/nagios4/status.dat -mmin -1)\""),
    Server("netdata.service", "netdata", web(19999, "/api/v1/info", "--fail")),
    Server("atop.service", "atop", "pgrep -x atop"),
    Server("auditd.service", "auditd", "auditctl -s | grep -q 'pid [1-9]'", refused="of the audit system"),
    Server("zookeeper.service", "zookeeperd", "ss -Hltn | grep -q ':2181 '"),
    Server("jetty9.service", "jetty9", web(8080)),
    Server("corosync.service", "corosync", "corosync-quorumtool -p > /dev/null; test $? -le 1"),
    Server("glusterd.service", "glusterfs-server", "gluster --mode=script pool list > /dev/null"),
    Server("tgt.service", "tgt", "tgtadm --mode target --op show"),
    Server("irqbalance.service", "irqbalance", "pgrep -x irqbalance"),
    Server("earlyoom.service", "earlyoom", "pgrep -x earlyoom"),
    Server("nscd.service", "nscd", "nscd -g > /dev/null"),
    Server("gpsd.service", "gpsd", says(2947, "?VERSION;\\n", "VERSION")),
    Server("boinc-client.service", "boinc-client", "cd /var/lib/boinc-client && boinccmd --get_state > /dev/null"),
    Server("danted.service", "dante-server", "ss -Hltn | grep -q ':1080 '",
           "printf 'internal: 127.0.0.1 port = 1080\\nexternal: lo\\nclient pass { from: 0/0 to: 0/0 }\\nsocks pass { from: 0/0 to: 0/0 }\\n' > /etc/danted.conf"),
    Server("mumble-server.service", "mumble-server", "ss -Hltn | grep -q ':64738 '"),
    Server("inspircd.service", "inspircd", greets(6667, "NOTICE")),
    Server("minidlna.service", "minidlna", web(8200)),
    Server("autofs.service", "autofs", "ls -d /survey", "echo '/survey /etc/auto.misc' > /etc/auto.master.d/survey.autofs"),
    Server("acpid.service", "acpid", "pgrep -x acpid"),
    Server("ulogd2.service", "ulogd2", "pgrep -x ulogd"),
    Server("h2o.service", "h2o", "ss -Hltn | grep -q ':80 '"),
    Server("bacula-fd.service", "bacula-fd", "ss -Hltn | grep -q ':9102 '"),
    Server("xrdp.service", "xrdp", "ss -Hltn | grep -q ':3389 '"),
    Server("dropbear.service", "dropbear", greets(22, "^SSH")),
]
SERVERS = {"1": FIRST, "2": SECOND}[SET]


def await_answer(guest, server, timeout):
    """Empty, or what it says instead of the right answer."""
    deadline = time.monotonic() + timeout
    while True:
        done = guest.run(server.ask, 90, check=False)
        if done.status == 0:
            return ""
        if time.monotonic() > deadline:
            return (done.stdout + done.stderr).strip()[-300:] or f"exit status {done.status}"
        time.sleep(2)


def start(guest, servers):
    """Those that run and answer."""
    running = []
    for server in servers:
        done = guest.run(f"{{ {server.set_up}; }} && systemctl start {server.unit}", 180, check=False)
        trouble = done.stderr.strip() if done.status else await_answer(guest, server, 60)
        if trouble:
            log = guest.run(f"journalctl -q -b -n 8 -o cat -u {server.unit}", check=False).stdout
            print(f"  {server.unit}: NOT STARTED: {trouble}\n{log}", flush=True)
        else:
            running.append(server)
    return running


def processes(guest, unit):
    """As the unit's control group has them, below it too."""
    out = guest.run(f"find /sys/fs/cgroup$(systemctl show -P ControlGroup {unit}) -name cgroup.procs -exec cat {{}} +", check=False).stdout
    return set(map(int, out.split()))


def judge(guest, server, told, main_pid):
    """Empty if all is as it should be."""
    state, reason = told.get(server.unit, {}).get("state", "unknown"), told.get(server.unit, {}).get("reason", "")
    if server.refused:
        return "" if state == "left out" and server.refused in reason else f"{state}: {reason}, and not left out: {server.refused}"
    if state != "restored":
        return f"{state}: {reason}"
    now = guest.run(f"systemctl show -P MainPID {server.unit}").stdout.strip()
    if now != main_pid:
        return f"main process {now} instead of {main_pid}"
    return await_answer(guest, server, 60)


def survey(phases, image, kernels, servers):
    wrong = []
    with Guest(image, kernels, FROM, memory="4G", cpu=CPU) as guest:
        workload = Workload(guest, kernels)
        with phases(f"boot {FROM}"):
            guest.wait_for_boot()
        with phases("start"):
            running = start(guest, servers)
        units = " ".join(server.unit for server in running)
        guest.run(f"kernel-swap enable {units}", check=False)
        print(guest.run(f"kernel-swap check --kernel={workload.release(TO)}", 120, check=False).stdout, flush=True)
        pids = {server.unit: guest.run(f"systemctl show -P MainPID {server.unit}").stdout.strip() for server in running}
        with phases(f"swap to {TO}"):
            try:
                guest.run(f"kernel-swap now --skip-unready --kernel={workload.release(TO)}", 300)
            except Rebooted:
                pass  # the answer was lost on the way
            guest.wait_for_boot(600)
        _, status = workload.status()
        print(guest.run("kernel-swap status", check=False).stdout, flush=True)
        told = {unit["unit"]: unit for unit in status["units"]}
        time.sleep(REST)
        for server in running:
            trouble = judge(guest, server, told, pids[server.unit])
            print(f"  {server.unit}: {trouble or 'as it should be'}", flush=True)
            if trouble:
                log = guest.run(f"journalctl -q -b -n 12 -o cat -u {server.unit}", check=False).stdout
                print(log, flush=True)
                wrong.append(server.unit)
    return wrong + [server.unit for server in servers if server not in running]


def scenario():
    phases = Phases()
    servers = [server for server in SERVERS if not WANTED or server.name in WANTED]
    assert len(servers) >= len(WANTED), f"not all are known: {WANTED}"
    packages = sorted({package for server in SERVERS for package in server.packages.split()} | set(TOOLS))
    with phases("disk"), Tree() as tree:
        tree.enable("systemd-networkd.service")
        tree.enable("apparmor.service", "sysinit.target")
        image, kernels = guest_disk(tree.path, packages=packages)
    wrong = []
    for first in range(0, len(servers), TOGETHER):
        wrong += survey(phases, image, kernels, servers[first:first + TOGETHER])
    assert not wrong, wrong


if __name__ == "__main__":
    sys.exit(main(scenario))
