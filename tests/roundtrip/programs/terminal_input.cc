// SPDX-License-Identifier: LGPL-2.1-or-later
// Pseudo-terminals with input that nobody has read: lines, the end of a file, lines that end otherwise, what was
// typed after a quoting character, a line that is not ended yet and is edited later; bytes, as many as there can be.
#include <poll.h>
#include <sys/ioctl.h>
#include <termios.h>

#include <string>

#include "program.h"

struct Ends {
  int master, slave;
};
static termios settings_of(int slave) {
  termios settings;
  memset(&settings, 0, sizeof settings);
  CHECK(tcgetattr(slave, &settings) == 0);
  return settings;
}
static Ends open_terminal(void (*change)(termios&) = [](termios&) {}) {
  int master = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK);
  if (master < 0 || grantpt(master) || unlockpt(master)) skip("no pseudo-terminals");
  int slave = open(ptsname(master), O_RDWR | O_NOCTTY);
  CHECK(slave >= 0);
  termios settings = settings_of(slave);
  settings.c_lflag &= ~static_cast<tcflag_t>(ECHO);
  change(settings);
  CHECK(tcsetattr(slave, TCSANOW, &settings) == 0);
  return {master, slave};
}
static void type(int master, const std::string& text) {
  CHECK(write(master, text.data(), text.size()) == static_cast<ssize_t>(text.size()));
}
static bool is_ready(int fd, int milliseconds) {
  pollfd waiting{.fd = fd, .events = POLLIN};
  return poll(&waiting, 1, milliseconds) == 1;
}
static std::string read_once(int fd) {
  std::string got(8192, '\0');
  if (!is_ready(fd, 2000)) return "nothing";
  ssize_t length = read(fd, got.data(), got.size());
  got.resize(static_cast<size_t>(length < 0 ? 0 : length));
  return got;
}
// An echo comes in as many pieces as the terminal makes of it.
static bool echoes(int fd, const std::string& wanted) {
  std::string got;
  while (got.size() < wanted.size()) got += read_once(fd);
  return got == wanted;
}
static std::string bytes(size_t count) {
  std::string text;
  for (size_t i = 0; i < count; ++i) text += static_cast<char>(i * 7 + i / 256);
  return text;
}
static std::string long_line() {
  std::string text = bytes(3000);
  for (char& character : text)
    if (static_cast<unsigned char>(character) < 32 || character == 127) character = '.';
  return text;
}

int main() {
  Ends lines = open_terminal(), begun = open_terminal(), ended = open_terminal(), large = open_terminal();
  Ends echoing = open_terminal([](termios& settings) { settings.c_lflag |= ECHO; });
  Ends others = open_terminal([](termios& settings) {
    settings.c_cc[VEOL] = 1;  // these would be the first that one takes who chooses
    settings.c_cc[VEOL2] = 2;
    settings.c_cc[VEOF] = 5;
  });
  Ends raw = open_terminal([](termios& settings) { cfmakeraw(&settings); });
  Ends full = open_terminal([](termios& settings) { cfmakeraw(&settings); });
  Ends pushed = open_terminal([](termios& settings) { cfmakeraw(&settings); });
  type(lines.master, "one\ntw\x7fwo\n\x16\x04\x16\n\x16\xff end\n\nthree\n");
  type(begun.master, "complete\nnot yet\xc3\xa4");
  type(ended.master, "file\x04\x04");
  type(large.master, long_line());
  type(echoing.master, "shown");
  CHECK(echoes(echoing.master, "shown"));
  type(others.master,
       "a\x01"
       "b\x02"
       "c\nd\x05"
       "e");
  type(raw.master, "a\n\x04\x16" + std::string("\0\xff", 2));
  type(full.master, bytes(4094));
  type(pushed.master, "was raw");
  CHECK(is_ready(pushed.slave, 2000));
  termios edited = settings_of(pushed.slave);
  edited.c_lflag |= ICANON;
  CHECK(tcsetattr(pushed.slave, TCSANOW, &edited) == 0);
  Ends all[] = {lines, begun, ended, large, echoing, others, raw, full, pushed};
  termios before[std::size(all)];
  for (size_t i = 0; i < std::size(all); ++i) before[i] = settings_of(all[i].slave);
  usleep(20'000);
  ready();
  for (size_t i = 0; i < std::size(all); ++i) {
    termios after = settings_of(all[i].slave);
    CHECK(memcmp(&before[i], &after, sizeof after) == 0);
    CHECK(!is_ready(all[i].master, 0));
  }
  CHECK(read_once(lines.slave) == "one\n");
  CHECK(read_once(lines.slave) == "two\n");
  CHECK(read_once(lines.slave) == "\x04\n\xff end\n");
  CHECK(read_once(lines.slave) == "\n");
  CHECK(read_once(lines.slave) == "three\n");
  CHECK(!is_ready(lines.slave, 0));
  CHECK(read_once(begun.slave) == "complete\n");
  CHECK(!is_ready(begun.slave, 0));
  type(begun.master, "\x7f\x7f\x7f.\n");  // a character of two bytes in a terminal that knows none
  CHECK(read_once(begun.slave) == "not ye.\n");
  CHECK(read_once(ended.slave) == "file");
  CHECK(read_once(ended.slave) == "");
  CHECK(!is_ready(ended.slave, 0) && !is_ready(large.slave, 0));
  type(large.master, "\n");
  CHECK(read_once(large.slave) == long_line() + "\n");
  type(echoing.master, "\x7f\n");
  CHECK(read_once(echoing.slave) == "show\n");
  CHECK(echoes(echoing.master, "\b \b\r\n"));
  CHECK(read_once(others.slave) == "a\x01");
  CHECK(read_once(others.slave) == "b\x02");
  CHECK(read_once(others.slave) == "c\n");
  CHECK(read_once(others.slave) == "d");
  CHECK(!is_ready(others.slave, 0));
  type(others.master, "\n");
  CHECK(read_once(others.slave) == "e\n");
  CHECK(read_once(raw.slave) == "a\n\x04\x16" + std::string("\0\xff", 2));
  CHECK(read_once(full.slave) == bytes(4094));
  CHECK(read_once(pushed.slave) == "was raw");
  type(pushed.master, "now\n");
  CHECK(read_once(pushed.slave) == "now\n");
  return 0;
}
