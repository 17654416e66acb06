// SPDX-License-Identifier: LGPL-2.1-or-later
// Watches a directory, the argument, with inotify(7): what is made in it after the program has come back is told, and
// nothing of what was in between.
#include <sys/inotify.h>

#include "program.h"

int main(int, char** arguments) {
  std::string directory = arguments[1];
  int fd = inotify_init1(IN_NONBLOCK);
  CHECK(fd >= 0 && inotify_add_watch(fd, directory.c_str(), IN_CREATE) == 1);
  ready();
  alignas(inotify_event) char bytes[4096];
  CHECK(read(fd, bytes, sizeof bytes) == -1 && errno == EAGAIN);
  std::string file = directory + "/file";
  CHECK(close(open(file.c_str(), O_WRONLY | O_CREAT, 0600)) == 0);
  CHECK(read(fd, bytes, sizeof bytes) > 0);
  auto* event = reinterpret_cast<inotify_event*>(bytes);
  CHECK(event->wd == 1 && event->mask == IN_CREATE && std::string(event->name) == "file");
  CHECK(unlink(file.c_str()) == 0 && rmdir(directory.c_str()) == 0);
  return 0;
}
