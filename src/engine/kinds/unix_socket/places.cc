// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kinds/unix_socket/places.h"

#include <fmt/format.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <thread>

#include "base/file.h"
#include "engine/context/carried_files.h"
#include "engine/kernel/socket.h"
#include "engine/kinds/unix_socket/unix_socket.h"

namespace ks::engine::unix_socket {

namespace {

// In a file system of its own, which ends with the last who has something of it open.
Result<> in_nowhere(const std::function<Result<>()>& work) {
  Result<> done;
  std::thread([&] {
    if (::unshare(CLONE_FS | CLONE_NEWNS) || ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) ||
        ::mount("none", "/tmp", "tmpfs", 0, nullptr) || ::chdir("/tmp") || ::chroot("."))
      done = fail_errno("a file system for names that are gone");
    else
      done = work();
  }).join();
  return done;
}

// What an earlier socket has left there, nobody listens at any more.
Result<> clear_the_way(const std::string& path, const SocketType& type, const std::string& name) {
  struct stat stat{};
  if (::lstat(path.c_str(), &stat)) return {};
  if (!S_ISSOCK(stat.st_mode)) return fail("there is something else by now");
  Fd asks = TRY(make_socket({AF_UNIX, type.type | SOCK_NONBLOCK, 0}));
  if (::connect(asks.get(), as_address(name), size_of(name)) == 0 || errno != ECONNREFUSED)
    return fail("is somebody else's by now");
  if (::unlink(path.c_str())) return fail_errno("unlink");
  return {};
}

std::string name_of(const std::string& path) {
  sockaddr_un address{.sun_family = AF_UNIX};
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  return {reinterpret_cast<const char*>(&address), offsetof(sockaddr_un, sun_path) + path.size() + 1};
}

// As it has been renamed or linked.
Result<> name_again(const std::string& path, const SocketType& type, const image::UnixSocket::File& file) {
  for (const std::string& name : file.names()) {
    std::string other = std::filesystem::path(path).parent_path() / name;
    if (other.size() >= sizeof sockaddr_un::sun_path) return fail(other + ": is too long for a socket's name");
    TRY(in(other, clear_the_way(other, type, name_of(other))));
    if (::link(path.c_str(), other.c_str())) return fail_errno(other);
  }
  if (file.renamed() && ::unlink(path.c_str())) return fail_errno(path);
  return {};
}

}  // namespace

std::string file_name(std::string_view name) {
  std::string path(path_of(name));
  path.resize(::strnlen(path.data(), path.size()));
  return path;
}

Result<> in_directory(int root, const std::string& directory, const std::function<Result<>()>& work) {
  Result<> done;
  std::thread([&] {
    if (::unshare(CLONE_FS) || ::fchdir(root) || ::chroot(".") || ::chdir(directory.c_str()))
      done = fail_errno(directory);
    else
      done = work();
  }).join();
  return done;
}

Result<Fd> bind_to_file(int root, int fd, const SocketType& type, const image::UnixSocket& socket) {
  std::string path = file_name(socket.name());
  const auto& file = socket.file();
  if (image::CarriedFileList::File place; !file.place().empty()) {
    if (!place.ParseFromString(file.place())) return fail("the image's record of a socket cannot be read");
    TRY(open_above(root, place));
  }
  Fd door;
  TRY(in_directory(root, file.directory(), [&]() -> Result<> {
    TRY(clear_the_way(path, type, socket.name()));
    if (::bind(fd, as_address(socket.name()), size_of(socket.name()))) return fail_errno("bind");
    if (::lchown(path.c_str(), file.user(), file.group()) || ::chmod(path.c_str(), file.mode()))
      return fail_errno("chmod");
    door = TRY(open_file(path, O_PATH | O_NOFOLLOW));
    return name_again(path, type, file);
  }));
  return door;
}

Result<Fd> bind_to_name(int fd, const std::string& name) {
  auto bind = [&]() -> Result<> {
    return ::bind(fd, as_address(name), size_of(name)) ? fail_errno("bind") : Result<>();
  };
  Fd door;
  if (is_abstract(name)) {
    TRY(bind());
    return door;
  }
  TRY(in_nowhere([&]() -> Result<> {
    std::string path = file_name(name);
    std::error_code error;
    auto above = std::filesystem::path(path).parent_path();
    if (!above.empty()) std::filesystem::create_directories(above, error);
    if (error) return fail(error.message());
    TRY(bind());
    door = TRY(open_file(path, O_PATH | O_NOFOLLOW));
    return ::unlink(path.c_str()) ? fail_errno("unlink") : Result<>();
  }));
  return door;
}

std::string way_through(int door) { return name_of(fmt::format("/proc/self/fd/{}", door)); }

}  // namespace ks::engine::unix_socket
