// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/target/process.h"

#include <fmt/format.h>
#include <signal.h>

#include <algorithm>

namespace ks::engine {

std::string proc_path(pid_t pid, std::string_view name) { return fmt::format("/proc/{}/{}", pid, name); }

std::string StoppedProcess::proc(std::string_view name) const { return proc_path(pid, name); }

bool StoppedProcess::has_another_stop() const {
  return !threads.empty() && threads.front().stop_signal && status.shared_pending >> (SIGSTOP - 1) & 1;
}

const Vma* StoppedProcess::area_named(std::string_view path) const {
  auto found = std::ranges::find(areas, path, &Vma::path);
  return found == areas.end() ? nullptr : &*found;
}

}  // namespace ks::engine
