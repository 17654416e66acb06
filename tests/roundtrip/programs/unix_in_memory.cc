// SPDX-License-Identifier: LGPL-2.1-or-later
// Sockets that listen in directories on a tmpfs which the program has made itself, as some do below /run; and those,
// there and on disk, whose files have got other names since they were bound.
#include <sys/socket.h>
#include <sys/un.h>

#include "program.h"

static sockaddr_un address_of(const std::string& path) {
  sockaddr_un address{.sun_family = AF_UNIX};
  strcpy(address.sun_path, path.c_str());
  return address;
}
static int listen_at(const std::string& path, int type = SOCK_STREAM) {
  sockaddr_un address = address_of(path);
  int fd = socket(AF_UNIX, type, 0);
  CHECK(bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
  CHECK(type == SOCK_DGRAM || listen(fd, 3) == 0);
  return fd;
}
static bool can_connect(const std::string& path, int type = SOCK_STREAM) {
  sockaddr_un address = address_of(path);
  int fd = socket(AF_UNIX, type, 0);
  bool done = connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
  close(fd);
  return done;
}
static bool is_named(int fd, const std::string& path) {
  sockaddr_un address{};
  socklen_t length = sizeof address;
  return getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length) == 0 && path == address.sun_path;
}

int main() {
  std::string outer = "/dev/shm/kernel-swap-test-" + std::to_string(getpid()), inner = outer + "/inner",
              path = inner + "/socket", bound = outer + "/bound", final = outer + "/final", kept = outer + "/kept",
              also = outer + "/also";
  CHECK(mkdir(outer.c_str(), 0751) == 0 && mkdir(inner.c_str(), 0710) == 0);
  CHECK(chown(inner.c_str(), 1, 2) == 0);
  listen_at(path);
  int linked = listen_at(bound), twice = listen_at(kept, SOCK_DGRAM), renamed = listen_at("temporary");
  CHECK(link(bound.c_str(), final.c_str()) == 0 && unlink(bound.c_str()) == 0);
  CHECK(link(kept.c_str(), also.c_str()) == 0 && chmod(also.c_str(), 0622) == 0);
  CHECK(rename("temporary", "known") == 0);
  ready();
  struct stat stat, other;
  CHECK(::stat(outer.c_str(), &stat) == 0 && (stat.st_mode & 07777) == 0751);
  CHECK(::stat(inner.c_str(), &stat) == 0 && (stat.st_mode & 07777) == 0710 && stat.st_uid == 1 && stat.st_gid == 2);
  CHECK(can_connect(path));
  CHECK(is_named(linked, bound) && access(bound.c_str(), F_OK) == -1 && can_connect(final));
  CHECK(is_named(renamed, "temporary") && access("temporary", F_OK) == -1 && can_connect("known"));
  CHECK(::stat(kept.c_str(), &stat) == 0 && ::stat(also.c_str(), &other) == 0 && stat.st_ino == other.st_ino);
  CHECK(is_named(twice, kept) && stat.st_nlink == 2 && (stat.st_mode & 07777) == 0622);
  CHECK(can_connect(kept, SOCK_DGRAM) && can_connect(also, SOCK_DGRAM) && unlink("known") == 0);
  for (const auto& name : {path, final, kept, also}) CHECK(unlink(name.c_str()) == 0);
  CHECK(rmdir(inner.c_str()) == 0 && rmdir(outer.c_str()) == 0);
}
