// SPDX-License-Identifier: LGPL-2.1-or-later
// Pseudo-terminals with output that nobody has read: as it is processed by default, and a lot of it, raw; what is
// written later comes after it.
#include <poll.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <termios.h>

#include <string>

#include "program.h"

struct Ends {
  int master, slave;
};
static Ends open_terminal(int flags) {
  int master = posix_openpt(O_RDWR | O_NOCTTY | flags);
  if (master < 0 || grantpt(master) || unlockpt(master)) skip("no pseudo-terminals");
  int slave = open(ptsname(master), O_RDWR | O_NOCTTY);
  CHECK(slave >= 0);
  return {master, slave};
}
static void write_text(int fd, const std::string& text) {
  CHECK(write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size()));
}
static void expect(int master, const std::string& text) {
  std::string got(text.size() + 1, '\0');
  size_t length = 0;
  pollfd waiting{.fd = master, .events = POLLIN};
  while (length < got.size() && poll(&waiting, 1, length < text.size() ? 1000 : 0) > 0) {
    ssize_t some = read(master, got.data() + length, got.size() - length);
    CHECK(some > 0);
    length += static_cast<size_t>(some);
  }
  got.resize(length);
  CHECK(got == text);
}
static std::string bytes(size_t count) {
  std::string text;
  for (size_t i = 0; i < count; ++i) text += static_cast<char>(i * 7 + i / 256);
  return text;
}

int main() {
  Ends cooked = open_terminal(0), raw = open_terminal(O_NONBLOCK), quiet = open_terminal(0);
  termios settings, after;
  memset(&settings, 0, sizeof settings);
  memset(&after, 0, sizeof after);
  CHECK(tcgetattr(raw.slave, &settings) == 0);
  cfmakeraw(&settings);
  CHECK(tcsetattr(raw.slave, TCSANOW, &settings) == 0);
  CHECK(tcgetattr(cooked.slave, &settings) == 0 && settings.c_oflag & OPOST);
  write_text(cooked.slave, "one\ntwo\tthree");
  write_text(raw.slave, bytes(4094));
  int epoll = epoll_create1(0);
  epoll_event level{.events = EPOLLIN, .data = {.u64 = 1}}, got[2];
  CHECK(epoll_ctl(epoll, EPOLL_CTL_ADD, cooked.master, &level) == 0);
  CHECK(epoll_ctl(epoll, EPOLL_CTL_ADD, quiet.master, &level) == 0);
  int to_child[2];
  CHECK(pipe(to_child) == 0);
  pid_t child = fork_to([&] {
    char byte;
    CHECK(read(to_child[0], &byte, 1) == 1);
    write_text(cooked.slave, "\nfour\n");
    write_text(raw.slave, "\n\n");
  });
  usleep(20'000);
  ready();
  CHECK(tcgetattr(cooked.slave, &after) == 0 && memcmp(&settings, &after, sizeof after) == 0);
  CHECK(epoll_wait(epoll, got, 2, 0) == 1);
  int status;
  CHECK(write(to_child[1], "", 1) == 1 && waitpid(child, &status, 0) == child && status == 0);
  expect(cooked.master, "one\r\ntwo\tthree\r\nfour\r\n");
  expect(raw.master, bytes(4094) + "\n\n");
  expect(quiet.master, "");
  return 0;
}
