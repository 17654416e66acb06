// SPDX-License-Identifier: LGPL-2.1-or-later
#include "upgrade/store_check.h"

#include <fmt/core.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include <filesystem>

namespace ks::upgrade {

namespace {

// The store itself may not be there yet.
std::string nearest_existing(std::filesystem::path path) {
  std::error_code error;
  while (path.has_relative_path() && !std::filesystem::exists(path, error)) path = path.parent_path();
  return path;
}

constexpr uint64_t kMiB = 1 << 20;

}  // namespace

Result<> require_root_file_system(const std::string& store) {
  std::string there = nearest_existing(store);
  struct stat root{}, status{};
  if (::stat("/", &root)) return fail_errno("/");
  if (::stat(there.c_str(), &status)) return fail_errno(there);
  if (root.st_dev != status.st_dev)
    return fail(store +
                ": is not on the root file system, the only one that is mounted when services are to be "
                "restored");
  return {};
}

Result<> require_space(const std::string& store, uint64_t bytes) {
  std::string there = nearest_existing(store);
  struct statvfs status{};
  if (::statvfs(there.c_str(), &status)) return fail_errno(there);
  uint64_t free = static_cast<uint64_t>(status.f_bavail) * status.f_frsize;
  uint64_t wanted = bytes + bytes / 10 + 64 * kMiB;  // tables, and room for the system itself
  if (wanted > free)
    return fail(fmt::format("{}: {} MiB free, {} MiB wanted for the images", store, free / kMiB, wanted / kMiB),
                ENOSPC);
  return {};
}

}  // namespace ks::upgrade
