// SPDX-License-Identifier: LGPL-2.1-or-later
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <algorithm>

#include "base/file.h"
#include "base/text.h"
#include "engine/context/taking.h"
#include "engine/kernel/pagemap.h"
#include "engine/kinds/io_uring/io_uring.h"
#include "engine/memory.pb.h"
#include "engine/target/process.h"

namespace ks::engine::io_uring {

namespace {

// Below it the kernel gives out places to whom asks for none.
constexpr uint64_t kEnd = (uint64_t{1} << 47) - kPageSize;

struct Stretch {
  uint64_t start = 0, end = 0;
};

// All that is free, cut where rings are to begin and end, and at `lowest`, below which not everybody may map
// anything.
std::vector<Stretch> free_stretches(uint64_t lowest, const std::vector<Vma>& areas,
                                    std::span<const image::Area> rings) {
  std::vector<Stretch> taken;
  taken.reserve(areas.size() + rings.size() + 1);
  for (const Vma& area : areas) taken.push_back({area.start, area.end});
  for (const auto& ring : rings) taken.push_back({ring.start(), ring.end()});
  taken.push_back({lowest, lowest});
  taken.push_back({kEnd, kEnd});
  std::ranges::sort(taken, {}, &Stretch::start);
  std::vector<Stretch> free;
  uint64_t from = kPageSize;
  for (const Stretch& one : taken) {
    if (one.start > from) free.push_back({from, std::min(one.start, kEnd)});
    from = std::max(from, one.end);
    if (from >= kEnd) break;
  }
  return free;
}

// The kernel chooses the place. So all others are taken for that moment.
class OnlyPlaces {
 public:
  OnlyPlaces(RestoredProcess& process, std::span<const image::Area> rings) : process_(process), rings_(rings) {}

  Result<> take_all() {
    auto areas = TRY(parse_maps(TRY(read_file(proc_path(process_.pid, "maps")))));
    auto told = parse_number<uint64_t>(trim(TRY(read_file("/proc/sys/vm/mmap_min_addr"))));
    uint64_t lowest = std::max(told.value_or(0), uint64_t{kPageSize});
    for (const Stretch& one : free_stretches(lowest, areas, rings_)) {
      auto done = take(one);
      if (!done && (one.end > lowest || done.error().code != EPERM)) return done;
      if (done) stretches_.push_back(one);
    }
    for (const auto& ring : rings_) TRY(take({ring.start(), ring.end()}));
    return {};
  }

  Result<> give_back(const Stretch& one) {
    TRY(in("munmap", process_.leader()(SYS_munmap, one.start, one.end - one.start)));
    return {};
  }

  Result<> give_back_all() {
    for (const Stretch& one : stretches_) TRY(give_back(one));
    return {};
  }

 private:
  Result<> take(const Stretch& one) {
    uint64_t at =
        TRY(in("mmap", process_.leader()(SYS_mmap, one.start, one.end - one.start, PROT_NONE,
                                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0)));
    if (at != one.start) return fail("the place of a ring is taken");
    return {};
  }

  RestoredProcess& process_;
  std::span<const image::Area> rings_;
  std::vector<Stretch> stretches_;
};

Result<> dress(RestoredProcess& process, const image::Area& area) {
  for (int advice : area.advice())
    TRY(in("madvise", process.leader()(SYS_madvise, area.start(), area.end() - area.start(), advice)));
  return {};
}

class Mapper {
 public:
  Mapper(RestoredProcess& process, const MadeRings& rings) : process_(process), rings_(rings) {}

  Result<> map(std::span<const image::Area> areas) {
    if (!TRY(can_choose(areas.front()))) {
      OnlyPlaces places(process_, areas);
      TRY(places.take_all());
      for (const auto& area : areas) {
        TRY(places.give_back({area.start(), area.end()}));
        TRY(map_one(area, 0, 0));
      }
      TRY(places.give_back_all());
    } else {
      for (const auto& area : areas) TRY(map_one(area, area.start(), MAP_FIXED_NOREPLACE));
    }
    for (const auto& area : areas) TRY(dress(process_, area));
    for (auto [id, number] : taken_) TRY(in("close", process_.leader()(SYS_close, number)));
    return {};
  }

 private:
  // Before 6.4.
  Result<bool> can_choose(const image::Area& area) {
    auto mapped = try_to_map(area, area.start(), MAP_FIXED_NOREPLACE);
    if (!mapped && mapped.error().code == EINVAL) return false;
    TRY(std::move(mapped));
    TRY(in("munmap", process_.leader()(SYS_munmap, area.start(), area.end() - area.start())));
    return true;
  }

  Result<uint64_t> try_to_map(const image::Area& area, uint64_t where, int flags) {
    uint64_t number = TRY(number_of(area.id()));
    return process_.leader()(SYS_mmap, where, area.end() - area.start(), area.protection(), MAP_SHARED | flags,
                             number, area.offset());
  }

  Result<> map_one(const image::Area& area, uint64_t where, int flags) {
    uint64_t at = TRY(in("mmap of a ring", try_to_map(area, where, flags)));
    if (at != area.start()) return fail(fmt::format("a ring has been mapped at {:x}, not {:x}", at, area.start()));
    return {};
  }

  // Of its descriptor here.
  Result<uint64_t> number_of(uint32_t id) {
    auto ring = rings_.find(id);
    if (ring == rings_.end()) return fail("the image has no such ring");
    if (ring->second.maker == process_.pid) return ring->second.number;
    auto known = taken_.find(id);
    if (known == taken_.end()) known = taken_.emplace(id, TRY(take_from_us(process_, ring->second.ours.get()))).first;
    return known->second;
  }

  RestoredProcess& process_;
  const MadeRings& rings_;
  std::map<uint32_t, uint64_t> taken_;
};

}  // namespace

Result<> map_rings(Restoring& restoring, const MadeRings& rings) {
  for (auto& [pid, process] : restoring.processes) {
    if (process->shares_memory()) continue;
    auto memory = TRY(process->read<image::Memory>("memory", kMemoryVersion));
    std::vector<image::Area> areas;
    for (const auto& area : memory.areas())
      if (area.source() == image::Area::IO_URING) areas.push_back(area);
    if (!areas.empty()) TRY(in(fmt::format("pid {}", pid), Mapper(*process, rings).map(areas)));
  }
  return {};
}

}  // namespace ks::engine::io_uring
