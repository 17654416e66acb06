// SPDX-License-Identifier: LGPL-2.1-or-later
// A socket that listens in directories on a tmpfs which the program has made itself, as some do below /run.
#include <sys/socket.h>
#include <sys/un.h>

#include "program.h"

int main() {
  sockaddr_un address{.sun_family = AF_UNIX};
  std::string outer = "/dev/shm/kernel-swap-test-" + std::to_string(getpid()), inner = outer + "/inner",
              path = inner + "/socket";
  CHECK(mkdir(outer.c_str(), 0751) == 0 && mkdir(inner.c_str(), 0710) == 0);
  CHECK(chown(inner.c_str(), 1, 2) == 0);
  strcpy(address.sun_path, path.c_str());
  int listener = socket(AF_UNIX, SOCK_STREAM, 0);
  CHECK(bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0 && listen(listener, 3) == 0);
  ready();
  struct stat stat;
  CHECK(::stat(outer.c_str(), &stat) == 0 && (stat.st_mode & 07777) == 0751);
  CHECK(::stat(inner.c_str(), &stat) == 0 && (stat.st_mode & 07777) == 0710 && stat.st_uid == 1 && stat.st_gid == 2);
  int client = socket(AF_UNIX, SOCK_STREAM, 0);
  CHECK(connect(client, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
  CHECK(unlink(path.c_str()) == 0 && rmdir(inner.c_str()) == 0 && rmdir(outer.c_str()) == 0);
}
