// SPDX-License-Identifier: LGPL-2.1-or-later
// Children that SIGSTOP has come to once more after it had stopped them, with and without threads. (Nobody but a
// reader of /proc sees the second one, which an engine that is killed may take along.)
#include <string>
#include <thread>

#include "program.h"

static std::string status_of(pid_t pid) {
  std::string path = "/proc/" + std::to_string(pid) + "/status";
  char text[8192]{};
  int fd = open(path.c_str(), O_RDONLY);
  CHECK(fd >= 0 && read(fd, text, sizeof text - 1) > 0);
  close(fd);
  return text;
}
static bool is_stopped(const std::string& status) { return status.find("State:\tT (stopped)") != status.npos; }
static bool is_to_be_stopped(const std::string& status) {
  uint64_t pending = std::stoull(status.substr(status.find("ShdPnd:") + 7), nullptr, 16);
  return pending >> (SIGSTOP - 1) & 1;
}

static pid_t start(bool threads) {
  pid_t child = fork();
  CHECK(child >= 0);
  if (child) return child;
  std::thread other;
  if (threads) other = std::thread(wait_until_told);
  wait_until_told();
  if (threads) other.join();
  _exit(0);
}

int main() {
  pid_t children[] = {start(false), start(true)};
  for (pid_t child : children) {
    CHECK(kill(child, SIGSTOP) == 0);
    siginfo_t info;
    CHECK(waitid(P_PID, static_cast<id_t>(child), &info, WSTOPPED) == 0);
    CHECK(kill(child, SIGSTOP) == 0 && is_to_be_stopped(status_of(child)));
  }
  ready();
  for (pid_t child : children) {
    CHECK(is_stopped(status_of(child)));
    CHECK(kill(child, SIGCONT) == 0);
    int end;
    CHECK(waitpid(child, &end, 0) == child && end == 0);
  }
  return 0;
}
