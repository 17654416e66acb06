// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/context/restoring.h"

#include <fmt/format.h>

namespace ks::engine {

const Vma& ParkedVdso::code() const { return areas.back(); }

Result<int> Restoring::find(const Fds& fds, std::string_view what, uint32_t id) {
  auto found = fds.find(id);
  if (found == fds.end()) return fail(fmt::format("the image has no {} {}", what, id));
  return found->second.get();
}

Result<RestoredProcess*> Restoring::process(pid_t pid) const {
  auto found = processes.find(pid);
  if (found == processes.end()) return fail(fmt::format("the image has no pid {}", pid));
  return found->second;
}

}  // namespace ks::engine
