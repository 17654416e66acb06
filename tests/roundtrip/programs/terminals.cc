// SPDX-License-Identifier: LGPL-2.1-or-later
// A pseudo-terminal with a session of its own on it, as a terminal multiplexer has: settings, window size, modes,
// node, foreground group, a background process, one that has given the terminal up; input and output go on.
#include <poll.h>
#include <sys/ioctl.h>
#include <termios.h>

#include <string>

#include "program.h"

static std::string read_line(int fd) {
  std::string line;
  char byte;
  while (read(fd, &byte, 1) == 1)
    if (byte == '\n')
      return line;
    else
      line += byte;
  return line + "?";
}
static void send(int fd, const std::string& text) {
  CHECK(write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size()));
}

// The leader of the session: answers each line with its own view of the terminal.
static void lead(int slave) {
  CHECK(setsid() > 0 && ioctl(slave, TIOCSCTTY, 0) == 0);
  pid_t job = fork();
  if (job == 0) {
    CHECK(setpgid(0, 0) == 0);
    while (tcgetpgrp(slave) != getpid()) usleep(1000);  // only the foreground may read
    for (;;) {
      std::string line = read_line(slave);
      if (line == "end") _exit(0);
      dprintf(slave, "job %s\n", line.c_str());
    }
  }
  int given_up[2];
  CHECK(pipe(given_up) == 0);
  pid_t daemon = fork();
  if (daemon == 0) {
    CHECK(ioctl(slave, TIOCNOTTY) == 0 && open("/dev/tty", O_RDWR) == -1 && errno == ENXIO);
    close(given_up[0]);
    CHECK(write(given_up[1], "", 1) == 1);
    wait_until_told();
    CHECK(open("/dev/tty", O_RDWR) == -1 && errno == ENXIO && tcgetsid(slave) == -1);
    _exit(0);
  }
  char byte;
  CHECK(read(given_up[0], &byte, 1) == 1 && close(given_up[0]) == 0 && close(given_up[1]) == 0);
  signal(SIGTTOU, SIG_IGN);
  setpgid(job, job);
  int early = open("/dev/tty", O_WRONLY | O_CLOEXEC);
  CHECK(early >= 0);
  CHECK(tcsetpgrp(slave, job) == 0);
  int status;
  CHECK(waitpid(job, &status, 0) == job && status == 0);  // it is told when the driver says so
  CHECK(tcsetpgrp(slave, getpid()) == 0 && tcgetsid(slave) == getpid());
  int tty = open("/dev/tty", O_RDWR);
  CHECK(fcntl(early, F_GETFD) == FD_CLOEXEC && tcgetsid(early) == getpid());
  CHECK(tty >= 0 && waitpid(daemon, &status, 0) == daemon && status == 0);
  dprintf(tty, "leader\n");
  _exit(0);
}

int main() {
  int first = posix_openpt(O_RDWR | O_NOCTTY);  // takes a lower number, and goes
  int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
  if (master < 0 || grantpt(master) || unlockpt(master)) skip("no pseudo-terminals");
  std::string name = ptsname(master);
  int slave = open(name.c_str(), O_RDWR | O_NOCTTY), other = open(name.c_str(), O_RDONLY | O_NOCTTY | O_NONBLOCK);
  CHECK(slave >= 0 && other >= 0 && close(first) == 0);
  termios settings, after;
  memset(&settings, 0, sizeof settings);  // they have gaps, and are compared
  memset(&after, 0, sizeof after);
  winsize size{33, 77, 5, 6}, got{};
  CHECK(tcgetattr(slave, &settings) == 0);
  settings.c_lflag &= ~static_cast<tcflag_t>(ECHO | ECHOE);
  settings.c_oflag &= ~static_cast<tcflag_t>(OPOST);
  settings.c_iflag |= IUTF8;
  settings.c_cc[VINTR] = 7;
  cfsetspeed(&settings, B57600);
  CHECK(tcsetattr(slave, TCSANOW, &settings) == 0 && ioctl(master, TIOCSWINSZ, &size) == 0);
  CHECK(fchown(slave, 12, 5) == 0 && fchmod(slave, 0602) == 0);
  int on = 1;
  CHECK(ioctl(slave, TIOCEXCL) == 0);
  pid_t leader = fork();
  if (leader == 0) {
    close(master);
    close(other);
    lead(slave);
  }

  int second = posix_openpt(O_RDWR | O_NONBLOCK);  // in packet mode, without a session
  CHECK(grantpt(second) == 0 && unlockpt(second) == 0 && ioctl(second, TIOCPKT, &on) == 0);
  int second_slave = open(ptsname(second), O_RDWR | O_NOCTTY);
  CHECK(second_slave >= 0 && tcgetattr(second_slave, &after) == 0 && ioctl(second, TIOCSPTLCK, &on) == 0);
  cfmakeraw(&after);
  CHECK(tcsetattr(second_slave, TCSANOW, &after) == 0);
  char bytes[8];
  while (read(second, bytes, sizeof bytes) > 0) continue;  // of the change

  send(master, "one\n");
  CHECK(read_line(master) == "job one");
  struct stat facts, node;
  ready();
  CHECK(fstat(slave, &facts) == 0 && stat(name.c_str(), &node) == 0 && facts.st_ino == node.st_ino);
  CHECK(facts.st_uid == 12 && (facts.st_mode & 07777) == 0602 && name == ptsname(master));
  CHECK(tcgetattr(master, &after) == 0 && memcmp(&settings, &after, sizeof after) == 0);
  CHECK(ioctl(other, TIOCGWINSZ, &got) == 0 && memcmp(&size, &got, sizeof got) == 0);
  CHECK(ioctl(slave, TIOCGEXCL, &on) == 0 && on == 1 && ioctl(master, TIOCGEXCL, &on) == 0 && on == 0);
  CHECK(fcntl(other, F_GETFL) & O_NONBLOCK && read(other, bytes, 1) == -1 && errno == EAGAIN);
  send(master, "two\n");
  CHECK(read_line(master) == "job two");
  send(master, "three\nend\n");
  CHECK(read_line(master) == "job three" && read_line(master) == "leader");
  int status;
  CHECK(waitpid(leader, &status, 0) == leader && status == 0);

  CHECK(ioctl(second, TIOCGPKT, &on) == 0 && on == 1 && ioctl(second, TIOCGPTLCK, &on) == 0 && on == 1);
  pollfd waiting{.fd = second, .events = POLLIN | POLLPRI};
  CHECK(poll(&waiting, 1, 0) == 0);
  send(second_slave, "x\n");
  CHECK(read(second, bytes, 8) == 3 && bytes[0] == TIOCPKT_DATA && memcmp(bytes + 1, "x\n", 2) == 0);
  return 0;
}
