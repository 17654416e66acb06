// SPDX-License-Identifier: LGPL-2.1-or-later
#include "base/file.h"

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include <climits>
#include <filesystem>
#include <memory>

namespace ks {

Result<Fd> open_file(const std::string& path, int flags, mode_t mode) { return open_at(AT_FDCWD, path, flags, mode); }

Result<Fd> open_at(int directory, const std::string& name, int flags, mode_t mode) {
  int fd = ::openat(directory, name.c_str(), flags | O_CLOEXEC, mode);
  if (fd < 0) return fail_errno(name);
  return Fd(fd);
}

namespace {

// Files of /proc have no size, so we read until the end rather than ask for it.
Result<std::string> read_until(int fd, std::string_view what, bool short_read_is_end) {
  std::string content;
  char buffer[65536];
  for (;;) {
    ssize_t got = ::read(fd, buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail_errno(what);
    content.append(buffer, static_cast<size_t>(got));
    if (got == 0 || (short_read_is_end && static_cast<size_t>(got) < sizeof buffer)) return content;
  }
}

}  // namespace

Result<std::string> read_all(int fd, std::string_view what) { return read_until(fd, what, false); }

Result<std::string> read_record(const std::string& path) { return read_record_at(AT_FDCWD, path); }

Result<std::string> read_record_at(int directory, const std::string& name) {
  Fd fd = TRY(open_at(directory, name, O_RDONLY));
  return read_until(fd.get(), name, true);
}

Result<std::string> read_file(const std::string& path) {
  Fd fd = TRY(open_file(path, O_RDONLY));
  return read_all(fd.get(), path);
}

Result<std::string> read_file_at(int directory, const std::string& name) {
  Fd fd = TRY(open_at(directory, name, O_RDONLY));
  return read_all(fd.get(), name);
}

Result<> write_value(const std::string& path, std::string_view text) {
  Fd fd = TRY(open_file(path, O_WRONLY));
  ssize_t wrote = ::write(fd.get(), text.data(), text.size());
  if (wrote < 0) return fail_errno(path);
  if (static_cast<size_t>(wrote) != text.size()) return fail(path + ": short write");
  return {};
}

Result<> write_all(int fd, std::span<const std::byte> bytes, std::string_view what) {
  while (!bytes.empty()) {
    ssize_t wrote = ::write(fd, bytes.data(), bytes.size());
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0) return fail_errno(what);
    bytes = bytes.subspan(static_cast<size_t>(wrote));
  }
  return {};
}

Result<> write_all(int fd, std::string_view bytes, std::string_view what) {
  return write_all(fd, std::as_bytes(std::span(bytes)), what);
}

Result<> read_exactly(int fd, std::span<std::byte> bytes, std::string_view what) {
  while (!bytes.empty()) {
    ssize_t got = ::read(fd, bytes.data(), bytes.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail_errno(what);
    if (got == 0) return fail(std::string(what) + ": ends too early");
    bytes = bytes.subspan(static_cast<size_t>(got));
  }
  return {};
}

Result<> read_exactly_at(int fd, std::span<std::byte> bytes, uint64_t offset, std::string_view what) {
  while (!bytes.empty()) {
    ssize_t got = ::pread(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail_errno(what);
    if (got == 0) return fail(std::string(what) + ": ends too early");
    bytes = bytes.subspan(static_cast<size_t>(got));
    offset += static_cast<uint64_t>(got);
  }
  return {};
}

Result<> replace_file(const std::string& path, std::string_view content, mode_t mode) {
  std::string temporary = path + ".new";
  ::unlink(temporary.c_str());  // left by a process that was killed here
  auto written = [&]() -> Result<> {
    Fd fd = TRY(open_file(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, mode));
    TRY(write_all(fd.get(), content, temporary));
    if (::fsync(fd.get())) return fail_errno(temporary);
    if (::rename(temporary.c_str(), path.c_str())) return fail_errno(path);
    return {};
  }();
  if (!written) {
    ::unlink(temporary.c_str());
    return written;
  }
  return sync_directory(std::filesystem::path(path).parent_path());
}

Result<std::string> read_link(const std::string& path) { return read_link_at(AT_FDCWD, path); }

Result<std::string> read_link_at(int directory, const std::string& name) {
  char target[PATH_MAX];
  ssize_t length = ::readlinkat(directory, name.c_str(), target, sizeof target);
  if (length < 0) return fail_errno(name);
  if (length == sizeof target) return fail(name + ": target too long", ENAMETOOLONG);
  return std::string(target, static_cast<size_t>(length));
}

Result<std::vector<std::string>> list_directory(const std::string& path) {
  std::unique_ptr<DIR, int (*)(DIR*)> directory(::opendir(path.c_str()), ::closedir);
  if (!directory) return fail_errno(path);
  std::vector<std::string> names;
  errno = 0;
  while (dirent* entry = ::readdir(directory.get())) {
    std::string_view name = entry->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
    errno = 0;
  }
  if (errno) return fail_errno(path);
  return names;
}

Result<> sync_directory(const std::string& path) {
  const std::string& name = path.empty() ? std::string(".") : path;
  Fd fd = TRY(open_file(name, O_RDONLY | O_DIRECTORY));
  if (::fsync(fd.get())) return fail_errno(name);
  return {};
}

Result<> remove_tree(const std::string& path) {
  std::error_code error;
  std::filesystem::remove_all(path, error);
  if (error) return fail(path + ": " + error.message(), error.value());
  return {};
}

}  // namespace ks
