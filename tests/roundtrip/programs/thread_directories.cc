// SPDX-License-Identifier: LGPL-2.1-or-later
// Threads with a working directory, root and umask of their own (unshare(2) with CLONE_FS), as file servers have.
#include <sched.h>

#include <string>
#include <thread>

#include "program.h"

static std::string place() {
  char text[4096];
  CHECK(getcwd(text, sizeof text));
  return text;
}
static mode_t mask() {
  mode_t is = umask(0);
  umask(is);
  return is;
}

int main() {
  static volatile bool finish = false;
  CHECK(mkdir("one", 0700) == 0 && mkdir("two", 0700) == 0 && mkdir("two/three", 0700) == 0 &&
        mkdir("gone", 0700) == 0);
  std::string before = place();
  auto live = [&](const std::string& seen, mode_t mode) {
    while (!finish) usleep(1000);
    CHECK(place() == seen && mask() == mode);
  };
  std::thread one([&] {
    CHECK(unshare(CLONE_FS) == 0 && chdir("one") == 0);
    umask(0077);
    live(before + "/one", 0077);
  });
  std::thread two([&] {
    CHECK(unshare(CLONE_FS) == 0 && chroot("two") == 0 && chdir("/three") == 0);
    umask(0);
    live("/three", 0);
  });
  std::thread gone([&] {
    CHECK(unshare(CLONE_FS) == 0 && chdir("gone") == 0 && rmdir("../gone") == 0);
    while (!finish) usleep(1000);
    char text[4096];
    CHECK(!getcwd(text, sizeof text) && errno == ENOENT && mask() == 022);
  });
  std::thread with([&] { live(before, 022); });
  usleep(20'000);
  ready();
  CHECK(place() == before && mask() == 022);
  finish = true;
  for (auto* thread : {&one, &two, &gone, &with}) thread->join();
  return 0;
}
