// SPDX-License-Identifier: LGPL-2.1-or-later
#include "upgrade/pid_file.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <filesystem>

#include "base/file.h"

namespace ks::upgrade {

namespace {

constexpr off_t kMostBytes = 4096;

Result<Fd> open_directory(const std::string& path) {
  open_how how{.flags = O_PATH | O_DIRECTORY | O_CLOEXEC, .mode = 0, .resolve = RESOLVE_NO_SYMLINKS};
  long fd = ::syscall(SYS_openat2, AT_FDCWD, path.c_str(), &how, sizeof how);
  if (fd < 0) return fail_errno(path);
  return Fd(static_cast<int>(fd));
}

Result<struct stat> look_at(int fd, const std::string& path) {
  struct stat stat{};
  if (::fstat(fd, &stat)) return fail_errno(path);
  return stat;
}

Ownership ownership(const struct stat& stat) { return {stat.st_mode & 07777, stat.st_uid, stat.st_gid}; }

Result<> give(int fd, const Ownership& owner, const std::string& path) {
  if (::fchown(fd, owner.user, owner.group) || ::fchmod(fd, owner.mode)) return fail_errno(path);
  return {};
}

// systemd-tmpfiles has made most of them again; this one has been made by the service, or by an ExecStartPre=.
Result<> make_directory(const PidFile& file) {
  std::filesystem::path path(file.directory);
  Fd above = TRY(open_directory(path.parent_path()));
  std::string name = path.filename();
  if (::mkdirat(above.get(), name.c_str(), 0700)) return fail_errno(file.directory);
  Fd made = TRY(open_at(above.get(), name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  return give(made.get(), file.directory_owner, file.directory);
}

}  // namespace

Result<PidFile> save_pid_file(const std::string& path) {
  std::filesystem::path whole(path);
  std::error_code error;
  PidFile file{.directory = std::filesystem::canonical(whole.parent_path(), error), .name = whole.filename()};
  if (path.empty() || error) return PidFile{};
  Fd directory = TRY(open_directory(file.directory));
  auto fd = open_at(directory.get(), file.name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  if (!fd && fd.error().code == ENOENT) return PidFile{};
  if (!fd) return std::unexpected(in(path, std::move(fd)).error());
  auto facts = TRY(look_at(fd->get(), path));
  if (!S_ISREG(facts.st_mode) || facts.st_size > kMostBytes) return fail(path + ": is not like a PID file");
  file.text = TRY(read_all(fd->get(), path));
  file.owner = ownership(facts);
  file.directory_owner = ownership(TRY(look_at(directory.get(), file.directory)));
  return file;
}

Result<> load_pid_file(const PidFile& file) {
  if (file.directory.empty()) return {};
  auto directory = open_directory(file.directory);
  if (!directory && directory.error().code == ENOENT) {
    TRY(make_directory(file));
    directory = open_directory(file.directory);
  }
  Fd there = TRY(std::move(directory));
  auto made = open_at(there.get(), file.name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
  if (!made && made.error().code == EEXIST) return {};
  Fd fd = TRY(in(file.directory, std::move(made)));
  TRY(write_all(fd.get(), file.text, file.name));
  return give(fd.get(), file.owner, file.name);
}

}  // namespace ks::upgrade
