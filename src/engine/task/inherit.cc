// SPDX-License-Identifier: LGPL-2.1-or-later
#include <fmt/format.h>
#include <sys/syscall.h>

#include <algorithm>

#include "engine/context/pages.h"
#include "engine/task/inheritance.h"
#include "engine/task/mapping.h"

namespace ks::engine {

namespace {

constexpr uint64_t kTop = 0x7ffffffff000;  // of user addresses with four-level page tables

// Unmaps everything but `kept` and the engine's own.
Result<> cut_down(const Restoring& restoring, RemoteCalls& calls, std::vector<PageRun> kept) {
  kept.push_back({restoring.parking.base, restoring.parking.vdso() + restoring.vdso.size()});
  kept.push_back({kTop, kTop});
  std::ranges::sort(kept, {}, &PageRun::start);
  uint64_t from = 0;
  for (const PageRun& run : kept) {
    if (run.start > from) TRY(in("munmap", calls(SYS_munmap, from, run.start - from)));
    from = std::max(from, run.end);
  }
  return {};
}

}  // namespace

Result<image::Inheritance> read_inheritance(const ImageReader& image) {
  image::Inheritance inheritance;
  TRY(parse_body(TRY(open_envelope(TRY(image.read(kInheritanceFile)), kInheritanceKind, kInheritanceVersion)),
                 inheritance));
  for (const auto& member : inheritance.members())
    for (uint32_t block : member.blocks())
      if (block >= static_cast<uint32_t>(inheritance.blocks_size())) return fail("inheritance: no such block");
  return inheritance;
}

Result<> prepare_to_be_inherited(Restoring& restoring, pid_t pid, pid_t cloner, RemoteCalls& calls,
                                 const RemoteMemory& memory) {
  if (restoring.inheritance.members().empty()) return {};
  const auto* cloned_by = pid ? restoring.heir(cloner) : nullptr;
  const auto* heir = restoring.heir(pid);
  auto has = [](const auto* member, uint32_t block) {
    return member && std::ranges::find(member->blocks(), block) != member->blocks().end();
  };
  if (cloned_by && !cloned_by->blocks().empty()) {
    std::vector<PageRun> kept;
    for (uint32_t block : cloned_by->blocks()) {
      const auto& area = restoring.inheritance.blocks(static_cast<int>(block));
      if (has(heir, block)) kept.push_back({area.start(), area.end()});
    }
    TRY(cut_down(restoring, calls, std::move(kept)));
  }
  if (!heir) return {};
  if (pid && heir->cloner() != cloner) return fail(fmt::format("cloned by {} instead of {}", cloner, heir->cloner()));
  for (uint32_t block : heir->blocks()) {
    const auto& area = restoring.inheritance.blocks(static_cast<int>(block));
    if (!has(cloned_by, block))
      TRY(in(fmt::format("area {:x}-{:x}", area.start(), area.end()), map_area(restoring, calls, area)));
  }
  std::vector<PageRun> runs;
  for (const auto& run : heir->given()) runs.push_back({run.start(), run.end()});
  restoring.memory_bytes += TRY(read_pages(restoring.image, inherited_pages_file(pid), runs, memory));
  return {};
}

}  // namespace ks::engine
