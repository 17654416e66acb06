// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/context/restoring.h"

#include <fmt/format.h>
#include <sched.h>

#include <algorithm>

#include "engine/kernel/namespace.h"

namespace ks::engine {

const Vma& ParkedVdso::code() const { return areas.back(); }

std::set<uint32_t> MadeNamespaces::common() const {
  std::set<uint32_t> common;
  for (const auto& [id, entry] : entries) {
    auto has = [id](const auto& process) { return std::ranges::find(process.second, id) != process.second.end(); };
    if (entry.flag != CLONE_NEWUSER && std::ranges::all_of(of_process, has)) common.insert(id);
  }
  return common;
}

Result<> MadeNamespaces::in_ipc(uint32_t id, const std::function<Result<>()>& work) const {
  if (id == 0) return work();
  auto found = entries.find(id);
  if (found == entries.end() || found->second.flag != CLONE_NEWIPC)
    return fail("the image has no such IPC namespace");
  return inside(found->second.fd.get(), CLONE_NEWIPC, work);
}

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

const image::Inheritance::Member* Restoring::heir(pid_t pid) const {
  auto found = std::ranges::find(inheritance.members(), pid, &image::Inheritance::Member::pid);
  return found == inheritance.members().end() ? nullptr : &*found;
}

}  // namespace ks::engine
