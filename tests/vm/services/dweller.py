# SPDX-License-Identifier: LGPL-2.1-or-later
"""dweller.py [groups|rooted|temporary]: lives in a sandbox, with a child and a thread, and tells at each SIGUSR1 what the sandbox lets it do.

A line is JSON: how many lines there were before, which is kept in memory, and how each attempt ended, by its error or by the
signal that ended it. "groups": child and thread live in control groups of their own. "rooted": it has another root directory, and
keeps something in its RuntimeDirectory= and in a private /tmp all the same. "temporary": it keeps something in /tmp.
"""
import ctypes
import errno
import json
import mmap
import os
import signal
import socket
import sys
import threading

LIBC = ctypes.CDLL(None, use_errno=True)


def group():
    with open("/proc/thread-self/cgroup") as file:
        return [line[3:-1] for line in file if line.startswith("0::")][0]


def put(path, text):
    with open(path, "w") as file:
        file.write(text)


def attempt(act):
    """"ok", or the name of the error or of the signal: in a child, since the sandbox may end who tries."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        answer = b"ok"
        try:
            act()
        except OSError as error:
            answer = errno.errorcode[error.errno].encode()
        os.write(writer, answer)
        os._exit(0)
    os.close(writer)
    answer = os.read(reader, 100).decode()
    os.close(reader)
    _, status = os.waitpid(pid, 0)
    return signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else answer


def call(name, *arguments):
    def act():
        if getattr(LIBC, name)(*arguments) < 0:
            raise OSError(ctypes.get_errno(), name)
    return act


def write_in(directory):
    def act():
        path = f"{directory}/dweller-{os.getpid()}"
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
        os.unlink(path)
    return act


def bind_low():
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # others try as well
        one.bind(("127.0.0.1", 80))


ATTEMPTS = {
    "write in /etc": write_in("/etc"),
    "write in /usr": write_in("/usr"),
    "write in /var/lib": write_in("/var/lib"),
    "write in /tmp": write_in("/tmp"),
    "mount": call("mount", b"none", b"/nonexistent", b"tmpfs", 0, None),
    "set the host's name": lambda: socket.sethostname(socket.gethostname()),
    "become root": lambda: os.setresuid(0, 0, 0),
    "become nobody": lambda: os.setresuid(65534, 65534, 65534),
    "bind a low port": bind_low,
    "open a packet socket": lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW).close(),
    "make a user namespace": call("unshare", 0x10000000),
    "see init": lambda: os.stat("/proc/1/status"),
    "see the memory's device": lambda: os.stat("/dev/mem"),
    "list /home": lambda: os.listdir("/home"),
    "read a credential": lambda: os.stat(os.environ.get("CREDENTIALS_DIRECTORY", "/none") + "/word"),
}


class Counter:
    """In a file of /tmp, mapped as a JVM's counters are."""

    def __init__(self):
        os.mkdir("/tmp/dweller", 0o750)
        self.path = "/tmp/dweller/counter"
        with open(self.path, "wb+") as file:
            file.truncate(mmap.PAGESIZE)
            self.memory = mmap.mmap(file.fileno(), mmap.PAGESIZE)

    def count(self):
        """By memory and by the file of that name, which are one."""
        self.memory[0] += 1
        with open(self.path, "rb") as file:
            return [self.memory[0], file.read(1)[0], oct(os.stat("/tmp/dweller").st_mode)]


class Outside:
    """What a process keeps of directories that it can name no more."""

    def __init__(self):
        self.directories = [os.open(path, os.O_RDONLY) for path in (os.environ["RUNTIME_DIRECTORY"], "/tmp")]
        for number, directory in enumerate(self.directories):
            with open(f"/proc/self/fd/{directory}/kept", "x") as file:
                file.write(str(number))
        os.chroot("/var/lib")

    def count(self):
        found = []
        for directory in self.directories:
            file = os.open("kept", os.O_RDONLY, dir_fd=directory)
            found.append(os.read(file, 10).decode())
            os.close(file)
        return found


def tell(lines, counter):
    facts = {name: attempt(act) for name, act in ATTEMPTS.items()}
    facts["interfaces"] = [name for _, name in socket.if_nameindex()]
    facts["ids"] = [os.getresuid(), os.getresgid(), os.getgroups()]
    facts["limits"] = sorted(os.sched_getaffinity(0)), os.getpriority(os.PRIO_PROCESS, 0)
    if isinstance(counter, Outside):
        facts["outside"] = counter.count()
    elif counter:
        same, there, mode = counter.count()
        facts["counter"] = [same == there == lines, mode]
    print(json.dumps({"lines": lines, "facts": facts}), flush=True)


def live_apart(where, what):
    if where:
        put(f"/sys/fs/cgroup{where}/{what}", str(threading.get_native_id()))
    threading.Event().wait()


def main():
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    child_group = thread_group = ""
    if sys.argv[1:] == ["groups"]:
        # The group's own processes must be one level down before a domain of threads can be beside others.
        top = group()
        child_group, crowd = f"{top}/child", f"{top}/crowd"
        thread_group = f"{crowd}/thread"
        for path in (child_group, crowd, thread_group):
            os.mkdir(f"/sys/fs/cgroup{path}")
        put(f"/sys/fs/cgroup{crowd}/cgroup.procs", "0")
        put(f"/sys/fs/cgroup{thread_group}/cgroup.type", "threaded")
        put(f"/sys/fs/cgroup{crowd}/cgroup.max.descendants", "7")
    if os.fork() == 0:
        live_apart(child_group, "cgroup.procs")
    threading.Thread(target=live_apart, args=(thread_group, "cgroup.threads"), daemon=True).start()
    counter = {"temporary": Counter, "rooted": Outside}.get(sys.argv[-1], lambda: None)()
    lines = 0
    while True:
        lines += 1
        tell(lines, counter)
        signal.sigwait([signal.SIGUSR1])


main()
