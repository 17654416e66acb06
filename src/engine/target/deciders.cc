// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/target/deciders.h"

#include <fmt/format.h>

#include "base/file.h"
#include "engine/kernel/fdinfo.h"

namespace ks::engine {

namespace {

// FAN_OPEN_PERM, FAN_ACCESS_PERM, FAN_OPEN_EXEC_PERM, FAN_PRE_ACCESS
constexpr uint64_t kPermissions = 0x10000 | 0x20000 | 0x40000 | 0x100000;

Result<bool> decides(const std::string& fdinfo) {
  auto info = TRY(parse_fdinfo(TRY(read_file(fdinfo))));
  for (const auto& line : info.rest)
    if (line.starts_with("fanotify ") && !line.starts_with("fanotify flags:") &&
        TRY(parse_fanotify_mark(line)).mask & kPermissions)
      return true;
  return false;
}

}  // namespace

Result<> check_deciders(std::span<const StoppedProcess> processes) {
  for (const auto& process : processes) {
    if (process.zombie) continue;
    for (const auto& [number, link] : process.descriptors) {
      if (link != "anon_inode:[fanotify]" || !TRY(decides(process.proc(fmt::format("fdinfo/{}", number))))) continue;
      return refuse(fmt::format(
          "pid {}: fd {} ({}): decides what other processes may open, who would wait as long as it is stopped",
          process.pid, number, link));
    }
  }
  return {};
}

}  // namespace ks::engine
